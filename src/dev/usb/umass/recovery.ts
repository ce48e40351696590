/**
 * Getting a confused device back: reset recovery (BOT 1.0 §5.3.4), and a port reset as the last resort. Bounded: each
 * request has a deadline, and a port reset is not repeated until a command has succeeded in between.
 */
import type { LogLevel } from "../../../rumpuser/rumpuser.js";
import { TransferError } from "../errors.js";
import type { Attachment, InPipe, OutPipe } from "../usbdi.js";

export type BotPipes = { readonly bulkIn: InPipe; readonly bulkOut: OutPipe };

/** Bulk-Only Mass Storage Reset, BOT 1.0 §3.1. */
export const BULK_ONLY_RESET = 0xff;
/** Deadline of each request of the recovery. Devices may let the reset wait until they are ready again. */
const RECOVERY_TIMEOUT_MS = 5_000;

export class Recovery {
  readonly #at: Attachment<BotPipes>;
  #resetCount = 0;
  #portResetSpent = false;

  constructor(at: Attachment<BotPipes>) {
    this.#at = at;
  }

  /** Resets of either kind that the device has been through. */
  get resetCount(): number {
    return this.#resetCount;
  }

  /** A command went well: a port reset is available again. */
  commandSucceeded(): void {
    this.#portResetSpent = false;
  }

  /**
   * Brings the device back to where it takes a CBW.
   * @throws TransferError USB_DISCONNECTED or USB_CANCELLED when it has gone or was detached meanwhile; of another
   * code, when neither reset helped: the device is not to be used any more.
   */
  async recover(reason: string, level: LogLevel = "warn"): Promise<void> {
    this.#at.log(level, `reset recovery (BOT 1.0 §5.3.4): ${reason}`);
    this.#resetCount++;
    try {
      await this.#resetRecovery();
      return;
    } catch (error) {
      if (isGone(error) || this.#at.signal.aborted) throw error;
      if (this.#portResetSpent) throw error;
      this.#at.log("warn", `reset recovery failed, resetting the port: ${describe(error)}`);
    }
    this.#portResetSpent = true;
    await this.#at.resetDevice();
  }

  /** BOT 1.0 §5.3.4: in this order. */
  async #resetRecovery(): Promise<void> {
    const options = { timeoutMs: RECOVERY_TIMEOUT_MS };
    const reset = await this.#at.control.out(
      { type: "class", recipient: "interface", request: BULK_ONLY_RESET, value: 0, index: this.#at.interfaceNumber },
      undefined,
      options,
    );
    if (reset.status === "stalled")
      throw new TransferError("USB_STALLED", "Bulk-Only Mass Storage Reset stalled (BOT 1.0 §3.1)");
    await this.#at.pipes.bulkIn.clearHalt(options);
    await this.#at.pipes.bulkOut.clearHalt(options);
  }
}

/** The device is not there any more, or not ours. */
export function isGone(error: unknown): boolean {
  return error instanceof TransferError && (error.code === "USB_DISCONNECTED" || error.code === "USB_CANCELLED");
}

/** The text of whatever was thrown. */
export function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
