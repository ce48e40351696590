/** Queues of reads on a port that has them (HostController.openReads in usbdivar.ts). */
import { PendingSet } from "../../pending.js";
import type { Clock, PortReadQueue, PortReads, TransferStatus, UsbPort } from "../../rumpuser/rumpuser.js";
import type { SlottedReads, SlotReader } from "../usb/reads.js";

export type PortWithReads = UsbPort & Required<Pick<UsbPort, "openReads">>;

export function hasReads(port: UsbPort): port is PortWithReads {
  return "openReads" in port;
}

export interface PortReaderOptions {
  readonly clock: Clock;
  readonly port: PortWithReads;
  /** False: the device is not to be reached. */
  readonly mayStart: () => boolean;
  readonly closed: () => void;
}

export class PortReader implements SlotReader {
  readonly #options: PortReaderOptions;
  readonly #queue: SlottedReads;
  readonly #port: PortReadQueue;
  /** Slots whose end has not come. */
  readonly #inFlight = new PendingSet<number>();
  readonly #left: number[] = [];

  constructor(options: PortReaderOptions, reads: PortReads, queue: SlottedReads) {
    this.#options = options;
    this.#queue = queue;
    this.#port = options.port.openReads(reads, (ends) => {
      for (const { slot, status, actualBytes } of ends) this.#end(slot, status, actualBytes);
      queue.tell();
    });
  }

  start(slot: number, data: Uint8Array): void {
    const { mayStart, clock } = this.#options;
    this.#inFlight.add(slot);
    if (mayStart()) return this.#port.start(slot, data.length);
    clock.startTimer(0, () => {
      this.#end(slot, "disconnected", 0);
      this.#queue.tell();
    });
  }

  tellRepeats(on: boolean): void {
    this.#port.tellRepeats(on);
  }

  cancel(): void {
    this.#port.cancel();
  }

  close(): void {
    this.#options.closed();
    this.#port.close();
  }

  /** What the port says from now on of what is in flight is ignored; `lost` follows. */
  leave(): void {
    this.#left.push(...this.#inFlight.take());
  }

  /** The device has gone. */
  lost(): void {
    this.leave();
    for (const slot of this.#left.splice(0)) this.#queue.ended(slot, "disconnected", 0);
    this.#queue.tell();
  }

  /** Whoever ends it first wins: the port, or the device's going. */
  #end(slot: number, status: TransferStatus, actualBytes: number): void {
    if (this.#inFlight.delete(slot)) this.#queue.ended(slot, status, actualBytes);
  }
}
