import { createVhc } from "../../../src/dev/vhc/vhc.js";
import { createVirtualClock } from "../../../src/rumpuser/simulated.js";
import { hostControllerContract } from "../../contract/host-controller.js";
import { EchoModel } from "../../fakes/echo-model.js";

hostControllerContract("vhc", async () => {
  const clock = createVirtualClock();
  const hc = createVhc({ name: "vhc0", clock });
  const model = new EchoModel();
  hc.plug(1, model);
  return {
    hc,
    model,
    unplug: () => hc.unplug(1),
    until: (promise) => clock.runUntil(promise),
    dispose: async () => undefined,
  };
});
