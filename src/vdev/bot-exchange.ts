/**
 * One command on the Bulk-Only Transport while it runs: what its data stage has moved and still has to move, and the
 * status that follows from it (BOT 1.0 §5.3, §6.7).
 */
import { planStage, type StagePlan, type StageStyle } from "./bot-cases.js";
import { CBW_FLAG_IN, CSW_SIGNATURE, CSW_STATUS, type CommandBlockWrapper, commandStatusWrapper } from "./bot-wire.js";
import { actionOf, type FaultAction } from "./faults.js";
import type { ScsiTask } from "./scsi/task.js";

/** Sent as data that the command does not have (the fault `extra`). */
const EXTRA_BYTE = 0xee;

/** How the data stage ends once `bytes` have moved. */
export type StageEnd = StagePlan["end"] | "disconnect";

export class Exchange {
  readonly cbw: CommandBlockWrapper;
  readonly #task: ScsiTask;
  readonly #style: StageStyle;
  #plan: StagePlan;
  /** Replaces the data of the command. */
  #reply: Uint8Array | undefined;
  /** Faults of the data stage; undefined until it begins. */
  #actions: readonly FaultAction[] | undefined;
  #finished = false;
  /** Bytes that cross the bus in the data stage, and how it ends. */
  bytes: number;
  end: StageEnd;
  /** Bytes that have crossed. */
  moved = 0;

  /** `phaseError`: a fault makes the device give up before the data stage. */
  constructor(cbw: CommandBlockWrapper, task: ScsiTask, style: StageStyle, phaseError: boolean) {
    this.cbw = cbw;
    this.#task = task;
    this.#style = style;
    const plan = planStage(this.#host, task.data, style);
    this.#plan = phaseError ? { ...plan, direction: "none", bytes: 0, end: "full", phaseError } : plan;
    this.bytes = this.#plan.bytes;
    this.end = this.#plan.end;
  }

  get direction(): StagePlan["direction"] {
    return this.#plan.direction;
  }

  get operationCode(): number {
    return this.cbw.CBWCB[0] ?? 0;
  }

  /** Applies the faults of the data stage, before its first byte; later calls do nothing. */
  beginData(actions: readonly FaultAction[]): void {
    if (this.#actions !== undefined) return;
    this.#actions = actions;
    const reply = actionOf(actions, "reply");
    if (reply !== undefined) {
      this.#reply = reply.bytes;
      const bytes = Math.min(reply.bytes.length, this.cbw.dCBWDataTransferLength);
      this.#plan = planStage(this.#host, { direction: "in", bytes }, this.#style);
    }
    this.bytes = this.#plan.bytes + (actionOf(actions, "extra")?.bytes ?? 0);
    this.end = this.#plan.end;
    const short = actionOf(actions, "short");
    if (short !== undefined && short.bytes < this.bytes) this.#cut(short.bytes, "short");
    const stall = actionOf(actions, "stall");
    if (stall !== undefined) this.#cut(stall.afterBytes, "stall");
    const disconnect = actionOf(actions, "disconnect");
    if (disconnect !== undefined) this.#cut(disconnect.afterBytes, "disconnect");
  }

  /** The next bytes for the host: exactly `count`, or undefined when the medium failed and the stage is over. */
  read(count: number): Uint8Array | undefined {
    const useful = Math.min(count, Math.max(0, this.#plan.usefulBytes - this.moved));
    const data = useful === 0 ? new Uint8Array(0) : this.#command(useful);
    if (data === undefined) {
      this.#cut(this.moved, "stall");
      return undefined;
    }
    return this.#corrupted(useful === count ? data : this.#filled(data, count));
  }

  /** The next bytes from the host. */
  write(data: Uint8Array): void {
    const useful = Math.max(0, this.#plan.usefulBytes - this.moved);
    if (useful > 0) this.#task.write(this.moved, data.subarray(0, useful));
  }

  /** The host ended the data stage early with a short packet. */
  hostEnded(): void {
    this.#cut(this.moved, "full");
  }

  /** The status of the command, once the data stage is over; the first call ends the command. */
  status(): { readonly status: number; readonly residueBytes: number } {
    const { usefulBytes, phaseError } = this.#plan;
    const useful = Math.min(this.moved, usefulBytes);
    const residueBytes = this.cbw.dCBWDataTransferLength - useful;
    if (phaseError) return { status: CSW_STATUS.PHASE_ERROR, residueBytes };
    if (!this.#finished) {
      this.#finished = true;
      if (this.direction === "out" && useful < usefulBytes) this.#task.abort();
      else this.#task.finish();
    }
    const passed = this.#reply !== undefined || !this.#task.failed;
    return { status: passed ? CSW_STATUS.PASSED : CSW_STATUS.FAILED, residueBytes };
  }

  get #host(): { readonly direction: "in" | "out"; readonly bytes: number } {
    const direction = (this.cbw.bmCBWFlags & CBW_FLAG_IN) !== 0 ? "in" : "out";
    return { direction, bytes: this.cbw.dCBWDataTransferLength };
  }

  #cut(bytes: number, end: StageEnd): void {
    if (bytes > this.bytes) return;
    this.bytes = bytes;
    this.end = end;
  }

  #command(count: number): Uint8Array | undefined {
    if (this.#reply !== undefined) return this.#reply.subarray(this.moved, this.moved + count);
    return this.#task.read(this.moved, count);
  }

  /** Behind the data of the command: zeroes up to what the host asked for, then what the fault `extra` adds. */
  #filled(data: Uint8Array, count: number): Uint8Array {
    const filled = new Uint8Array(count).fill(EXTRA_BYTE);
    filled.fill(0, 0, Math.max(0, this.#plan.bytes - this.moved));
    filled.set(data);
    return filled;
  }

  #corrupted(data: Uint8Array): Uint8Array {
    const corrupt = actionOf(this.#actions ?? [], "corrupt");
    const at = (corrupt?.at ?? 0) - this.moved;
    if (corrupt === undefined || at < 0 || at >= data.length) return data;
    const changed = data.slice();
    changed[at] = corrupt.value;
    return changed;
  }
}

/** The CSW of a command with the faults of its status stage in it. */
export function encodeStatus(
  tag: number,
  status: { readonly status: number; readonly residueBytes: number },
  actions: readonly FaultAction[],
): Uint8Array {
  const phaseError = actionOf(actions, "phaseError") === undefined ? undefined : CSW_STATUS.PHASE_ERROR;
  const csw = commandStatusWrapper.encode({
    dCSWSignature: actionOf(actions, "signature")?.value ?? CSW_SIGNATURE,
    dCSWTag: (tag + (actionOf(actions, "tag")?.offset ?? 0)) >>> 0,
    dCSWDataResidue: actionOf(actions, "residue")?.value ?? status.residueBytes,
    bCSWStatus: actionOf(actions, "status")?.value ?? phaseError ?? status.status,
  });
  const corrupt = actionOf(actions, "corrupt");
  if (corrupt !== undefined && corrupt.at < csw.length) csw[corrupt.at] = corrupt.value;
  const bytes = Math.min(actionOf(actions, "length")?.bytes ?? csw.length, MAX_STATUS_BYTES);
  const sized = new Uint8Array(bytes);
  sized.set(csw.subarray(0, bytes));
  return sized;
}

/** The fault `length` makes a CSW no longer than this. */
const MAX_STATUS_BYTES = 4096;
