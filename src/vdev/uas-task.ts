/** What the UAS target keeps of a task and of an information unit that waits to be read, and the faults of the latter. */
import { viewOf } from "../bytes.js";
import type { Exchange } from "./bot-exchange.js";
import { CBW_FLAG_IN, CBW_SIGNATURE, type CommandBlockWrapper } from "./bot-wire.js";
import { actionOf, type FaultAction } from "./faults.js";
import type { ScsiTask } from "./scsi/task.js";

export interface UasTask {
  readonly tag: number;
  readonly lun: number;
  readonly operationCode: number;
  readonly scsi: ScsiTask;
  /** Its data stage. */
  readonly exchange: Exchange;
  /** Waits for its pipe, has said READY and waits for the host to read that, moves data, waits for its status to be read. */
  state: "waiting" | "ready" | "data" | "done";
  stageBegun?: boolean;
  /** A fault keeps it from going on. */
  held: boolean;
}

/** An information unit for the status pipe. */
export interface WaitingIu {
  readonly tag: number;
  readonly phase: "csw" | "ready" | "task";
  bytes: Uint8Array;
  /** Faults that hit it; undefined until the host reads it. */
  actions: readonly FaultAction[] | undefined;
  /** Undefined: about no task. */
  readonly task: UasTask | undefined;
  held: boolean;
}

/** A COMMAND IU has no length and no direction: the data stage is what the command says (UAS r04, COMMAND IU). */
export function syntheticCbw(
  tag: number,
  cdb: Uint8Array,
  data: { readonly direction: "in" | "out"; readonly bytes: number } | undefined,
): CommandBlockWrapper {
  return {
    dCBWSignature: CBW_SIGNATURE,
    dCBWTag: tag,
    dCBWDataTransferLength: data?.bytes ?? 0,
    bmCBWFlags: data?.direction === "in" ? CBW_FLAG_IN : 0,
    bCBWLUN: 0,
    bCBWCBLength: cdb.length,
    CBWCB: cdb,
  };
}

/** The fault `length` makes an IU no longer than this. */
const MAX_IU_BYTES = 4096;
/** Offset of the status in a SENSE IU. */
const STATUS_AT = 6;

/** The IU with the faults `iu`, `tag`, `status`, `corrupt` and `length` in it. */
export function faultyIu(iu: Uint8Array, actions: readonly FaultAction[]): Uint8Array {
  const bytes = iu.slice();
  const view = viewOf(bytes);
  const id = actionOf(actions, "iu");
  if (id !== undefined) bytes[0] = id.value;
  const tag = actionOf(actions, "tag");
  if (tag !== undefined) view.setUint16(2, (view.getUint16(2) + tag.offset) & 0xffff);
  const status = actionOf(actions, "status");
  if (status !== undefined && bytes.length > STATUS_AT) bytes[STATUS_AT] = status.value;
  const corrupt = actionOf(actions, "corrupt");
  if (corrupt !== undefined && corrupt.at < bytes.length) bytes[corrupt.at] = corrupt.value;
  const length = Math.min(actionOf(actions, "length")?.bytes ?? bytes.length, MAX_IU_BYTES);
  const sized = new Uint8Array(length);
  sized.set(bytes.subarray(0, length));
  return sized;
}
