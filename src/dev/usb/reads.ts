/**
 * Queues of reads for controllers: which slots are free, what has ended, and a queue out of single transfers where there is no
 * better one.
 *
 * The contract is `HostController.openReads` (usbdivar.ts); test/contract/host-controller-reads.ts holds it.
 */
import type { Clock, Timer } from "../../rumpuser/rumpuser.js";
import type { HcReadEnd, HcReadQueue, HcReads, HostController, TransferStatus } from "./usbdivar.js";

/** An answer that comes so soon after the one before is in the way: it is told, so that somebody can do something about it. */
export const REPEAT_MS = 0.5;

/** How a controller reads into a slot. How it ended it says to `SlottedReads.ended`, never from here. */
export interface SlotReader {
  /** `data` is the same object each time that a slot is started with as many bytes. */
  start(slot: number, data: Uint8Array): void;
  tellRepeats(on: boolean): void;
  /** What is in flight, the last first: what was queued behind a read must not take its place. */
  cancel(): void;
  close(): void;
}

export class SlottedReads implements HcReadQueue {
  readonly #reads: HcReads;
  readonly #told: (ends: readonly HcReadEnd[]) => void;
  readonly #reader: SlotReader;
  /** The one that has been free for longest first. */
  readonly #free: number[];
  /** What each slot was started with last. */
  readonly #started: Uint8Array[] = [];
  #ends: HcReadEnd[] = [];
  #freed: number[] = [];

  constructor(
    reads: HcReads,
    told: (ends: readonly HcReadEnd[]) => void,
    readerFor: (queue: SlottedReads) => SlotReader,
  ) {
    this.#reads = reads;
    this.#told = told;
    this.#free = Array.from({ length: Math.floor(reads.memory.length / reads.slotBytes) }, (_, slot) => slot);
    this.#reader = readerFor(this);
  }

  /** Whether something has ended that was not told. */
  get hasEnds(): boolean {
    return this.#ends.length > 0;
  }

  start(count: number, bytes: number): void {
    const { slotBytes } = this.#reads;
    if (count > this.#free.length) throw new RangeError(`${count} reads; ${this.#free.length} slots are free`);
    if (bytes < 1 || bytes > slotBytes) throw new RangeError(`reads of ${bytes} bytes; a slot has ${slotBytes}`);
    for (const slot of this.#free.splice(0, count)) this.#reader.start(slot, this.#startMemory(slot, bytes));
  }

  tellRepeats(on: boolean): void {
    this.#reader.tellRepeats(on);
  }

  cancel(): void {
    this.#reader.cancel();
  }

  close(): void {
    this.#reader.close();
  }

  /** Notes how the read in a slot ended. */
  ended(slot: number, status: TransferStatus, actualBytes: number): void {
    this.#freed.push(slot);
    this.#ends.push({ status, data: this.#memoryOf(slot, actualBytes) });
  }

  /** Tells what has ended. */
  tell(): void {
    const ends = this.#ends;
    if (ends.length === 0) return;
    this.#ends = [];
    this.#free.push(...this.#freed.splice(0));
    this.#told(ends);
  }

  /** The same as the last time, where it has as many bytes. */
  #startMemory(slot: number, bytes: number): Uint8Array {
    const last = this.#started[slot];
    if (last?.length === bytes) return last;
    const memory = this.#memoryOf(slot, bytes);
    this.#started[slot] = memory;
    return memory;
  }

  #memoryOf(slot: number, bytes: number): Uint8Array {
    const { memory, slotBytes } = this.#reads;
    return memory.subarray(slot * slotBytes, slot * slotBytes + bytes);
  }
}

/** @param told  As in HostController.openReads. What ends in one turn of the loop is told together. */
export function readsBySubmit(
  submit: HostController["submit"],
  clock: Clock,
  reads: HcReads,
  told: (ends: readonly HcReadEnd[]) => void,
): HcReadQueue {
  return new SlottedReads(reads, told, (queue) => new SubmittingReader(submit, clock, reads, queue));
}

class SubmittingReader implements SlotReader {
  readonly #submit: HostController["submit"];
  readonly #clock: Clock;
  readonly #reads: HcReads;
  readonly #queue: SlottedReads;
  readonly #cancels = new Map<number, () => void>();
  #turn: Timer | undefined;

  constructor(submit: HostController["submit"], clock: Clock, reads: HcReads, queue: SlottedReads) {
    this.#submit = submit;
    this.#clock = clock;
    this.#reads = reads;
    this.#queue = queue;
  }

  start(slot: number, data: Uint8Array): void {
    const { address, endpointAddress, type } = this.#reads;
    const cancel = this.#submit({ address, endpointAddress, type, data }, ({ status, actualBytes }) => {
      this.#cancels.delete(slot);
      this.#queue.ended(slot, status, actualBytes);
      this.#turn ??= this.#clock.startTimer(0, () => {
        this.#turn = undefined;
        this.#queue.tell();
      });
    });
    this.#cancels.set(slot, cancel);
  }

  /** It tells each as it is. */
  tellRepeats(): void {}

  cancel(): void {
    for (const cancel of [...this.#cancels.values()].toReversed()) cancel();
  }

  close(): void {
    this.#turn?.cancel();
  }
}
