import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import { AcmModel } from "../../src/vdev/serial-acm.js";
import { createPudServer } from "../../src/pud/server.js";
import { DeviceError } from "../../src/rump/devsw.js";
import type { SerialModel, SerialOptions } from "../../src/vdev/serial-model.js";
import { ttyContract, type TtyRig } from "../contract/tty.js";
import { attachSerial } from "../dev/usb/ucom/rig.js";
import { MemoryTty } from "../fakes/memory-tty.js";
import { connectRump, hostRig, turn, until } from "../fakes/pud-pair.js";
import { streamPair, type StreamPairOptions } from "../fakes/stream-pair.js";

function memoryRig(): Omit<TtyRig, "step" | "close"> & { readonly tty: MemoryTty } {
  const tty = new MemoryTty();
  tty.loopback = true;
  const hold = (): (() => void) => {
    tty.hold(true);
    return () => tty.hold(false);
  };
  return { tty, hold, unplug: () => tty.leave(new DeviceError("ENODEV", "unplugged")) };
}

async function pudRig(stream: StreamPairOptions): Promise<TtyRig> {
  const below = memoryRig();
  const rig = hostRig("fail");
  const node = connectRump(rig, stream).server.publish("ttyU", below.tty);
  await until("a node", () => rig.ttys.length === 1);
  const unplug = (): void => {
    below.unplug?.();
    node.remove("unplugged");
  };
  const step = async (): Promise<void> => {
    rig.clock.advance(1);
    await turn();
  };
  return { ...below, unplug, tty: rig.tty(), step, close: async () => rig.host.abandon("the test is over") };
}

async function ucomRig(make: (options: SerialOptions) => SerialModel): Promise<TtyRig> {
  const rig = await attachSerial(make);
  return {
    tty: rig.tty(),
    step: () => rig.sim.clock.advance(1),
    unplug: () => rig.model.unplug(),
    close: async () => {},
  };
}

/** The driver on the model, through pud. */
async function ucomPudRig(make: (options: SerialOptions) => SerialModel): Promise<TtyRig> {
  const below = await attachSerial(make);
  const rig = hostRig("fail");
  const [hostEnd, rumpEnd] = streamPair();
  rig.host.connect(hostEnd);
  const server = createPudServer(rumpEnd, { clock: below.sim.clock, log: { write: () => {} } });
  const node = server.publish("ttyU", below.tty());
  below.kernel.listen({ added: () => {}, removed: (_, reason) => node.remove(reason) });
  await until("a node", () => rig.ttys.length === 1);
  return {
    tty: rig.tty(),
    step: async () => {
      await below.sim.clock.advance(1);
      rig.clock.advance(1);
      await turn();
    },
    unplug: () => below.model.unplug(),
    close: async () => rig.host.abandon("the test is over"),
  };
}

ttyContract("memory line", async () => ({ ...memoryRig(), step: turn, close: async () => {} }));
ttyContract("memory line through pud", () => pudRig({}));
ttyContract("memory line through pud in fragments of 7 bytes", () =>
  pudRig({ fragmentBytes: 7, highWaterBytes: 4096 }),
);
ttyContract("uftdi", () => ucomRig((options) => new FtdiModel("ft232r", options)));
ttyContract("uftdi through pud", () => ucomPudRig((options) => new FtdiModel("ft232r", options)));
ttyContract("umodem through pud", () => ucomPudRig((options) => new AcmModel(options)));
