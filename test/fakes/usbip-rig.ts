/** A USB/IP client and server joined in memory, with an echo device between them and a virtual clock. */
import { createUsbip } from "../../src/dev/usbip/usbip.js";
import type { HostController } from "../../src/dev/usb/usbdivar.js";
import { createMemoryStreamPair } from "../../src/rumpuser/memory-stream.js";
import type { ByteStream, LogEntry } from "../../src/rumpuser/rumpuser.js";
import { createVirtualClock, type VirtualClock } from "../../src/rumpuser/simulated.js";
import { ExportTable } from "../../src/vdev/usbip-exports.js";
import { DEFAULT_LIMITS, Session, type SessionLimits } from "../../src/vdev/usbip-session.js";
import { EchoModel } from "./echo-model.js";

export interface ServerRig {
  readonly clock: VirtualClock;
  readonly model: EchoModel;
  readonly exports: ExportTable;
  /** Notes of the session, one string each. */
  readonly notes: string[];
  /** The client's end. */
  readonly client: ByteStream;
  readonly ended: () => boolean;
}

/** A server session on one end of a stream in memory; `1-1` is an echo device. */
export function sessionInMemory(
  options: { readonly maxChunkBytes?: number; readonly limits?: Partial<SessionLimits> } = {},
): ServerRig {
  const clock = createVirtualClock();
  const model = new EchoModel();
  const exports = new ExportTable();
  exports.plug("1-1", model);
  const notes: string[] = [];
  const { maxChunkBytes } = options;
  const [client, server] = createMemoryStreamPair({ clock, ...(maxChunkBytes === undefined ? {} : { maxChunkBytes }) });
  let over = false;
  const session = new Session(server, {
    exports,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    onNote: (level, message) => notes.push(`${level} ${message}`),
    onEnd: () => {
      over = true;
    },
  });
  void session;
  return { clock, model, exports, notes, client, ended: () => over };
}

export interface UsbipRig {
  readonly hc: HostController;
  readonly model: EchoModel;
  readonly clock: VirtualClock;
  readonly log: LogEntry[];
  readonly unplug: () => void;
  readonly until: <T>(promise: Promise<T>) => Promise<T>;
}

export async function usbipInMemory(options: { readonly maxChunkBytes?: number } = {}): Promise<UsbipRig> {
  const { clock, client, model } = sessionInMemory(options);
  const log: LogEntry[] = [];
  const hc = await clock.runUntil(
    createUsbip(client, { name: "usbip0", clock, busId: "1-1", log: { write: (entry) => void log.push(entry) } }),
  );
  return {
    hc,
    model,
    clock,
    log,
    unplug: () => model.unplug(),
    until: (promise) => clock.runUntil(promise),
  };
}
