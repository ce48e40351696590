/**
 * Queues of reads on a USB/IP connection: what the server answers in one go is told in one, and what it repeats is not told
 * (HostController.openReads in usbdivar.ts).
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import { REPEAT_MS, SlottedReads, type SlotReader } from "../usb/reads.js";
import type { HcReadEnd, HcReadQueue, HcReads } from "../usb/usbdivar.js";
import type { UrbConnection } from "./connection.js";

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

interface InFlight {
  readonly started: number;
  readonly cancel: () => void;
}

class UsbipReader implements SlotReader {
  readonly #options: UsbipReadsOptions;
  readonly #reads: HcReads;
  readonly #queue: SlottedReads;
  /** By slot, and when each was started: a Map that entries pass through costs garbage (pending.ts). */
  readonly #inFlight: (InFlight | undefined)[] = [];
  #started = 0;
  readonly #tell: () => void;
  /** The last answer, where it is one that may be repeated, and when it came. */
  readonly #last: Uint8Array;
  #lastBytes = 0;
  #lastMs = 0;
  #isCancelled = false;

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

  cancel(): void {
    this.#isCancelled = true;
    const reads = this.#inFlight.filter((read) => read !== undefined);
    for (const { cancel } of reads.toSorted((a, b) => b.started - a.started)) cancel();
  }

  close(): void {}

  #start(slot: number, data: Uint8Array): void {
    const { connection, clock, mayStart } = this.#options;
    const { address, endpointAddress, type } = this.#reads;
    if (!mayStart()) {
      clock.startTimer(0, () => {
        this.#queue.ended(slot, "disconnected", 0);
        this.#queue.tell();
      });
      return;
    }
    const transfer = { address, endpointAddress, type, data };
    const cancel = connection.submit({ transfer, isIn: true, data }, ({ status, actualBytes }) => {
      if (status === "ok" && this.#repeats(data, actualBytes)) return this.#start(slot, data);
      this.#inFlight[slot] = undefined;
      if (!this.#queue.hasEnds) connection.afterTaking(this.#tell);
      this.#queue.ended(slot, status, actualBytes);
    });
    this.#inFlight[slot] = { started: this.#started++, cancel };
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
    return isSame && !isSoon && !this.#isCancelled;
  }
}
