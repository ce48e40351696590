/**
 * An attachment whose device follows a script: a list of what it answers to the transfers that come, in their order.
 *
 * Written from BOT 1.0 and usbdi.ts. A transfer that the script does not expect is a failure of the test.
 */
import { expect } from "vitest";
import type { LogEntry } from "../../../../src/rumpuser/rumpuser.js";
import { createVirtualClock, type VirtualClock } from "../../../../src/rumpuser/simulated.js";
import { TransferError, type TransferErrorCode, UnsupportedError } from "../../../../src/dev/usb/errors.js";
import { CSW_SIGNATURE, cbw, csw } from "../../../../src/dev/usb/umass/csw.js";
import type { BotPipes } from "../../../../src/dev/usb/umass/recovery.js";
import type {
  Attachment,
  DeviceIdentity,
  PipeStep,
  StepCondition,
  StepResult,
  TransferOptions,
} from "../../../../src/dev/usb/usbdi.js";

export type Step =
  | "out" // bulk OUT
  | "in" // bulk IN
  | "clear out" // CLEAR_FEATURE(ENDPOINT_HALT)
  | "clear in"
  | "reset" // Bulk-Only Mass Storage Reset
  | "max lun" // Get Max LUN
  | "port reset";

/** How a transfer ends; "hang" = never by itself. */
type Ending = Exclude<StepResult["status"], "notStarted"> | "hang";

/** What the device does with one transfer. */
export interface Reply {
  readonly step: Step;
  readonly ends?: Ending;
  /** IN: what it sends, cut to what fits. OUT: how many bytes it takes; default all. */
  readonly data?: Uint8Array | ((tag: number) => Uint8Array);
  readonly takes?: number;
  /** Milliseconds until it ends. */
  readonly afterMs?: number;
}

/** Bytes 1, 2, 3 …: never mistaken for memory that nobody wrote. */
export function counting(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (at + 1) & 0xff);
}

/** A CSW for the tag of the command under way, but for what is said to be different. */
export function statusOf(
  fields: { status?: number; residue?: number; tag?: number; signature?: number } = {},
): (tag: number) => Uint8Array {
  return (tag) =>
    csw.encode({
      dCSWSignature: fields.signature ?? CSW_SIGNATURE,
      dCSWTag: fields.tag ?? tag,
      dCSWDataResidue: fields.residue ?? 0,
      bCSWStatus: fields.status ?? 0,
    });
}

export const CBW: Reply = { step: "out" };
export const GOOD: Reply = { step: "in", data: statusOf() };
/** Reset recovery, as BOT 1.0 §5.3.4 orders it. */
export const RECOVERY: readonly Reply[] = [{ step: "reset" }, { step: "clear in" }, { step: "clear out" }];

export const IDENTITY: DeviceIdentity = {
  vendor: 0x1234,
  product: 0x5678,
  revision: 0x0100,
  deviceClass: 0,
  deviceSubClass: 0,
  deviceProtocol: 0,
  manufacturer: "Maker",
  productName: "Stick",
  serial: "1",
  speed: "high",
};

export interface ScriptedDevice {
  readonly at: Attachment<BotPipes>;
  readonly clock: VirtualClock;
  readonly log: LogEntry[];
  /** The data of every bulk OUT transfer, CBWs among them. */
  readonly sent: Uint8Array[];
  /** The steps that were taken. */
  readonly steps: Step[];
  /** Replies that nothing has asked for yet. */
  readonly left: Reply[];
  readonly undos: (() => void | Promise<void>)[];
  /** What the driver says later processes shall do. */
  readonly demotions: { readonly mode: string; readonly reason: string }[];
}

export function scriptedDevice(script: readonly Reply[], identity: DeviceIdentity = IDENTITY): ScriptedDevice {
  const clock = createVirtualClock();
  const log: LogEntry[] = [];
  const left = [...script];
  const sent: Uint8Array[] = [];
  const steps: Step[] = [];
  const undos: (() => void | Promise<void>)[] = [];
  const demotions: ScriptedDevice["demotions"] = [];
  let tag = 0;

  const take = (step: Step): Reply => {
    steps.push(step);
    const reply = left.shift();
    expect(reply?.step, `the device got "${step}" after ${steps.join(", ")}`).toBe(step);
    return reply ?? { step };
  };
  const end = (ends: Ending, { signal, timeoutMs = 5000 }: TransferOptions): Promise<Exclude<Ending, "hang">> => {
    if (ends !== "hang") return Promise.resolve(ends);
    return new Promise((resolve) => {
      const timer = timeoutMs > 0 ? clock.startTimer(timeoutMs, () => resolve("timedOut")) : undefined;
      signal?.addEventListener("abort", () => {
        timer?.cancel();
        resolve("cancelled");
      });
    });
  };
  const pass = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      clock.startTimer(ms, resolve);
    });
  const out = async (data: Uint8Array, options: TransferOptions): Promise<StepResult> => {
    const reply = take("out");
    sent.push(data.slice());
    if (data.length === cbw.size) tag = cbw.decode(data).dCBWTag;
    const status = await end(reply.ends ?? "ok", options);
    return { status, actualBytes: reply.takes ?? (status === "ok" ? data.length : 0) };
  };
  const into = async (target: Uint8Array, options: TransferOptions): Promise<StepResult> => {
    const reply = take("in");
    const data = typeof reply.data === "function" ? reply.data(tag) : (reply.data ?? new Uint8Array(0));
    const fits = data.subarray(0, target.length);
    target.set(fits);
    if (reply.afterMs !== undefined) await pass(reply.afterMs);
    return { status: await end(reply.ends ?? "ok", options), actualBytes: fits.length };
  };
  const control = async (step: Step, options: TransferOptions = {}): Promise<"ok" | "stalled"> =>
    accepted(await end(take(step).ends ?? "ok", options), step);

  const at: Attachment<BotPipes> = {
    name: "umass0",
    identity,
    interfaceProtocols: [0x50],
    interfaceNumber: 2,
    interrupted: false,
    extraDescriptors: [],
    siblings: [],
    takeSibling: () => Promise.reject(new UnsupportedError("the device has one interface")),
    useAlternate: () => Promise.reject(new UnsupportedError("the interface has one alternate setting")),
    allocStreams: () => Promise.resolve(0),
    options: {},
    pipes: {
      bulkIn: {
        direction: "in",
        endpointAddress: 0x81,
        maxPacketBytes: 512,
        maxStreams: 0,
        clearHalt: async (options) => {
          await control("clear in", options);
        },
        transfer: async (maxBytes, options = {}) => {
          const data = new Uint8Array(maxBytes);
          const { status, actualBytes } = await into(data, options);
          return { status: accepted(status, "in"), data: data.subarray(0, actualBytes) };
        },
        openReads: () => {
          throw new Error("Bulk-Only Transport has no reads that follow one another");
        },
      },
      bulkOut: {
        direction: "out",
        endpointAddress: 0x02,
        maxPacketBytes: 512,
        maxStreams: 0,
        clearHalt: async (options) => {
          await control("clear out", options);
        },
        transfer: async (data, options = {}) => {
          const { status, actualBytes } = await out(data, options);
          return { status: accepted(status, "out"), bytesSent: actualBytes };
        },
      },
    },
    control: {
      in: async (request, maxBytes, options = {}) => {
        expect(request).toEqual({ type: "class", recipient: "interface", request: 0xfe, value: 0, index: 2 });
        const reply = take("max lun");
        const status = accepted(await end(reply.ends ?? "ok", options), "max lun");
        return {
          status,
          data: reply.data instanceof Uint8Array ? reply.data.subarray(0, maxBytes) : new Uint8Array(0),
        };
      },
      out: async (request, data, options) => {
        expect(request).toEqual({ type: "class", recipient: "interface", request: 0xff, value: 0, index: 2 });
        expect(data?.length ?? 0).toBe(0);
        return { status: await control("reset", options), bytesSent: 0 };
      },
    },
    clock,
    signal: new AbortController().signal,
    runChain: async (chain, options = {}) => runChain(chain, (step) => transfer(step, options)),
    publish: () => {
      throw new Error("nothing is published here");
    },
    onDetach: (undo) => {
      undos.push(undo);
    },
    log: (level, message) => {
      log.push({ level, source: "umass0", message });
    },
    tellMode: () => undefined,
    tellDemotion: (mode, reason) => demotions.push({ mode, reason }),
    random32: () => 0,
    rest: () => undefined,
    resetDevice: async () => {
      await control("port reset");
    },
  };
  const transfer = (step: PipeStep, options: TransferOptions): Promise<StepResult> =>
    "into" in step ? into(step.into, options) : out(step.data, options);
  return { at, clock, log, sent, steps, left, undos, demotions };
}

/**
 * The steps in their order, as the device gets to them. One that runs with another which ended in the wrong way was taken back
 * before the device had seen it.
 */
async function runChain(
  chain: readonly PipeStep[],
  transfer: (step: PipeStep) => Promise<StepResult>,
): Promise<StepResult[]> {
  const results: StepResult[] = [];
  const fulfilled = (condition: StepCondition | undefined): boolean => {
    if (condition === undefined) return true;
    const before = results[condition.step];
    return before?.status === "ok" && before.actualBytes >= condition.minBytes;
  };
  for (const step of chain) {
    if (!fulfilled(step.after)) results.push({ status: "notStarted", actualBytes: 0 });
    else if (!fulfilled(step.with)) results.push({ status: "cancelled", actualBytes: 0 });
    else results.push(await transfer(step));
  }
  return results;
}

const ERROR_CODES: Readonly<Record<string, TransferErrorCode>> = {
  timedOut: "USB_TIMED_OUT",
  cancelled: "USB_CANCELLED",
  disconnected: "USB_DISCONNECTED",
  overflow: "USB_OVERFLOW",
  error: "USB_IO",
};

function accepted(status: StepResult["status"], what: string): "ok" | "stalled" {
  if (status === "ok" || status === "stalled") return status;
  throw new TransferError(ERROR_CODES[status] ?? "USB_IO", `${what}: ${status}`);
}
