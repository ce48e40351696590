/**
 * Queues of reads on a USB/IP connection: what the server answers in one go is told in one, and what it repeats is not told
 * (HostController.openReads in usbdivar.ts).
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import { REPEAT_MS, SlottedReads, type SlotReader } from "../usb/reads.js";
import type { HcCompletion, HcReadEnd, HcReadQueue, HcReads } from "../usb/usbdivar.js";
import type { UrbConnection, WireTransfer } from "./connection.js";

export interface UsbipReadsOptions {
  readonly clock: Clock;
  readonly connection: UrbConnection;
  /** False: the device is not to be reached. */
  readonly mayStart: () => boolean;
}

export function openUsbipReads(
  options: UsbipReadsOptions,
  reads: HcReads,
  told: (ends: readonly HcReadEnd[]) => void,
): HcReadQueue {
  return new SlottedReads(reads, told, (queue) => new UsbipReader(options, reads, queue));
}

/** What a slot is read with, again and again. */
interface Slot {
  readonly request: WireTransfer;
  readonly done: (completion: HcCompletion) => void;
  /** Of the read in flight. */
  cancel: (() => void) | undefined;
  /** When it was started. */
  order: number;
}

class UsbipReader implements SlotReader {
  readonly #options: UsbipReadsOptions;
  readonly #reads: HcReads;
  readonly #queue: SlottedReads;
  readonly #slots: Slot[] = [];
  #started = 0;
  readonly #tell: () => void;
  /** The last answer, where it is one that may be repeated, and when it came. */
  readonly #last: Uint8Array;
  #lastBytes = 0;
  #lastMs = 0;
  #isCancelled = false;
  #tellsRepeats = false;

  constructor(options: UsbipReadsOptions, reads: HcReads, queue: SlottedReads) {
    this.#options = options;
    this.#reads = reads;
    this.#queue = queue;
    this.#tell = () => queue.tell();
    this.#last = new Uint8Array(reads.repeatBytes);
  }

  start(slot: number, data: Uint8Array): void {
    this.#isCancelled = false;
    this.#start(slot, data);
  }

  tellRepeats(on: boolean): void {
    this.#tellsRepeats = on;
  }

  cancel(): void {
    this.#isCancelled = true;
    const inFlight = this.#slots.filter(({ cancel }) => cancel !== undefined);
    for (const { cancel } of inFlight.toSorted((a, b) => b.order - a.order)) cancel?.();
  }

  close(): void {}

  #start(slot: number, data: Uint8Array): void {
    const { connection, clock, mayStart } = this.#options;
    if (!mayStart()) {
      clock.startTimer(0, () => {
        this.#queue.ended(slot, "disconnected", 0);
        this.#queue.tell();
      });
      return;
    }
    const kept = this.#slots[slot];
    const read = kept?.request.data === data ? kept : this.#slotFor(slot, data);
    this.#slots[slot] = read;
    read.order = this.#started++;
    read.cancel = connection.submit(read.request, read.done);
  }

  #slotFor(slot: number, data: Uint8Array): Slot {
    const { address, endpointAddress, type } = this.#reads;
    const request = { transfer: { address, endpointAddress, type, data }, isIn: true, data };
    const done = (completion: HcCompletion): void => this.#ended(slot, request.data, completion);
    return { request, done, cancel: undefined, order: 0 };
  }

  #ended(slot: number, data: Uint8Array, { status, actualBytes }: HcCompletion): void {
    if (status === "ok" && this.#repeats(data, actualBytes)) return this.#start(slot, data);
    const read = this.#slots[slot];
    if (read !== undefined) read.cancel = undefined;
    if (!this.#queue.hasEnds) this.#options.connection.afterTaking(this.#tell);
    this.#queue.ended(slot, status, actualBytes);
  }

  #repeats(data: Uint8Array, bytes: number): boolean {
    if (bytes < 1 || bytes > this.#last.length) {
      this.#lastBytes = 0;
      return false;
    }
    let isSame = bytes === this.#lastBytes;
    for (let at = 0; at < bytes; at++) {
      isSame &&= data[at] === this.#last[at];
      this.#last[at] = data[at] ?? 0;
    }
    const nowMs = this.#options.clock.nowMs();
    const isSoon = nowMs - this.#lastMs < REPEAT_MS;
    this.#lastBytes = bytes;
    this.#lastMs = nowMs;
    return isSame && !isSoon && !this.#isCancelled && !this.#tellsRepeats;
  }
}
