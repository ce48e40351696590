import { createUgenhc } from "../../../src/dev/ugenhc/ugenhc.js";
import { createVirtualClock } from "../../../src/rumpuser/simulated.js";
import { type ControllerRig, hostControllerContract } from "../../contract/host-controller.js";
import { streamContract } from "../../contract/host-controller-streams.js";
import { EchoModel } from "../../fakes/echo-model.js";
import { ModelPort } from "./model-port.js";

async function openUgenhc(model: EchoModel): Promise<ControllerRig> {
  const clock = createVirtualClock();
  const port = new ModelPort(model, clock);
  const hc = createUgenhc(port, { name: "ugenhc0", clock });
  return {
    hc,
    model,
    unplug: () => port.unplug(),
    until: (promise) => clock.runUntil(promise),
    dispose: async () => undefined,
  };
}

hostControllerContract("ugenhc", () => openUgenhc(new EchoModel()));
streamContract("ugenhc", openUgenhc);
