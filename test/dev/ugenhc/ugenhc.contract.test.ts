import { createUgenhc } from "../../../src/dev/ugenhc/ugenhc.js";
import { createVirtualClock } from "../../../src/rumpuser/simulated.js";
import { hostControllerContract } from "../../contract/host-controller.js";
import { EchoModel } from "../../fakes/echo-model.js";
import { ModelPort } from "./model-port.js";

hostControllerContract("ugenhc", async () => {
  const clock = createVirtualClock();
  const model = new EchoModel();
  const port = new ModelPort(model, clock);
  const hc = createUgenhc(port, { name: "ugenhc0", clock });
  return {
    hc,
    model,
    unplug: () => port.unplug(),
    until: (promise) => clock.runUntil(promise),
    dispose: async () => undefined,
  };
});
