/** A serial adapter model on the real stack and driver, its port open, everything that comes out of it collected. */
import { uchcom } from "../../../../src/dev/usb/ucom/uchcom.js";
import { uftdi } from "../../../../src/dev/usb/ucom/uftdi.js";
import { umodem } from "../../../../src/dev/usb/ucom/umodem.js";
import { uplcom } from "../../../../src/dev/usb/ucom/uplcom.js";
import { uslsa } from "../../../../src/dev/usb/ucom/uslsa.js";
import type { Driver } from "../../../../src/dev/usb/usbdi.js";
import type { HostController } from "../../../../src/dev/usb/usbdivar.js";
import type { TraceEntry } from "../../../../src/dev/vhc/vhc.js";
import type { LineSettings, Tty, TtyPort } from "../../../../src/rump/devsw.js";
import type { Clock } from "../../../../src/rumpuser/rumpuser.js";
import { AcmModel } from "../../../../src/vdev/serial-acm.js";
import { Ch34xModel } from "../../../../src/vdev/serial-ch34x.js";
import { Cp210xModel } from "../../../../src/vdev/serial-cp210x.js";
import { FtdiModel } from "../../../../src/vdev/serial-ftdi.js";
import type { SerialModel, SerialOptions } from "../../../../src/vdev/serial-model.js";
import { Pl2303Model } from "../../../../src/vdev/serial-pl2303.js";
import { Collector } from "../../../fakes/tty-collector.js";
import { makeRig, plugIn, type StackRig } from "../rig.js";

export { Collector };

export const DRIVERS: readonly Driver[] = [umodem, uftdi, uslsa, uchcom, uplcom];

type Make = (options: SerialOptions) => SerialModel;

/** One model of each family and of each way that its driver goes. */
export const CHIPS: readonly { readonly name: string; readonly driver: string; readonly make: Make }[] = [
  { name: "acm", driver: "umodem", make: (options) => new AcmModel(options) },
  { name: "acm no-union", driver: "umodem", make: (options) => new AcmModel({ ...options, shape: "no-union" }) },
  { name: "acm castrated", driver: "umodem", make: (options) => new AcmModel({ ...options, shape: "one-interface" }) },
  { name: "ft232r", driver: "uftdi", make: (options) => new FtdiModel("ft232r", options) },
  { name: "ft2232h", driver: "uftdi", make: (options) => new FtdiModel("ft2232h", options) },
  { name: "ft232h", driver: "uftdi", make: (options) => new FtdiModel("ft232h", options) },
  { name: "ftx", driver: "uftdi", make: (options) => new FtdiModel("ftx", options) },
  { name: "cp2102", driver: "uslsa", make: (options) => new Cp210xModel("cp2102", options) },
  { name: "cp2105", driver: "uslsa", make: (options) => new Cp210xModel("cp2105", options) },
  { name: "cp2102n", driver: "uslsa", make: (options) => new Cp210xModel("cp2102n", options) },
  { name: "ch340", driver: "uchcom", make: (options) => new Ch34xModel("ch340", options) },
  { name: "hl340", driver: "uchcom", make: (options) => new Ch34xModel("hl340", options) },
  { name: "ch343", driver: "uchcom", make: (options) => new Ch34xModel("ch343", options) },
  { name: "pl2303-01", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-01", options) },
  { name: "pl2303-h", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-h", options) },
  { name: "pl2303-hx", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-hx", options) },
  { name: "pl2303-ta", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-ta", options) },
  { name: "pl2303-tb", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-tb", options) },
  { name: "pl2303-hxd", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-hxd", options) },
  { name: "pl2303-hxn", driver: "uplcom", make: (options) => new Pl2303Model("pl2303-hxn", options) },
];

export const SETTINGS: LineSettings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
export const UP = { dtr: true, rts: true } as const;
/** More than any test receives. */
export const PLENTY = 1 << 30;

export interface SerialRig extends StackRig {
  readonly model: SerialModel;
  tty(name?: string): Tty;
  /** Opens a port and grants it plenty. */
  openPort(settings?: Partial<LineSettings>, name?: string): Promise<{ port: TtyPort; collector: Collector }>;
  problems(): string[];
}

export async function attachSerial(
  make: (options: { readonly clock: Clock }) => SerialModel,
  drivers: readonly Driver[] = DRIVERS,
  onTransfer?: (entry: TraceEntry) => void,
  controller?: (bus: HostController, clock: Clock) => HostController,
): Promise<SerialRig> {
  const rig = makeRig(drivers, controller === undefined ? {} : { controller });
  if (onTransfer !== undefined) rig.vhc.trace(onTransfer);
  const model = make({ clock: rig.sim.clock });
  await rig.boot();
  await plugIn(rig, 1, model);
  const tty = (name = "ttyU0"): Tty => {
    const device = rig.device(name)?.device;
    if (device?.kind !== "tty") throw new Error(`no ${name}; the log says:\n${rig.log().join("\n")}`);
    return device;
  };
  return {
    ...rig,
    model,
    tty,
    openPort: async (settings = {}, name = "ttyU0") => {
      const collector = new Collector();
      const how = { settings: { ...SETTINGS, ...settings }, outputs: UP };
      const port = await rig.sim.run(() => tty(name).open(how, collector));
      port.grant(PLENTY);
      return { port, collector };
    },
    problems: () => rig.log().filter((line) => line.startsWith("warn") || line.startsWith("error")),
  };
}

/** Advances the clock until it is so, at most so long. */
export async function until(rig: StackRig, so: () => boolean, maxMs = 60_000): Promise<void> {
  const endMs = rig.sim.clock.nowMs() + maxMs;
  while (!so()) {
    if (rig.sim.clock.nowMs() >= endMs) throw new Error(`not so after ${maxMs} ms;\n${rig.log().join("\n")}`);
    await rig.sim.clock.advance(1);
  }
}
