/**
 * Information units: what goes over the command pipe and what comes over the status pipe (UAS r04, T10/2095-D, clause
 * "Information units"; big-endian). What a device sends is believed only when `parseStatusIu` has looked at it.
 */
import { raw, record, u16be, u8 } from "../../../bytes.js";
import { ProtocolError } from "../errors.js";

const SPEC = "UAS r04, information units";

const IU_ID = {
  command: 0x01,
  sense: 0x03,
  response: 0x04,
  taskManagement: 0x05,
  readReady: 0x06,
  writeReady: 0x07,
} as const;

/** COMMAND IU for a CDB of at most 16 bytes. `attribute`: bits 6..3 priority, bits 2..0 task attribute. */
export const commandIu = record("COMMAND IU", "UAS r04, COMMAND IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  attribute: u8,
  reserved5: u8,
  additionalCdbLength: u8,
  reserved7: u8,
  lun: raw(8),
  cdb: raw(16),
});

export const taskManagementIu = record("TASK MANAGEMENT IU", "UAS r04, TASK MANAGEMENT IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  function: u8,
  reserved5: u8,
  taskTag: u16be,
  lun: raw(8),
});

/** Every IU begins so; a READ READY and a WRITE READY IU are nothing else. */
const header = record("IU header", SPEC, { id: u8, reserved: u8, tag: u16be });

/** SENSE IU up to its sense data. */
export const senseIu = record("SENSE IU", "UAS r04, SENSE IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  statusQualifier: u16be,
  status: u8,
  reserved7: raw(7),
  senseLength: u16be,
});

export const responseIu = record("RESPONSE IU", "UAS r04, RESPONSE IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  additionalInformation: raw(3),
  responseCode: u8,
});

/** The longest sense data that are worth reading (SPC-4 §4.5.1: at most 252 bytes). */
const MAX_SENSE_BYTES = 252;
/** Room for any IU of the status pipe. */
export const STATUS_IU_BYTES = senseIu.size + MAX_SENSE_BYTES;

/** SIMPLE (SAM-5 §8.6.2): the target may carry out commands in any order. */
const SIMPLE_TASK = 0;

/** Task management functions, SAM-5 §7. */
export const TASK_FUNCTION = { abortTask: 0x01, logicalUnitReset: 0x08, nexusReset: 0x10 } as const;
export type TaskFunction = keyof typeof TASK_FUNCTION;

/** RESPONSE CODE. The codes that are not here say that something was not done. */
export const RESPONSE_CODE = { complete: 0x00, succeeded: 0x08, overlappedTag: 0x0a } as const;
const RESPONSE_NAMES: ReadonlyMap<number, string> = new Map([
  [0x00, "complete"],
  [0x02, "invalid information unit"],
  [0x04, "function not supported"],
  [0x05, "function failed"],
  [0x08, "succeeded"],
  [0x09, "incorrect LUN"],
  [0x0a, "overlapped tag"],
]);

/** SAM-5 §5.3.1, Table 33. */
export const SCSI_STATUS = { good: 0x00, checkCondition: 0x02, busy: 0x08, taskSetFull: 0x28 } as const;

/** @param cdb  6, 10, 12 or 16 bytes. */
export function encodeCommand(tag: number, lun: number, cdb: Uint8Array): Uint8Array {
  return commandIu.encode({
    id: IU_ID.command,
    reserved1: 0,
    tag,
    attribute: SIMPLE_TASK,
    reserved5: 0,
    additionalCdbLength: 0,
    reserved7: 0,
    lun: encodeLun(lun),
    cdb,
  });
}

/** @param taskTag  The task that is meant; 0 for a function that means no task. */
export function encodeTaskManagement(tag: number, what: TaskFunction, taskTag: number, lun: number): Uint8Array {
  return taskManagementIu.encode({
    id: IU_ID.taskManagement,
    reserved1: 0,
    tag,
    function: TASK_FUNCTION[what],
    reserved5: 0,
    taskTag,
    lun: encodeLun(lun),
  });
}

/** Single level, peripheral device addressing (SAM-5 §4.7.4). @param lun  0..255. */
function encodeLun(lun: number): Uint8Array {
  return Uint8Array.of(0, lun, 0, 0, 0, 0, 0, 0);
}

/** What a device says over the status pipe. */
export type StatusIu = { readonly tag: number } & (
  | { readonly kind: "readReady" | "writeReady" }
  | { readonly kind: "sense"; readonly status: number; readonly sense: Uint8Array }
  | { readonly kind: "response"; readonly responseCode: number }
);

/**
 * Reads one IU of the status pipe.
 * @param bytes  One transfer, as long as the device made it. `sense` is a view of it.
 * @throws ProtocolError when it is none.
 */
export function parseStatusIu(bytes: Uint8Array): StatusIu {
  if (bytes.length < header.size) throw new ProtocolError(`IU of ${bytes.length} bytes`, SPEC, bytes);
  const { id, tag } = header.decode(bytes);
  switch (id) {
    case IU_ID.readReady:
      return { tag, kind: "readReady" };
    case IU_ID.writeReady:
      return { tag, kind: "writeReady" };
    case IU_ID.sense:
      return { tag, kind: "sense", ...parseSense(bytes) };
    case IU_ID.response:
      if (bytes.length < responseIu.size)
        throw new ProtocolError(`RESPONSE IU of ${bytes.length} bytes`, responseIu.spec, bytes);
      return { tag, kind: "response", responseCode: responseIu.decode(bytes).responseCode };
    default:
      throw new ProtocolError(`IU id ${id.toString(16).padStart(2, "0")}h`, SPEC, bytes);
  }
}

function parseSense(bytes: Uint8Array): { readonly status: number; readonly sense: Uint8Array } {
  if (bytes.length < senseIu.size) throw new ProtocolError(`SENSE IU of ${bytes.length} bytes`, senseIu.spec, bytes);
  const { status, senseLength } = senseIu.decode(bytes);
  // A device may cut what it says of its sense data, as long as it says enough for a status.
  const sense = bytes.subarray(senseIu.size, senseIu.size + Math.min(senseLength, MAX_SENSE_BYTES));
  return { status, sense };
}

/** A response code as the log says it. */
export function responseName(code: number): string {
  return RESPONSE_NAMES.get(code) ?? `response code ${code.toString(16).padStart(2, "0")}h`;
}

/** The function was carried out. */
export function isDone(code: number): boolean {
  return code === RESPONSE_CODE.complete || code === RESPONSE_CODE.succeeded;
}
