/**
 * `rumpusb/serialport`: serial lines for programs that are written for node-serialport.
 *
 * ```ts
 * import { SerialPortStream } from "@serialport/stream";
 * import { binding } from "rumpusb/serialport";
 *
 * const port = new SerialPortStream({ binding, path: "0403:6001", baudRate: 115200 });
 * ```
 *
 * After `@serialport/bindings-interface` 1.2.2. `lock` is always so; `hupcl: false` has no effect: DTR falls when a port closes.
 */
import type { BindingInterface, BindingPortInterface, OpenOptions, PortInfo } from "./serialport/interface.js";
import type { OpenTtyOptions } from "./host/open-tty.js";
import type { Tty } from "./rump/devsw.js";
import { findTty, listNodes } from "./serialport/find.js";
import { openPort } from "./serialport/port.js";

export { CanceledError } from "./serialport/errors.js";
export type * from "./serialport/interface.js";

/** Devices by their selectors, and the nodes of `rumpusb run --link rfc2217`. */
export const binding = createBinding();

/** The same with options for the devices it drives. */
export function createBinding(options: OpenTtyOptions = {}): BindingInterface {
  return {
    list: async () => (await listNodes(options)).map(portInfo),
    open: async (how) => {
      const { tty, close } = await findTty(how.path, options);
      try {
        return await openPort(tty, how, close);
      } catch (error) {
        await close();
        throw error;
      }
    },
  };
}

/** Lines of this process, by the paths under which they are opened. */
export function bindTtys(ttys: ReadonlyMap<string, Tty>): BindingInterface {
  return {
    list: () => Promise.resolve([...ttys.keys()].map(portInfo)),
    open: async (how: OpenOptions): Promise<BindingPortInterface> => {
      const tty = ttys.get(how.path);
      if (tty === undefined) throw new Error(`${how.path}: no such line; there are ${[...ttys.keys()].join(", ")}`);
      return await openPort(tty, how);
    },
  };
}

function portInfo(path: string): PortInfo {
  return {
    path,
    manufacturer: undefined,
    serialNumber: undefined,
    pnpId: undefined,
    locationId: undefined,
    productId: undefined,
    vendorId: undefined,
  };
}
