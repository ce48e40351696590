/**
 * The wrappers around a command and its status, and what a status must fulfil to be believed. BOT 1.0 §5.1, §5.2, §6.3.
 */
import { raw, record, u32le, u8 } from "../../../bytes.js";
import { ProtocolError } from "../errors.js";

/** Command Block Wrapper, BOT 1.0 Table 5.1. */
export const cbw = record("CBW", "BOT 1.0 §5.1", {
  dCBWSignature: u32le,
  dCBWTag: u32le,
  dCBWDataTransferLength: u32le,
  bmCBWFlags: u8,
  bCBWLUN: u8,
  bCBWCBLength: u8,
  CBWCB: raw(16),
});
/** "USBC" */
export const CBW_SIGNATURE = 0x43425355;
/** bmCBWFlags: the data phase goes to the host. */
export const CBW_DATA_IN = 0x80;

/** Command Status Wrapper, BOT 1.0 Table 5.2. */
export const csw = record("CSW", "BOT 1.0 §5.2", {
  dCSWSignature: u32le,
  dCSWTag: u32le,
  dCSWDataResidue: u32le,
  bCSWStatus: u8,
});
export type Csw = ReturnType<typeof csw.decode>;
/** "USBS" */
export const CSW_SIGNATURE = 0x53425355;

/** bCSWStatus, BOT 1.0 Table 5.3. */
export const CSW_STATUS = { passed: 0, failed: 1, phaseError: 2 } as const;

/** One reading of the status phase. */
export interface StatusReading {
  readonly stalled: boolean;
  readonly bytes: Uint8Array;
}

/** What the status has to agree with. */
export interface StatusExpectation {
  readonly tag: number;
  readonly requestedBytes: number;
  /** Differs for a device with a quirk. */
  readonly signature: number;
  /** A quirk: the device answers with tags of its own. */
  readonly ignoreTag: boolean;
  /** A quirk: the residue is noise. */
  readonly ignoreResidue: boolean;
}

export interface Status {
  readonly status: "passed" | "failed";
  /** At most what was requested. */
  readonly residueBytes: number;
}

/** One rule: what is wrong in something, or undefined. */
interface Rule<T> {
  readonly name: string;
  readonly spec: string;
  readonly wrong: (it: T, expected: StatusExpectation) => string | undefined;
}

/** In this order, then STATUS_RULES; what breaks one is not looked at any further, and costs a reset recovery (§5.3.4). */
export const READING_RULES: readonly Rule<StatusReading>[] = [
  {
    name: "second stall",
    spec: "BOT 1.0 §5.3.3",
    wrong: ({ stalled }) => (stalled ? "the status phase stalled again after the halt was cleared" : undefined),
  },
  {
    name: "length",
    spec: "BOT 1.0 §6.3",
    wrong: ({ bytes }) => (bytes.length === csw.size ? undefined : `${bytes.length} bytes, not ${csw.size}`),
  },
];

export const STATUS_RULES: readonly Rule<Csw>[] = [
  {
    name: "signature",
    spec: "BOT 1.0 §6.3",
    wrong: ({ dCSWSignature }, { signature }) =>
      dCSWSignature === signature || dCSWSignature === CSW_SIGNATURE
        ? undefined
        : `signature ${dCSWSignature.toString(16)}h, not ${signature.toString(16)}h`,
  },
  {
    name: "tag",
    spec: "BOT 1.0 §6.3",
    wrong: ({ dCSWTag }, { tag, ignoreTag }) =>
      ignoreTag || dCSWTag === tag ? undefined : `tag ${dCSWTag}, sent ${tag}`,
  },
  {
    name: "status",
    spec: "BOT 1.0 §5.3.3.1",
    wrong: ({ bCSWStatus }) => {
      if (bCSWStatus < CSW_STATUS.phaseError) return undefined;
      return bCSWStatus === CSW_STATUS.phaseError
        ? "phase error (status 2)"
        : `status ${bCSWStatus}, which is reserved`;
    },
  },
  {
    name: "residue",
    spec: "BOT 1.0 §6.3",
    wrong: ({ dCSWDataResidue }, { requestedBytes, ignoreResidue }) =>
      ignoreResidue || dCSWDataResidue <= requestedBytes
        ? undefined
        : `residue ${dCSWDataResidue} of ${requestedBytes} bytes requested`,
  },
];

/**
 * Believes a status, or does not.
 * @throws ProtocolError naming the first rule that it breaks.
 */
export function checkStatus(reading: StatusReading, expected: StatusExpectation): Status {
  const { bytes } = reading;
  requireRules(READING_RULES, reading, bytes, expected);
  const status = csw.decode(bytes);
  requireRules(STATUS_RULES, status, bytes, expected);
  return {
    status: status.bCSWStatus === CSW_STATUS.passed ? "passed" : "failed",
    residueBytes: expected.ignoreResidue ? 0 : status.dCSWDataResidue,
  };
}

function requireRules<T>(rules: readonly Rule<T>[], it: T, bytes: Uint8Array, expected: StatusExpectation): void {
  for (const { wrong, spec } of rules) {
    const why = wrong(it, expected);
    if (why !== undefined) throw new ProtocolError(`CSW: ${why}`, spec, bytes);
  }
}

/** The bytes are a status of this very command. */
export function isStatusOf(bytes: Uint8Array, { tag, signature }: StatusExpectation): boolean {
  if (bytes.length !== csw.size) return false;
  const { dCSWSignature, dCSWTag } = csw.decode(bytes);
  return dCSWTag === tag && (dCSWSignature === signature || dCSWSignature === CSW_SIGNATURE);
}
