/** Sense data: why a command was refused (SPC-4 §4.5, additional sense codes Annex D). */
import { record, raw, u32be, u8 } from "../../bytes.js";

export interface Sense {
  /** SPC-4 Table 45. */
  readonly key: number;
  /** Additional sense code and its qualifier. */
  readonly asc: number;
  readonly ascq: number;
}

/** What the target says, by name. */
export const SENSE = {
  NONE: { key: 0x0, asc: 0x00, ascq: 0x00 },
  BECOMING_READY: { key: 0x2, asc: 0x04, ascq: 0x01 },
  INITIALIZING_COMMAND_REQUIRED: { key: 0x2, asc: 0x04, ascq: 0x02 },
  MEDIUM_NOT_PRESENT: { key: 0x2, asc: 0x3a, ascq: 0x00 },
  WRITE_ERROR: { key: 0x3, asc: 0x0c, ascq: 0x00 },
  READ_ERROR: { key: 0x3, asc: 0x11, ascq: 0x00 },
  PARAMETER_LIST_LENGTH: { key: 0x5, asc: 0x1a, ascq: 0x00 },
  INVALID_OPERATION_CODE: { key: 0x5, asc: 0x20, ascq: 0x00 },
  LBA_OUT_OF_RANGE: { key: 0x5, asc: 0x21, ascq: 0x00 },
  INVALID_FIELD_IN_CDB: { key: 0x5, asc: 0x24, ascq: 0x00 },
  LOGICAL_UNIT_NOT_SUPPORTED: { key: 0x5, asc: 0x25, ascq: 0x00 },
  INVALID_FIELD_IN_PARAMETER_LIST: { key: 0x5, asc: 0x26, ascq: 0x00 },
  SAVING_PARAMETERS_NOT_SUPPORTED: { key: 0x5, asc: 0x39, ascq: 0x00 },
  MEDIUM_REMOVAL_PREVENTED: { key: 0x5, asc: 0x53, ascq: 0x02 },
  MEDIUM_CHANGED: { key: 0x6, asc: 0x28, ascq: 0x00 },
  POWER_ON: { key: 0x6, asc: 0x29, ascq: 0x01 },
  DEVICE_RESET: { key: 0x6, asc: 0x29, ascq: 0x03 },
  NEXUS_LOSS: { key: 0x6, asc: 0x29, ascq: 0x07 },
  MODE_PARAMETERS_CHANGED: { key: 0x6, asc: 0x2a, ascq: 0x01 },
  WRITE_PROTECTED: { key: 0x7, asc: 0x27, ascq: 0x00 },
  DATA_PHASE_ERROR: { key: 0xb, asc: 0x4b, ascq: 0x00 },
  MISCOMPARE: { key: 0xe, asc: 0x1d, ascq: 0x00 },
} as const satisfies Record<string, Sense>;

/** A command ends with CHECK CONDITION; thrown by a command, caught by the target. */
export class CheckCondition extends Error {
  readonly sense: Sense;

  constructor(sense: Sense) {
    super(`CHECK CONDITION ${sense.key.toString(16)}h/${sense.asc.toString(16)}h/${sense.ascq.toString(16)}h`);
    this.name = "CheckCondition";
    this.sense = sense;
  }
}

/** Fixed format sense data — SPC-4 §4.5.3, Table 53. */
const fixedSense = record("fixed format sense data", "SPC-4 §4.5.3", {
  responseCode: u8,
  obsolete: u8,
  senseKey: u8,
  information: u32be,
  additionalSenseLength: u8,
  commandSpecific: u32be,
  asc: u8,
  ascq: u8,
  fieldReplaceableUnit: u8,
  senseKeySpecific: raw(3),
});
const CURRENT_FIXED = 0x70;
/** Bytes before and with the additional sense length. */
const HEADER_BYTES = 8;

export function encodeSense(sense: Sense): Uint8Array {
  return fixedSense.encode({
    responseCode: CURRENT_FIXED,
    obsolete: 0,
    senseKey: sense.key,
    information: 0,
    additionalSenseLength: fixedSense.size - HEADER_BYTES,
    commandSpecific: 0,
    asc: sense.asc,
    ascq: sense.ascq,
    fieldReplaceableUnit: 0,
    senseKeySpecific: new Uint8Array(3),
  });
}
