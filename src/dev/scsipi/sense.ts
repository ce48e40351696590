/**
 * Sense data: why a command failed, in words and as what to do about it. SPC-4 §4.5.
 */
import { record, u32be, u8 } from "../../bytes.js";

/** Sense keys, SPC-4 Table 43. */
export const SENSE_KEYS = [
  "NO SENSE",
  "RECOVERED ERROR",
  "NOT READY",
  "MEDIUM ERROR",
  "HARDWARE ERROR",
  "ILLEGAL REQUEST",
  "UNIT ATTENTION",
  "DATA PROTECT",
  "BLANK CHECK",
  "VENDOR SPECIFIC",
  "COPY ABORTED",
  "ABORTED COMMAND",
  "RESERVED",
  "VOLUME OVERFLOW",
  "MISCOMPARE",
  "COMPLETED",
] as const;
export type SenseKey = (typeof SENSE_KEYS)[number];

/** What the layer above does about it. */
export type SenseMeaning =
  | "recovered" // done all the same
  | "retry" // nothing wrong with the request: once more
  | "attention" // the unit reports an event in place of executing the command
  | "mediumChanged" // …and the event is another medium: nothing may be replayed
  | "capacityChanged" // …and the event is another size
  | "becomingReady" // ask again later
  | "needsStart" // START STOP UNIT
  | "noMedium"
  | "notReady"
  | "mediumError"
  | "hardware"
  | "illegalRequest"
  | "outOfRange"
  | "writeProtected"
  | "noSpace"
  | "unknown";

export interface Sense {
  readonly key: SenseKey;
  /** Additional sense code and its qualifier. */
  readonly asc: number;
  readonly ascq: number;
  /** The error belongs to an earlier command that was answered as good (SPC-4 §4.5.5); this one was not executed. */
  readonly deferred: boolean;
  readonly meaning: SenseMeaning;
}

/** Rows from special to general; the first that fits decides. */
const MEANINGS: readonly {
  readonly key?: SenseKey;
  readonly asc?: number;
  readonly ascq?: number;
  readonly meaning: SenseMeaning;
}[] = [
  { asc: 0x3a, meaning: "noMedium" },
  { key: "RECOVERED ERROR", meaning: "recovered" },
  { key: "COMPLETED", meaning: "recovered" },
  { key: "NOT READY", asc: 0x04, ascq: 0x02, meaning: "needsStart" },
  { key: "NOT READY", asc: 0x04, ascq: 0x01, meaning: "becomingReady" },
  { key: "NOT READY", asc: 0x04, ascq: 0x07, meaning: "becomingReady" },
  { key: "NOT READY", meaning: "notReady" },
  { key: "UNIT ATTENTION", asc: 0x28, meaning: "mediumChanged" },
  { key: "UNIT ATTENTION", asc: 0x2a, ascq: 0x09, meaning: "capacityChanged" },
  { key: "UNIT ATTENTION", meaning: "attention" },
  { key: "DATA PROTECT", asc: 0x27, ascq: 0x07, meaning: "noSpace" },
  { key: "DATA PROTECT", meaning: "writeProtected" },
  { key: "ILLEGAL REQUEST", asc: 0x21, meaning: "outOfRange" },
  { key: "ILLEGAL REQUEST", meaning: "illegalRequest" },
  { key: "MEDIUM ERROR", meaning: "mediumError" },
  { key: "HARDWARE ERROR", meaning: "hardware" },
  { key: "VOLUME OVERFLOW", meaning: "noSpace" },
  { key: "ABORTED COMMAND", meaning: "retry" },
  { key: "NO SENSE", meaning: "retry" },
];

/** The additional sense codes that disks use, SPC-4 Annex F. Key: ASC * 256 + ASCQ. */
const ASC_TEXT: Readonly<Record<number, string>> = {
  0x0000: "no additional sense information",
  0x0200: "no seek complete",
  0x0300: "peripheral device write fault",
  0x0400: "not ready, cause not reportable",
  0x0401: "becoming ready",
  0x0402: "initializing command required",
  0x0403: "manual intervention required",
  0x0404: "format in progress",
  0x0407: "operation in progress",
  0x0800: "logical unit communication failure",
  0x0801: "logical unit communication time-out",
  0x0900: "track following error",
  0x0c00: "write error",
  0x0c02: "write error, auto reallocation failed",
  0x1000: "CRC or ECC error",
  0x1100: "unrecovered read error",
  0x1101: "read retries exhausted",
  0x1104: "unrecovered read error, auto reallocate failed",
  0x1200: "address mark not found",
  0x1400: "recorded entity not found",
  0x1401: "record not found",
  0x1500: "random positioning error",
  0x1700: "recovered data with no error correction",
  0x1800: "recovered data with error correction",
  0x1a00: "parameter list length error",
  0x2000: "invalid command operation code",
  0x2100: "logical block address out of range",
  0x2400: "invalid field in CDB",
  0x2500: "logical unit not supported",
  0x2600: "invalid field in parameter list",
  0x2700: "write protected",
  0x2701: "hardware write protected",
  0x2702: "software write protected",
  0x2707: "space allocation failed, write protect",
  0x2800: "medium may have changed",
  0x2900: "power on, reset, or bus device reset",
  0x2901: "power on",
  0x2902: "bus reset",
  0x2903: "bus device reset",
  0x2904: "device internal reset",
  0x2a00: "parameters changed",
  0x2a01: "mode parameters changed",
  0x2a09: "capacity data has changed",
  0x2f00: "commands cleared by another initiator",
  0x3000: "incompatible medium installed",
  0x3100: "medium format corrupted",
  0x3a00: "medium not present",
  0x3a01: "medium not present, tray closed",
  0x3a02: "medium not present, tray open",
  0x3e00: "logical unit has not self-configured yet",
  0x3f03: "INQUIRY data has changed",
  0x3f0e: "reported LUNs data has changed",
  0x4400: "internal target failure",
  0x4700: "SCSI parity error",
  0x4b00: "data phase error",
  0x5300: "media load or eject failed",
  0x5302: "medium removal prevented",
  0x5a01: "operator medium removal request",
  0x5d00: "failure prediction threshold exceeded",
};

/** Response codes in bits 6..0 of byte 0, SPC-4 Table 26. */
const RESPONSE = { fixed: 0x70, fixedDeferred: 0x71, descriptor: 0x72, descriptorDeferred: 0x73 } as const;

const fixedSense = record("fixed format sense data", "SPC-4 §4.5.3", {
  responseCode: u8,
  obsolete1: u8,
  senseKey: u8,
  information: u32be,
  additionalSenseLength: u8,
  commandSpecific: u32be,
  asc: u8,
  ascq: u8,
});
/** A target may end after the key; ASC and ASCQ are then 0. */
const FIXED_SENSE_MIN_BYTES = 3;
/** What is asked for: the fixed format without vendor bytes. Some targets hang when asked for more. */
export const SENSE_BYTES = 18;

const descriptorSense = record("descriptor format sense data", "SPC-4 §4.5.2", {
  responseCode: u8,
  senseKey: u8,
  asc: u8,
  ascq: u8,
});

/** Sense for a unit that failed a command and would not say why. */
export const UNREADABLE_SENSE: Sense = { key: "NO SENSE", asc: 0, ascq: 0, deferred: false, meaning: "retry" };

/** Reads sense data in either format; bytes that are neither give `UNREADABLE_SENSE`. Never throws. */
export function parseSense(bytes: Uint8Array): Sense {
  const code = (bytes[0] ?? 0) & 0x7f;
  const deferred = code === RESPONSE.fixedDeferred || code === RESPONSE.descriptorDeferred;
  if ((code === RESPONSE.fixed || code === RESPONSE.fixedDeferred) && bytes.length >= FIXED_SENSE_MIN_BYTES) {
    const padded = new Uint8Array(fixedSense.size);
    padded.set(bytes.subarray(0, fixedSense.size));
    const { senseKey, asc, ascq } = fixedSense.decode(padded);
    return makeSense(senseKey, asc, ascq, deferred);
  }
  if ((code === RESPONSE.descriptor || code === RESPONSE.descriptorDeferred) && bytes.length >= descriptorSense.size) {
    const { senseKey, asc, ascq } = descriptorSense.decode(bytes);
    return makeSense(senseKey, asc, ascq, deferred);
  }
  return UNREADABLE_SENSE;
}

/** `MEDIUM ERROR, unrecovered read error (11h/00h)`. */
export function describeSense(sense: Sense): string {
  const text = ASC_TEXT[sense.asc * 256 + sense.ascq] ?? ASC_TEXT[sense.asc * 256] ?? "unlisted condition";
  const code = `${hexByte(sense.asc)}/${hexByte(sense.ascq)}`;
  return `${sense.key}, ${text} (${code})${sense.deferred ? ", deferred from an earlier command" : ""}`;
}

function makeSense(keyByte: number, asc: number, ascq: number, deferred: boolean): Sense {
  const key = SENSE_KEYS[keyByte & 0x0f] ?? "RESERVED";
  const row = MEANINGS.find(
    (m) =>
      (m.key === undefined || m.key === key) &&
      (m.asc === undefined || m.asc === asc) &&
      (m.ascq === undefined || m.ascq === ascq),
  );
  return { key, asc, ascq, deferred, meaning: row?.meaning ?? "unknown" };
}

function hexByte(value: number): string {
  return `${value.toString(16).padStart(2, "0").toUpperCase()}h`;
}
