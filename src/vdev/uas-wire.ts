/**
 * USB Attached SCSI as a device reads and writes it: information units and the pipe usage descriptor (UAS r04, T10/2095-D:
 * clauses "USB resource requirements" and "Information units"). Fields are big-endian.
 */
import { raw, record, u16be, u8 } from "../bytes.js";

/** Protocol of the interface (UAS r04, USB resource requirements). */
export const UAS_PROTOCOL = 0x62;

/** bPipeID of the pipe usage descriptor. */
export const PIPE_ID = { COMMAND: 1, STATUS: 2, DATA_IN: 3, DATA_OUT: 4 } as const;
const PIPE_USAGE = 0x24;

/** The class-specific descriptor that says what an endpoint is for. */
export function pipeUsage(pipeId: number): Uint8Array {
  return Uint8Array.of(4, PIPE_USAGE, pipeId, 0);
}

export const IU = {
  COMMAND: 0x01,
  SENSE: 0x03,
  RESPONSE: 0x04,
  TASK_MANAGEMENT: 0x05,
  READ_READY: 0x06,
  WRITE_READY: 0x07,
} as const;

/** What every IU begins with; all there is of READ READY and WRITE READY. */
export const iuHeader = record("IU header", "UAS r04, information units", { id: u8, reserved: u8, tag: u16be });

/** COMMAND IU without additional CDB bytes. `lun`: as SAM-5 §4.7; `additionalCdbLength`: bits 7..2, in dwords. */
export const commandIu = record("COMMAND IU", "UAS r04, COMMAND IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  priorityAndAttribute: u8,
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

/** SENSE IU up to its sense data. */
const senseIu = record("SENSE IU", "UAS r04, SENSE IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  statusQualifier: u16be,
  status: u8,
  reserved7: raw(7),
  senseLength: u16be,
});

const responseIu = record("RESPONSE IU", "UAS r04, RESPONSE IU", {
  id: u8,
  reserved1: u8,
  tag: u16be,
  additionalInformation: raw(3),
  responseCode: u8,
});

export const RESPONSE_CODE = {
  FUNCTION_COMPLETE: 0x00,
  INVALID_INFORMATION_UNIT: 0x02,
  FUNCTION_NOT_SUPPORTED: 0x04,
  FUNCTION_FAILED: 0x05,
  FUNCTION_SUCCEEDED: 0x08,
  INCORRECT_LUN: 0x09,
  OVERLAPPED_TAG: 0x0a,
} as const;

/** Task management functions, SAM-5 §7. */
export const TASK_FUNCTION = {
  ABORT_TASK: 0x01,
  ABORT_TASK_SET: 0x02,
  LOGICAL_UNIT_RESET: 0x08,
  I_T_NEXUS_RESET: 0x10,
  QUERY_TASK: 0x80,
} as const;

/** SAM-5 §5.3.1. */
export const SCSI_STATUS = { GOOD: 0x00, CHECK_CONDITION: 0x02, TASK_SET_FULL: 0x28 } as const;

export function encodeSenseIu(tag: number, status: number, sense: Uint8Array): Uint8Array {
  const header = senseIu.encode({
    id: IU.SENSE,
    reserved1: 0,
    tag,
    statusQualifier: 0,
    status,
    reserved7: new Uint8Array(7),
    senseLength: sense.length,
  });
  const bytes = new Uint8Array(header.length + sense.length);
  bytes.set(header);
  bytes.set(sense, header.length);
  return bytes;
}

export function encodeResponseIu(tag: number, responseCode: number): Uint8Array {
  return responseIu.encode({
    id: IU.RESPONSE,
    reserved1: 0,
    tag,
    additionalInformation: new Uint8Array(3),
    responseCode,
  });
}

/** Single-level LUN, peripheral device addressing (SAM-5 §4.7.4): undefined for any other form. */
export function lunOf(lun: Uint8Array): number | undefined {
  const [method = 0, number = 0, ...rest] = lun;
  return method === 0 && rest.every((byte) => byte === 0) ? number : undefined;
}
