/** What tests of the transport have in common: commands, replies, and one command run on a scripted device. */
import { expect } from "vitest";
import { BulkOnly } from "../../../../src/dev/usb/umass/bot.js";
import type { PhaseModeName } from "../../../../src/dev/usb/umass/phases.js";
import type { TransportQuirks } from "../../../../src/dev/usb/umass/quirks.js";
import { type ScsiCommand, type ScsiReply, ScsiTransportError } from "../../../../src/dev/scsipi/transport.js";
import { counting, type Reply, type ScriptedDevice, scriptedDevice, statusOf } from "./scripted-device.js";

export const CDB = Uint8Array.of(0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0);
export const BYTES = 4096;
export const READ: ScsiCommand = { lun: 0, cdb: CDB, direction: "in", bytes: BYTES };
export const WRITE: ScsiCommand = { lun: 0, cdb: CDB, direction: "out", data: counting(BYTES) };
export const NONE: ScsiCommand = { lun: 0, cdb: CDB, direction: "none" };

/** Every way of sending the phases; the scripts are the same, since what is taken back never reached the device. */
export const MODES = ["sequence", "overlap", "together"] as const satisfies readonly PhaseModeName[];

/** Runs one command on a device with this script. Everything in the script must have been used. */
export async function runIn(
  phases: PhaseModeName,
  script: readonly Reply[],
  command: ScsiCommand,
  quirks: TransportQuirks = {},
): Promise<{ reply?: ScsiReply; error?: ScsiTransportError; device: ScriptedDevice; bot: BulkOnly }> {
  const device = scriptedDevice(script);
  const bot = new BulkOnly(device.at, { lunCount: 1, quirks, phases });
  try {
    return { reply: await device.clock.runUntil(bot.execute(command)), device, bot };
  } catch (error) {
    if (!(error instanceof ScsiTransportError)) throw error;
    return { error, device, bot };
  } finally {
    expect(device.left.map((reply) => reply.step)).toEqual([]);
  }
}

export const stall = (step: "in" | "out", moved = 0): Reply =>
  step === "in" ? { step, ends: "stalled", data: counting(moved) } : { step, ends: "stalled", takes: moved };
export const sends = (bytes: number): Reply => ({ step: "in", data: counting(bytes) });
export const status = (fields: Parameters<typeof statusOf>[0]): Reply => ({ step: "in", data: statusOf(fields) });
export const PHASE_ERROR = status({ status: 2 });
