/**
 * USB mass storage over the Bulk-Only Transport.
 *
 * Specs: BOT 1.0; USB 2.0 §5.8 (bulk), §9.4.1 (clear halt).
 * Drives: interface class 08h, subclass 06h (SCSI transparent), protocol 50h (BOT); disks by scsipi/sd.
 * Leaves alone: CBI floppies, UAS. Devices that bend the rules: quirks.ts.
 */
import { hex16 } from "../../../bytes.js";
import { attachScsibus } from "../../scsipi/scsibus.js";
import { TransferError, UnsupportedError } from "../errors.js";
import { type Attachment, defineDriver, type RequestRule } from "../usbdi.js";
import { BulkOnly } from "./bot.js";
import { BOT_PROTOCOL, UMASS_MATCH } from "./match.js";
import { choosePhases, isPhaseMode, PHASE_MODES, type PhaseModeName } from "./phases.js";
import { findQuirks, type UmassQuirks } from "./quirks.js";
import { BULK_ONLY_RESET, type BotPipes } from "./recovery.js";

/** Get Max LUN, BOT 1.0 §3.2. */
const GET_MAX_LUN = 0xfe;

export const BOT_ENDPOINTS = { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } } as const;
export const BOT_REQUESTS: readonly RequestRule[] = [
  { direction: "in", type: "class", recipient: "interface", request: GET_MAX_LUN },
  { direction: "out", type: "class", recipient: "interface", request: BULK_ONLY_RESET },
];

export const umass = defineDriver({
  name: "umass",
  match: UMASS_MATCH,
  endpoints: BOT_ENDPOINTS,
  requests: BOT_REQUESTS,
  attach,
});

export { BOT_PROTOCOL };

const GET_MAX_LUN_TIMEOUT_MS = 5_000;
/** bCBWLUN has four bits (BOT 1.0 §5.1). */
const MAX_LUN = 15;

async function attach(at: Attachment<BotPipes>): Promise<void> {
  const { bot, quirks } = await openBulkOnly(at);
  const { attached, refused } = await attachScsibus(bot, at, quirks);
  if (attached === 0) throw new UnsupportedError(`no logical unit can be used: ${refused.join("; ")}`);
}

/**
 * The transport of an interface that is in its setting for it, ready for a command.
 * @throws ScsiTransportError SCSI_GONE, TransferError
 */
export async function openBulkOnly(
  at: Attachment<BotPipes>,
): Promise<{ readonly bot: BulkOnly; readonly quirks: UmassQuirks }> {
  const { quirks, rows } = findQuirks(at.identity);
  const { vendor, product } = at.identity;
  for (const { reason } of rows) at.log("info", `quirk of ${hex16(vendor)}:${hex16(product)}: ${reason}`);
  const lunCount = quirks.noGetMaxLun === true ? 1 : await readLunCount(at);
  const phases = choosePhases(readPhasesOption(at), quirks.phases, at.options["because"]);
  at.tellMode(`${phases.name} (${phases.reason})`);
  const bot = new BulkOnly(at, { lunCount, quirks, phases: phases.name });
  // It might take our first CBW for the rest of a write.
  if (at.interrupted) await bot.takeOver();
  return { bot, quirks };
}

/** The option `phases`: sequence, overlap or together. Without it, or with another word, the driver decides. */
function readPhasesOption(at: Attachment<BotPipes>): PhaseModeName | undefined {
  const { phases } = at.options;
  if (phases === undefined || isPhaseMode(phases)) return phases;
  at.log("warn", `phases=${phases}: not one of ${Object.keys(PHASE_MODES).join(", ")}; the driver decides`);
  return undefined;
}

/** Devices with one unit may stall the request instead of answering 0 (BOT 1.0 §3.2); others do worse. */
export async function readLunCount(at: Attachment<BotPipes>): Promise<number> {
  const request = {
    type: "class",
    recipient: "interface",
    request: GET_MAX_LUN,
    value: 0,
    index: at.interfaceNumber,
  } as const;
  try {
    const { status, data } = await at.control.in(request, 1, { timeoutMs: GET_MAX_LUN_TIMEOUT_MS });
    const maxLun = status === "ok" ? (data[0] ?? 0) : 0;
    if (maxLun <= MAX_LUN) return maxLun + 1;
    at.log("warn", `Get Max LUN: ${maxLun} is above ${MAX_LUN} (BOT 1.0 §3.2); one unit is used`);
  } catch (error) {
    const isAnswer = error instanceof TransferError && (error.code === "USB_TIMED_OUT" || error.code === "USB_IO");
    if (!isAnswer) throw error;
    at.log("warn", `Get Max LUN: ${error.message}; one unit is used`);
  }
  return 1;
}
