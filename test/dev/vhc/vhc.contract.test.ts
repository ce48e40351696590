import { createVhc } from "../../../src/dev/vhc/vhc.js";
import { createVirtualClock } from "../../../src/rumpuser/simulated.js";
import { type ControllerRig, hostControllerContract } from "../../contract/host-controller.js";
import { streamContract } from "../../contract/host-controller-streams.js";
import { EchoModel } from "../../fakes/echo-model.js";

async function openVhc(model: EchoModel): Promise<ControllerRig> {
  const clock = createVirtualClock();
  const hc = createVhc({ name: "vhc0", clock });
  hc.plug(1, model);
  return {
    hc,
    model,
    unplug: () => hc.unplug(1),
    until: (promise) => clock.runUntil(promise),
    dispose: async () => undefined,
  };
}

hostControllerContract("vhc", () => openVhc(new EchoModel()));
streamContract("vhc", openVhc);
