/**
 * The four pipes of UAS and the transfers on them, with bulk streams or without (UAS r04, clause "USB resource
 * requirements"; USB 3.2 §4.4.6.4 for streams). What is in flight can be stopped as a whole, which recovery begins with.
 */
import { ProtocolError, TransferError } from "../errors.js";
import { stepError } from "../step-error.js";
import type { Attachment, InPipe, OutPipe, PipeStep, StepResult } from "../usbdi.js";
import { STATUS_IU_BYTES } from "./iu.js";

/** Pipe usage descriptor: bDescriptorType and bPipeID (UAS r04). */
const PIPE_USAGE = 0x24;

export const UAS_ENDPOINTS = {
  command: { type: "bulk", dir: "out", followedBy: [PIPE_USAGE, 1] },
  status: { type: "bulk", dir: "in", followedBy: [PIPE_USAGE, 2] },
  dataIn: { type: "bulk", dir: "in", followedBy: [PIPE_USAGE, 3] },
  dataOut: { type: "bulk", dir: "out", followedBy: [PIPE_USAGE, 4] },
} as const;

export type UasPipeSet = {
  readonly command: OutPipe;
  readonly status: InPipe;
  readonly dataIn: InPipe;
  readonly dataOut: OutPipe;
};

/** The data stage of a command. OUT: `data` is lent. IN: it is filled. */
export interface DataStage {
  readonly direction: "in" | "out";
  readonly data: Uint8Array;
}

/** Of each request on the default pipe. */
const CLEAR_HALT_TIMEOUT_MS = 5_000;

interface InFlight {
  readonly running: Promise<unknown>;
  /** Ends it. */
  readonly signal: AbortSignal;
}

export class UasPipes {
  readonly #at: Attachment<UasPipeSet>;
  #stop = new AbortController();
  /** An array for the reason that pending.ts gives. */
  readonly #inFlight: InFlight[] = [];
  #streams = 0;

  constructor(at: Attachment<UasPipeSet>) {
    this.#at = at;
  }

  /** Bulk streams 1..n on the status and the data pipes; 0 = they are used without. */
  get streams(): number {
    return this.#streams;
  }

  /**
   * After the setting was selected, and after every reset: they are gone then.
   * @returns how many there are now. @throws TransferError USB_DISCONNECTED
   */
  async openStreams(count: number): Promise<number> {
    const { status, dataIn, dataOut } = this.#at.pipes;
    this.#streams = await this.#at.allocStreams([status, dataIn, dataOut], count);
    return this.#streams;
  }

  /**
   * Sends an IU over the command pipe.
   * @param signal  Ends it; left out: `stop` does.
   * @throws TransferError; USB_CANCELLED when it was ended.
   */
  async send(iu: Uint8Array, signal: AbortSignal = this.#stop.signal): Promise<void> {
    const [result] = await this.#run([{ pipe: this.#at.pipes.command, data: iu }], signal);
    requireSent(result, iu);
  }

  /**
   * Sends an IU, and reads what is answered on the stream of its tag; the host's side of the stream waits from the start.
   * @param signal  Ends it; left out: `stop` does.
   * @throws TransferError; USB_CANCELLED when it was ended.
   */
  async sendForStatus(iu: Uint8Array, streamId: number, signal: AbortSignal = this.#stop.signal): Promise<Uint8Array> {
    const into = new Uint8Array(STATUS_IU_BYTES);
    const { command, status } = this.#at.pipes;
    // Before the command: QEMU's usb-uas can lose a status for which no transfer waits when it is ready.
    const reading = this.#run([{ pipe: status, into, streamId }], signal);
    reading.catch(() => {}); // seen below; where the command was not taken, that is the error
    const [sent] = await this.#run([{ pipe: command, data: iu }], signal);
    requireSent(sent, iu);
    const [read] = await reading;
    return statusOf(read, into);
  }

  /** Reads one IU of the status pipe, used without streams. @throws TransferError; USB_CANCELLED after `stop`. */
  async readStatus(): Promise<Uint8Array> {
    const into = new Uint8Array(STATUS_IU_BYTES);
    const [result] = await this.#run([{ pipe: this.#at.pipes.status, into }], this.#stop.signal);
    return statusOf(result, into);
  }

  /**
   * Moves the data of a command.
   * @param signal  Aborted: what has not moved by then is not wanted any more.
   * @returns the bytes that moved, also when the signal ended it. @throws TransferError
   */
  async moveData({ direction, data }: DataStage, streamId: number | undefined, signal: AbortSignal): Promise<number> {
    const { dataIn, dataOut } = this.#at.pipes;
    const end = direction === "in" ? { pipe: dataIn, into: data } : { pipe: dataOut, data };
    const [result] = await this.#run([streamId === undefined ? end : { ...end, streamId }], signal);
    if (result === undefined || (result.status !== "ok" && result.status !== "cancelled"))
      throw stepError("data", result ?? { status: "notStarted", actualBytes: 0 });
    return Math.min(result.actualBytes, data.length);
  }

  /** Cancels what has no signal of its own; resolves when nothing is in flight, whatever has one included. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#inFlight.map(({ running }) => running)); // whoever waits for one sees its error
    this.#stop = new AbortController();
  }

  /** Resolves when nothing is in flight that the signal ends. */
  async ended(signal: AbortSignal): Promise<void> {
    const theirs = this.#inFlight.filter((one) => one.signal === signal);
    await Promise.allSettled(theirs.map(({ running }) => running));
  }

  /** @throws TransferError */
  async clearHalts(): Promise<void> {
    const { command, status, dataIn, dataOut } = this.#at.pipes;
    for (const pipe of [command, status, dataIn, dataOut]) await pipe.clearHalt({ timeoutMs: CLEAR_HALT_TIMEOUT_MS });
  }

  async #run(steps: readonly PipeStep[], signal: AbortSignal): Promise<readonly StepResult[]> {
    // Transfers end with their command, which has the deadline.
    const running = this.#at.runChain(steps, { timeoutMs: 0, signal });
    const own = { running, signal };
    this.#inFlight.push(own);
    try {
      return await running;
    } finally {
      this.#inFlight.splice(this.#inFlight.indexOf(own), 1);
    }
  }
}

function requireSent(result: StepResult | undefined, iu: Uint8Array): void {
  if (result?.status === "ok" && result.actualBytes === iu.length) return;
  if (result?.status === "ok")
    throw new ProtocolError(
      `the device took ${result.actualBytes} of ${iu.length} bytes of an IU`,
      "UAS r04, COMMAND IU",
    );
  throw stepError("command pipe", result ?? { status: "notStarted", actualBytes: 0 });
}

function statusOf(result: StepResult | undefined, into: Uint8Array): Uint8Array {
  if (result?.status === "ok") return into.subarray(0, result.actualBytes);
  throw stepError("status pipe", result ?? { status: "notStarted", actualBytes: 0 });
}

/** The transfer was taken back by us, which is no news. */
export function isStopped(error: unknown): boolean {
  return error instanceof TransferError && error.code === "USB_CANCELLED";
}
