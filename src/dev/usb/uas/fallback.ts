/**
 * From UAS to bulk-only transport while the disk is in use: a device that went wrong too often gets its other alternate
 * setting, for as long as it is attached. Not before it is in use: until then umass can have it. What was in flight fails as after a reset, so that the layer above sends it again.
 */
import { type ScsiCommand, type ScsiReply, type ScsiTransport, ScsiTransportError } from "../../scsipi/transport.js";
import { asError } from "./recovery.js";
import type { UasTransport } from "./transport.js";

export class FallbackTransport implements ScsiTransport {
  readonly lunCount: number;
  readonly maxTransferBytes: number;
  readonly lunsByReport = true;
  readonly #uas: UasTransport;
  readonly #openBulkOnly: (reason: string) => Promise<ScsiTransport>;
  #current: ScsiTransport;
  #switching: Promise<void> | undefined;
  #isArmed = false;

  /** `openBulkOnly` selects the other setting, and brings the device to where it takes a command; it is told why. */
  constructor(uas: UasTransport, openBulkOnly: (reason: string) => Promise<ScsiTransport>) {
    this.#uas = uas;
    this.#current = uas;
    this.#openBulkOnly = openBulkOnly;
    this.lunCount = uas.lunCount;
    this.maxTransferBytes = uas.maxTransferBytes;
  }

  /** The change is a reset like any other. */
  get resetCount(): number {
    return this.#current === this.#uas ? this.#uas.resetCount : this.#uas.resetCount + 1 + this.#current.resetCount;
  }

  get queueDepth(): number {
    return this.#current.queueDepth ?? 1;
  }

  /** From now on. */
  arm(): void {
    this.#isArmed = true;
  }

  async execute(command: ScsiCommand): Promise<ScsiReply> {
    if (this.#switching !== undefined) await this.#switching;
    const transport = this.#current;
    try {
      return await transport.execute(command);
    } catch (error) {
      if (transport !== this.#uas || !this.#uas.hasGivenUp || !this.#isArmed) throw error;
      await this.#change(asError(error).message);
      throw new ScsiTransportError("SCSI_TRANSPORT", asError(error).message, { cause: error });
    }
  }

  recycle(data: Uint8Array): void {
    this.#current.recycle?.(data);
  }

  /** Once, for whoever comes first. @throws ScsiTransportError SCSI_GONE */
  #change(reason: string): Promise<void> {
    this.#switching ??= this.#open(reason);
    return this.#switching;
  }

  async #open(reason: string): Promise<void> {
    await this.#uas.close();
    try {
      this.#current = await this.#openBulkOnly(reason);
    } catch (cause) {
      throw new ScsiTransportError("SCSI_GONE", `no bulk-only transport either: ${asError(cause).message}`, { cause });
    }
  }
}
