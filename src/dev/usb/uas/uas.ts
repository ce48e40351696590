/**
 * USB Attached SCSI: mass storage with many commands in flight.
 *
 * Specs: UAS r04 (T10/2095-D); USB 3.2 §4.4.6.4 (bulk streams); disks by scsipi/sd.
 * Drives: interface class 08h, subclass 06h (SCSI transparent), protocol 62h. At SuperSpeed with bulk streams, which the
 * standard wants there; below without.
 * Leaves to umass, by the alternate setting for bulk-only transport: devices in quirks.ts, SuperSpeed where the controller
 * has no streams, devices that cannot be attached, and, from then on, one that goes wrong too often.
 */
import { hex16 } from "../../../bytes.js";
import { attachScsibus } from "../../scsipi/scsibus.js";
import { type ScsiTransport, ScsiTransportError } from "../../scsipi/transport.js";
import { UnsupportedError } from "../errors.js";
import { type Attachment, defineDriver } from "../usbdi.js";
import { BOT_ENDPOINTS, BOT_PROTOCOL, BOT_REQUESTS, openBulkOnly } from "../umass/umass.js";
import { FallbackTransport } from "./fallback.js";
import { UAS_MATCH } from "./match.js";
import { UAS_ENDPOINTS, UasPipes, type UasPipeSet } from "./pipes.js";
import { findUasQuirks, type UasQuirks } from "./quirks.js";
import { MAX_COMMANDS, UasTransport } from "./transport.js";

export const uas = defineDriver({
  name: "uas",
  match: UAS_MATCH,
  // Before umass, which has another alternate setting of the same interface.
  preference: 1,
  endpoints: UAS_ENDPOINTS,
  // UAS itself has none; these are for the time after it.
  requests: BOT_REQUESTS,
  attach,
});

/** Units are addressed as 0..n (SAM-5 §4.7.4); REPORT LUNS says which there are. */
const LUN_COUNT = 16;
/** Streams are asked for: one for each command, and one for task management. */
const STREAMS = MAX_COMMANDS + 1;
/** With fewer there is nothing to be had from UAS. */
const MIN_STREAMS = 2;
/** Recoveries in a short time. */
const MAX_TROUBLES = 4;

async function attach(at: Attachment<UasPipeSet>): Promise<void> {
  const { quirks, rows } = findUasQuirks(at.identity);
  const { vendor, product } = at.identity;
  for (const { reason } of rows) at.log("info", `quirk of ${hex16(vendor)}:${hex16(product)}: ${reason}`);
  const hasBulkOnly = at.interfaceProtocols.includes(BOT_PROTOCOL);
  refuseWhenUnwanted(at, quirks, hasBulkOnly);
  const pipes = new UasPipes(at);
  await openStreams(at, pipes);
  const transport = new UasTransport(at, pipes, {
    lunCount: LUN_COUNT,
    ...(quirks.maxTransferBytes === undefined ? {} : { maxTransferBytes: quirks.maxTransferBytes }),
    ...(hasBulkOnly ? { maxTroubles: MAX_TROUBLES } : {}),
  });
  const reason = at.options["mode"] === "uas" ? "asked for" : "default";
  const streams = pipes.streams === 0 ? "no" : pipes.streams;
  at.tellMode(`uas with ${streams} streams, ${transport.queueDepth} commands at a time (${reason})`);
  const { attached, refused } = await bringUp(at, transport, quirks, hasBulkOnly);
  if (attached > 0) return;
  const failures = refused.join("; ");
  if (hasBulkOnly && transport.isTroubled) at.tellDemotion("bot", failures);
  throw new UnsupportedError(`no logical unit can be used: ${failures}`);
}

/** @throws UnsupportedError: umass comes next. */
function refuseWhenUnwanted(at: Attachment<UasPipeSet>, quirks: UasQuirks, hasBulkOnly: boolean): void {
  const { mode, because = "bulk-only transport was asked for" } = at.options;
  if (mode !== undefined && mode !== "bot" && mode !== "uas")
    at.log("warn", `mode=${mode}: not one of uas, bot; the driver decides`);
  if (!hasBulkOnly || mode === "uas") return;
  if (mode === "bot") throw new UnsupportedError(because);
  if (quirks.noUas === true) throw new UnsupportedError("known not to work with this device");
}

/** @throws UnsupportedError where they must be and are not. */
async function openStreams(at: Attachment<UasPipeSet>, pipes: UasPipes): Promise<void> {
  const { speed } = at.identity;
  if (speed !== "super" && speed !== "superPlus") return;
  const count = await pipes.openStreams(STREAMS);
  if (count < MIN_STREAMS)
    throw new UnsupportedError(`${count} bulk streams, ${MIN_STREAMS} are needed at SuperSpeed (UAS r04)`);
}

/** A device that fails before anything of it is in use is left to bulk-only transport. @throws UnsupportedError */
async function bringUp(
  at: Attachment<UasPipeSet>,
  uasTransport: UasTransport,
  quirks: UasQuirks,
  hasBulkOnly: boolean,
): ReturnType<typeof attachScsibus> {
  const transport = new FallbackTransport(uasTransport, (reason) => fallBack(at, reason));
  try {
    if (at.interrupted) await uasTransport.takeOver();
    const result = await attachScsibus(transport, at, quirks);
    if (hasBulkOnly) transport.arm();
    return result;
  } catch (error) {
    if (!(error instanceof ScsiTransportError) || !uasTransport.hasGivenUp) throw error;
    if (hasBulkOnly) at.tellDemotion("bot", error.message);
    throw new UnsupportedError(`it does not work with this device: ${error.message}`);
  }
}

/** The alternate setting for bulk-only transport, taken over as from a process that was ended in the middle. */
async function fallBack(at: Attachment<UasPipeSet>, reason: string): Promise<ScsiTransport> {
  at.log("warn", "bulk-only transport from now on");
  at.tellDemotion("bot", reason);
  const pipes = await at.useAlternate(BOT_PROTOCOL, BOT_ENDPOINTS);
  return (await openBulkOnly({ ...at, pipes, interrupted: true })).bot;
}
