/**
 * The logical units behind one transport: found, told apart, and given to their driver.
 *
 * Specs: SPC-4 §6.6 (INQUIRY), §6.33 (REPORT LUNS); BOT 1.0 §3.2.
 * Drives: disks (types 00h, 07h, 0Eh) with sd. Leaves alone, and says so: every other type.
 */
import { RecordError } from "../../bytes.js";
import { attachSd } from "./attach-sd.js";
import { inquiry as inquiryCommand, reportLuns } from "./cdb.js";
import { describeDeviceType, type Inquiry, LUN_LIST_BYTES, parseInquiry, parseLunList } from "./replies.js";
import { type RetryContext, runCommand } from "./retry.js";
import { ScsiError } from "./sd-errors.js";
import { CapacityError } from "./sd-probe.js";
import { type ScsiHost, type ScsiQuirks, type ScsiTransport, ScsiTransportError } from "./transport.js";
import { LogicalUnit } from "./unit.js";

/** The standard INQUIRY data that every unit has; more makes some hang. */
const INQUIRY_BYTES = 36;
/** SCSI-3 and later have REPORT LUNS. */
const VERSION_SPC = 0x03;

/** Peripheral device types and what attaches them. */
const ATTACH_BY_TYPE: Readonly<Record<number, typeof attachSd>> = { 0x00: attachSd, 0x07: attachSd, 0x0e: attachSd };

export interface ScsibusResult {
  /** Units that are in use, or wait for a medium. */
  readonly attached: number;
  /** Why the others are not, a line each. */
  readonly refused: readonly string[];
}

/**
 * Attaches every unit that has a driver. What one unit does wrong is logged and does not touch the others.
 * @throws ScsiTransportError SCSI_GONE, SCSI_CANCELLED
 */
export async function attachScsibus(
  transport: ScsiTransport,
  host: ScsiHost,
  quirks: ScsiQuirks = {},
): Promise<ScsibusResult> {
  let attached = 0;
  const refused: string[] = [];
  const seen = new Map<number, Inquiry | undefined>();
  const inquire = async (lun: number): Promise<Inquiry> => {
    const found = seen.get(lun) ?? (await readInquiry(contextOf(transport, lun, host)));
    seen.set(lun, found);
    return found;
  };
  for (const lun of await listLuns(transport, host, inquire)) {
    try {
      const inquiry = await inquire(lun);
      const attach = ATTACH_BY_TYPE[inquiry.deviceType];
      if (!inquiry.connected || attach === undefined) {
        refused.push(`lun ${lun}: ${describeDeviceType(inquiry.deviceType)} left alone`);
        continue;
      }
      // Another medium may be in it from one command to the next.
      const unit = new LogicalUnit(transport, lun, { oneAtATime: inquiry.removable });
      await attach(unit, inquiry, host, quirks);
      attached++;
    } catch (error) {
      refused.push(`lun ${lun}: ${unitFailure(error)}`);
    }
  }
  for (const line of refused) host.log("warn", line);
  return { attached, refused };
}

/** All numbers that the transport can address, or those of them that the target says it has. */
async function listLuns(
  transport: ScsiTransport,
  host: ScsiHost,
  inquire: (lun: number) => Promise<Inquiry>,
): Promise<readonly number[]> {
  const all = Array.from({ length: transport.lunCount }, (_, lun) => lun);
  if (all.length === 1) return all;
  const otherwise = transport.lunsByReport === true ? [0] : all;
  try {
    if ((await inquire(0)).version < VERSION_SPC) return otherwise;
    const data = { direction: "in", bytes: LUN_LIST_BYTES } as const;
    const command = { block: reportLuns(LUN_LIST_BYTES), data };
    const listed = new Set(parseLunList(await runCommand(contextOf(transport, 0, host), command)));
    const both = all.filter((lun) => listed.has(lun));
    return both.length > 0 ? both : otherwise;
  } catch (error) {
    host.log("debug", `REPORT LUNS: ${unitFailure(error)}; asked are ${otherwise.length}`);
    return otherwise;
  }
}

/** @throws ScsiError, ScsiTransportError, RecordError */
async function readInquiry(context: RetryContext): Promise<Inquiry> {
  const data = { direction: "in", bytes: INQUIRY_BYTES } as const;
  return parseInquiry(await runCommand(context, { block: inquiryCommand(INQUIRY_BYTES), data }));
}

function contextOf(transport: ScsiTransport, lun: number, host: ScsiHost): RetryContext {
  return { unit: new LogicalUnit(transport, lun), clock: host.clock, signal: host.signal };
}

/** The text of a failure of one unit; what concerns the whole target, or is our bug, is thrown on. */
function unitFailure(error: unknown): string {
  const isOfTheUnit =
    error instanceof ScsiError ||
    error instanceof CapacityError ||
    error instanceof RecordError ||
    (error instanceof ScsiTransportError && error.code !== "SCSI_GONE" && error.code !== "SCSI_CANCELLED");
  if (!isOfTheUnit) throw error;
  return error.message;
}
