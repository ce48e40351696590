/**
 * The Bulk-Only Transport: one command at a time, in three phases.
 *
 * Specs: BOT 1.0 §5.3 (data and status), §6.3 (valid and meaningful status), §6.7 (thirteen cases).
 * The usual command is one chain of transfers, overlapped as the mode says (phases.ts); a stall or a short data phase is
 * handled by hand as §5.3 says; whatever else is a surprise ends in reset recovery (recovery.ts), a calmer mode and an
 * error. The transport does not look inside the CDB.
 */
import { BufferPool } from "../../../buffers.js";
import { CommandQueue } from "../../scsipi/queue.js";
import {
  DEFAULT_COMMAND_TIMEOUT_MS,
  type ScsiCommand,
  type ScsiReply,
  type ScsiTransport,
  ScsiTransportError,
  type ScsiTransportErrorCode,
} from "../../scsipi/transport.js";
import { ProtocolError, TransferError } from "../errors.js";
import { stepError } from "../step-error.js";
import type { Attachment, PipeStep, StepResult, TransferOptions } from "../usbdi.js";
import {
  CBW_DATA_IN,
  CBW_SIGNATURE,
  CSW_SIGNATURE,
  cbw,
  checkStatus,
  csw,
  isStatusOf,
  type StatusExpectation,
  type StatusReading,
} from "./csw.js";
import { CALMER, conditionOf, PHASE_MODES, type PhaseModeName } from "./phases.js";
import type { TransportQuirks } from "./quirks.js";
import { type BotPipes, describe, isGone, Recovery } from "./recovery.js";

/** One command moves at most so much, unless a quirk says less. */
export const MAX_TRANSFER_BYTES = 1 << 20;
/** BOT 1.0 §5.3.3: a stalled status phase is read once more. So is an empty one, a needless end to the data phase. */
const MAX_STATUS_READS = 2;
const AFTER_EMPTY_MS = 1_000;

/** A command under way. */
interface Exchange {
  readonly command: ScsiCommand;
  readonly requestedBytes: number;
  /** What its status has to agree with. */
  readonly expected: StatusExpectation;
  /** For the chain, and once more for what is done by hand after it. */
  readonly timeoutMs: number;
  /** Clock time at which what is done by hand must have ended; undefined until it begins. */
  deadlineMs: number | undefined;
  readonly dataIn: Uint8Array;
}

/** Memory kept for the data of the next commands. */
const MAX_IDLE_BYTES = 4 << 20;
const NO_DATA = new Uint8Array(0);
const COMMAND_TAKEN = { step: 0, minBytes: cbw.size };

export class BulkOnly implements ScsiTransport {
  readonly maxTransferBytes: number;
  readonly lunCount: number;
  readonly #at: Attachment<BotPipes>;
  readonly #quirks: TransportQuirks;
  #phases: PhaseModeName;
  readonly #queue = new CommandQueue();
  /** Memory for data phases. */
  readonly #buffers = new BufferPool(MAX_IDLE_BYTES);
  /** Of the command under way: a chain reports when the controller has let go of them. */
  readonly #cbwBytes = new Uint8Array(cbw.size);
  readonly #cswBytes = new Uint8Array(csw.size);
  readonly #recovery: Recovery;
  /** Of the last command. The first one is random: a status that an earlier process left in the device must not fit. */
  #tag: number;
  /** Why nothing can be sent any more. */
  #dead: Error | undefined;

  constructor(
    at: Attachment<BotPipes>,
    options: { readonly lunCount: number; readonly quirks?: TransportQuirks; readonly phases?: PhaseModeName },
  ) {
    this.#at = at;
    this.#quirks = options.quirks ?? {};
    this.#phases = options.phases ?? "sequence";
    this.#recovery = new Recovery(at);
    this.#tag = at.random32();
    this.lunCount = options.lunCount;
    this.maxTransferBytes = Math.min(MAX_TRANSFER_BYTES, this.#quirks.maxTransferBytes ?? MAX_TRANSFER_BYTES);
  }

  get resetCount(): number {
    return this.#recovery.resetCount;
  }

  /** How commands are sent from now on. */
  get phases(): PhaseModeName {
    return this.#phases;
  }

  async execute(command: ScsiCommand): Promise<ScsiReply> {
    await this.#queue.enter(command.signal);
    try {
      this.#refuseWhenDead();
      try {
        const reply = await this.#exchange(command);
        this.#recovery.commandSucceeded();
        return reply;
      } catch (error) {
        throw await this.#afterFailure(error, command.signal);
      }
    } finally {
      this.#queue.leave();
    }
  }

  recycle(data: Uint8Array): void {
    this.#buffers.give(data);
  }

  /**
   * Before the first command to a device that may be in the middle of another one: reset recovery (BOT 1.0 §5.3.4).
   * @throws ScsiTransportError SCSI_GONE: it does not come back.
   */
  takeOver(): Promise<void> {
    return this.#queue.run(async () => {
      try {
        await this.#recovery.recover("another process left it in the middle of a command", "info");
      } catch (error) {
        throw this.#giveUp(asError(error));
      }
    });
  }

  #refuseWhenDead(): void {
    if (this.#dead !== undefined)
      throw new ScsiTransportError("SCSI_GONE", `nothing can be sent: ${this.#dead.message}`, { cause: this.#dead });
  }

  /** One command through its phases. Throws before the device has been brought back to order. */
  async #exchange(command: ScsiCommand): Promise<ScsiReply> {
    this.#tag = (this.#tag + 1) >>> 0;
    const requestedBytes = lengthOfData(command);
    const timeoutMs = command.timeoutMs ?? DEFAULT_COMMAND_TIMEOUT_MS;
    const exchange: Exchange = {
      command,
      requestedBytes,
      expected: {
        tag: this.#tag,
        requestedBytes,
        signature: this.#quirks.cswSignature ?? CSW_SIGNATURE,
        ignoreTag: this.#quirks.ignoreTag ?? false,
        ignoreResidue: this.#quirks.ignoreResidue ?? false,
      },
      timeoutMs,
      deadlineMs: undefined,
      // Whatever an earlier command left in it is cut off with what the device does not send.
      dataIn: command.direction === "in" ? (command.into ?? this.#buffers.take(requestedBytes)) : NO_DATA,
    };
    encodeCbw(exchange, this.#cbwBytes);
    const steps = this.#steps(exchange);
    const results = await this.#at.runChain(steps, withSignal(timeoutMs, command.signal));
    requireCommandSent(results[0]);
    const data = steps.length === 3 ? results[1] : undefined;
    if (data !== undefined && data.status !== "ok") await this.#endData(exchange, data);
    const movedBytes = Math.min(data?.actualBytes ?? 0, requestedBytes);
    const inDataSlot = statusInDataSlot(exchange, movedBytes);
    const early = inDataSlot ?? this.#fromChain(exchange, results);
    const reading = early !== undefined && isAnswer(early) ? early : await this.#readStatus(exchange, early);
    const status = checkStatus(reading, exchange.expected);
    const dataBytes = inDataSlot === undefined ? movedBytes : 0;
    const residueBytes = Math.max(status.residueBytes, requestedBytes - dataBytes);
    return {
      status: status.status === "passed" ? "good" : "check",
      data: exchange.dataIn.subarray(0, command.direction === "in" ? requestedBytes - residueBytes : 0),
      residueBytes,
    };
  }

  /**
   * CBW, data if any, CSW; exact lengths, so that a device that sends more is a bus error and nothing else. The status is
   * left to the chain only where all data has moved: what a device sends in place of data has to be looked at first.
   */
  #steps(exchange: Exchange): PipeStep[] {
    const { bulkIn, bulkOut } = this.#at.pipes;
    const { command, requestedBytes } = exchange;
    const mode = PHASE_MODES[this.#phases];
    const steps: PipeStep[] = [{ pipe: bulkOut, data: this.#cbwBytes }];
    if (requestedBytes > 0) {
      const { after, with: beside } = conditionOf(mode.data, COMMAND_TAKEN);
      if (command.direction === "in") steps.push({ pipe: bulkIn, into: exchange.dataIn, after, with: beside });
      if (command.direction === "out") steps.push({ pipe: bulkOut, data: command.data, after, with: beside });
    }
    const phaseBefore = steps.length === 1 ? COMMAND_TAKEN : { step: 1, minBytes: requestedBytes };
    const { after, with: beside } = conditionOf(mode.status, phaseBefore);
    steps.push({ pipe: bulkIn, into: this.#cswBytes, after, with: beside });
    return steps;
  }

  /**
   * The status phase as the chain left it; undefined when it did not come to it. A status transfer that the chain took back
   * may have been filled just before. One that waited behind data on the same pipe shares the stall of the data.
   */
  #fromChain(exchange: Exchange, results: readonly StepResult[]): StatusReading | undefined {
    const result = results.at(-1);
    if (result === undefined || result.status === "notStarted") return undefined;
    const isWhole = result.actualBytes === csw.size;
    if (result.status === "ok" || (result.status === "cancelled" && isWhole))
      return { stalled: false, bytes: isWhole ? this.#cswBytes : this.#cswBytes.subarray(0, result.actualBytes) };
    const takenBack = result.status === "cancelled" && exchange.command.signal?.aborted !== true;
    if (takenBack) return undefined;
    if (result.status !== "stalled") throw stepError("status phase", result);
    const isStallOfData =
      exchange.command.direction === "in" && results.length === 3 && results[1]?.status === "stalled";
    return isStallOfData ? undefined : { stalled: true, bytes: NO_DATA };
  }

  /** A data phase that the device ended with a stall: the halt is cleared (BOT 1.0 §6.7.2, §6.7.3). */
  async #endData(exchange: Exchange, result: StepResult): Promise<void> {
    if (result.status !== "stalled") throw stepError("data phase", result);
    const { bulkIn, bulkOut } = this.#at.pipes;
    const pipe = exchange.command.direction === "in" ? bulkIn : bulkOut;
    await pipe.clearHalt(this.#options(exchange));
  }

  /** The status as the chain brought it, or read by hand where the chain stopped (BOT 1.0 Figure 2). */
  async #readStatus(exchange: Exchange, early: StatusReading | undefined): Promise<StatusReading> {
    let reading = early;
    let reads = reading === undefined ? 0 : 1;
    while (reading === undefined || (reads < MAX_STATUS_READS && !isAnswer(reading))) {
      if (reading?.stalled === true) await this.#at.pipes.bulkIn.clearHalt(this.#options(exchange));
      const afterEmpty = reading !== undefined && !reading.stalled;
      reading = afterEmpty ? await this.#readAfterEmpty(exchange) : await this.#readOnce(exchange);
      reads++;
    }
    return reading;
  }

  async #readOnce(exchange: Exchange, maxWaitMs = Number.POSITIVE_INFINITY): Promise<StatusReading> {
    const options = this.#options(exchange);
    const timeoutMs = Math.min(maxWaitMs, options.timeoutMs);
    const reply = await this.#at.pipes.bulkIn.transfer(csw.size, { ...options, timeoutMs });
    return { stalled: reply.status === "stalled", bytes: reply.data };
  }

  /** An empty packet before the status is followed by it at once, or was all that there is: not worth a whole deadline. */
  async #readAfterEmpty(exchange: Exchange): Promise<StatusReading> {
    try {
      return await this.#readOnce(exchange, AFTER_EMPTY_MS);
    } catch (error) {
      if (error instanceof TransferError && error.code === "USB_TIMED_OUT")
        return { stalled: false, bytes: new Uint8Array(0) };
      throw error;
    }
  }

  /** What is left of the time for what is done by hand, and the caller's signal. Only these few commands read the clock. */
  #options(exchange: Exchange): TransferOptions & { readonly timeoutMs: number } {
    const nowMs = this.#at.clock.nowMs();
    exchange.deadlineMs ??= nowMs + exchange.timeoutMs;
    const leftMs = exchange.deadlineMs - nowMs;
    if (leftMs <= 0) throw new TransferError("USB_TIMED_OUT", "the command's time is up");
    return withSignal(leftMs, exchange.command.signal);
  }

  /** Brings the device back and says what the failure means to the layer above. */
  async #afterFailure(error: unknown, signal: AbortSignal | undefined): Promise<Error> {
    if (!(error instanceof TransferError || error instanceof ProtocolError)) {
      // A bug of ours, somewhere between the phases: the device would take the next CBW for data.
      this.#dead ??= asError(error);
      return asError(error);
    }
    const cancelledByCaller = error.code === "USB_CANCELLED" && signal?.aborted === true;
    if (isGone(error) && !cancelledByCaller) return this.#giveUp(error);
    if (!cancelledByCaller) this.#calmDown(error.message);
    try {
      await this.#recovery.recover(error.message);
    } catch (failure) {
      if (!isGone(failure)) this.#at.log("error", `the device does not come back: ${describe(failure)}`);
      return this.#giveUp(asError(failure));
    }
    return new ScsiTransportError(failureCode(error, cancelledByCaller), error.message, { cause: error });
  }

  /** The device went wrong in this mode: not once more, nor in a later process. */
  #calmDown(reason: string): void {
    const calmer = CALMER[this.#phases];
    if (calmer === undefined) return;
    this.#at.log("warn", `phases: ${calmer} from now on: the device went wrong in mode "${this.#phases}"`);
    this.#phases = calmer;
    this.#at.tellDemotion(calmer, reason);
  }

  #giveUp(cause: Error): ScsiTransportError {
    this.#dead ??= cause;
    return new ScsiTransportError("SCSI_GONE", cause.message, { cause });
  }
}

function withSignal(
  timeoutMs: number,
  signal: AbortSignal | undefined,
): TransferOptions & { readonly timeoutMs: number } {
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
}

function lengthOfData(command: ScsiCommand): number {
  switch (command.direction) {
    case "none":
      return 0;
    case "in":
      return command.bytes;
    case "out":
      return command.data.length;
  }
}

function encodeCbw({ command, expected, requestedBytes }: Exchange, into: Uint8Array): void {
  cbw.encodeInto(into, 0, {
    dCBWSignature: CBW_SIGNATURE,
    dCBWTag: expected.tag,
    dCBWDataTransferLength: requestedBytes,
    bmCBWFlags: command.direction === "in" ? CBW_DATA_IN : 0,
    bCBWLUN: command.lun,
    bCBWCBLength: command.cdb.length,
    CBWCB: command.cdb,
  });
}

/** Neither a stall nor a needless end to the data phase. */
function isAnswer({ stalled, bytes }: StatusReading): boolean {
  return !stalled && bytes.length > 0;
}

/** A device that has no data may send its status at once, where a stall belongs (BOT 1.0 §6.7.2). */
function statusInDataSlot({ command, dataIn, expected }: Exchange, movedBytes: number): StatusReading | undefined {
  if (command.direction !== "in" || movedBytes !== csw.size || movedBytes === dataIn.length) return undefined;
  const bytes = dataIn.slice(0, movedBytes);
  return isStatusOf(bytes, expected) ? { stalled: false, bytes } : undefined;
}

/** A device stalls a CBW that it does not find valid (BOT 1.0 §6.6.1); ours are, so it is out of step. */
function requireCommandSent(result: StepResult | undefined): void {
  if (result?.status === "ok" && result.actualBytes === cbw.size) return;
  if (result?.status === "ok")
    throw new ProtocolError(`CBW: the device took ${result.actualBytes} of ${cbw.size} bytes`, "BOT 1.0 §6.2");
  throw stepError("command phase", result ?? { status: "notStarted", actualBytes: 0 });
}

function failureCode(error: TransferError | ProtocolError, cancelledByCaller: boolean): ScsiTransportErrorCode {
  if (cancelledByCaller) return "SCSI_CANCELLED";
  return error.code === "USB_TIMED_OUT" ? "SCSI_TIMED_OUT" : "SCSI_TRANSPORT";
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(describe(error));
}
