/**
 * A USB device of the host behind a usbfs descriptor, by libusb (native/port.h): the real implementation of `UsbPort`.
 *
 * Events come from the Node loop; one wake-up delivers everything that ended in it. An open port whose device is there
 * keeps the process alive; an idle one costs no wake-up.
 */
import {
  type PortChainResult,
  type PortChainStep,
  type PortCompletion,
  type PortReadEnd,
  type PortReadQueue,
  type PortReads,
  type PortResult,
  type PortTransfer,
  type Speed,
  type TransferStatus,
  type UsbPort,
} from "../rumpuser.js";
import { PendingMap, PendingSet } from "../../pending.js";
import { loadAddon, type NativePort } from "./addon.js";
import { abandonedResult, immediateResult, newPlan, stepCompletion, writePlan } from "./chain-plan.js";
import { LIBUSB_ERROR_NO_DEVICE, portResult, statusOfRefusal, transferStatus, transferType } from "./libusb-words.js";

export { portResult, transferStatus } from "./libusb-words.js";

/** enum libusb_speed. The last is 20 Gbit/s (two lanes), 0 what libusb could not find out. */
const SPEEDS: readonly Speed[] = ["full", "low", "full", "high", "super", "superPlus", "superPlus"];

/** A device that could not be opened, or could not be asked. `result` says why. */
export class UsbPortError extends Error {
  readonly code = "USB_PORT";
  readonly result: PortResult;

  constructor(what: string, result: PortResult) {
    super(`${what}: ${result}`);
    this.name = "UsbPortError";
    this.result = result;
  }
}

/**
 * Opens the device behind a usbfs descriptor (read-write). The descriptor is borrowed: close it after the port.
 * Asks the device for its configuration, which takes up to a second when it does not answer.
 * @throws UsbPortError  the descriptor is not a USB device's, or the device has gone.
 * @throws AddonError    the addon is not built.
 */
export function openUsbPort(fd: number): UsbPort & Pick<NativeUsbPort, "idle"> {
  return new NativeUsbPort(fd);
}

/** A transfer or a chain that has not ended. */
interface InFlight {
  /** Entries of a wake-up's results that belong to it. */
  readonly entries: number;
  /** `at`: its first entry. */
  ended(results: Int32Array, at: number, iso: Int32Array | undefined): void;
  /** Nothing more is known of it. */
  abandon(status: TransferStatus): void;
}

const FIELDS_PER_ENTRY = 3;
/** Reads::kFirstResult, kMaxSlots and kMaxRepeatBytes. */
const FIRST_READ = 1 << 24;
const MAX_READ_SLOTS = 256;
const MAX_REPEAT_BYTES = 16;

function readsOf(slot: number): number {
  return Math.floor((slot - FIRST_READ) / MAX_READ_SLOTS);
}

class NativeUsbPort implements UsbPort {
  readonly speed: Speed;
  readonly #native: NativePort;
  /** By native slot; a chain's is negative (native/port.h). */
  readonly #inFlight = new PendingMap<InFlight>();
  readonly #plan = newPlan();
  readonly #reads = new Map<number, NativeReads>();
  /** The last blocking call: they run one after another, in the order in which they were made. */
  #calls: Promise<unknown> = Promise.resolve();
  #goneListener: (() => void) | undefined;
  #gone = false;
  #closed = false;

  constructor(fd: number) {
    const { Port } = loadAddon();
    this.#native = new Port((results, iso, gone) => this.#onEvents(results, iso, gone));
    const rc = this.#native.open(fd);
    if (rc < 0) throw new UsbPortError(`descriptor ${fd} as a USB device`, portResult(rc));
    this.speed = SPEEDS[this.#native.speed()] ?? "full";
  }

  submit(transfer: PortTransfer, done: (completion: PortCompletion) => void): () => void {
    const iso = transfer.isoPacketBytes;
    const slot = this.#closed
      ? LIBUSB_ERROR_NO_DEVICE
      : this.#native.submit(
          transferType(transfer),
          transfer.endpointAddress,
          transfer.setup,
          transfer.data,
          transfer.sendZlp ?? false,
          transfer.streamId ?? 0,
          iso === undefined ? undefined : Uint32Array.from(iso),
        );
    if (slot < 0) {
      setImmediate(done, { status: statusOfRefusal(slot), actualBytes: 0 });
      return () => {};
    }
    const entry: InFlight = {
      entries: 1,
      ended: (results, at, packets) => done(completionOf(results[at + 1] ?? -1, results[at + 2] ?? 0, packets)),
      abandon: (status) => done({ status, actualBytes: 0 }),
    };
    this.#inFlight.add(slot, entry);
    return () => {
      // A slot is used again: only this very transfer may be cancelled. That it just ended is no error.
      if (this.#inFlight.get(slot) === entry && !this.#closed) this.#native.cancel(slot);
    };
  }

  submitChain(steps: readonly PortChainStep[], done: (result: PortChainResult) => void): () => void {
    writePlan(this.#plan, steps);
    const buffers = steps.map((step) => step.transfer.data);
    const chain = this.#closed ? LIBUSB_ERROR_NO_DEVICE : this.#native.submitChain(this.#plan, buffers);
    if (typeof chain !== "number" || chain < 0) {
      const result =
        typeof chain === "number" ? abandonedResult(steps, statusOfRefusal(chain)) : immediateResult(chain);
      setImmediate(done, result);
      return () => {};
    }
    const entry: InFlight = {
      entries: steps.length,
      ended: (results, at) =>
        done(
          steps.map((_, i) => {
            const entryAt = at + i * FIELDS_PER_ENTRY;
            return stepCompletion(results[entryAt + 1] ?? -1, results[entryAt + 2] ?? 0);
          }),
        ),
      abandon: (status) => done(abandonedResult(steps, status)),
    };
    const slot = -1 - chain;
    this.#inFlight.add(slot, entry);
    return () => {
      if (this.#inFlight.get(slot) === entry && !this.#closed) this.#native.cancelChain(chain);
    };
  }

  async configuration(): Promise<number> {
    const rc = await this.#call(() => this.#native.configuration());
    if (rc < 0) throw new UsbPortError("the active configuration", portResult(rc));
    return rc;
  }

  async setConfiguration(value: number): Promise<PortResult> {
    return portResult(await this.#call(() => this.#native.setConfiguration(value)));
  }

  async claimInterface(interfaceNumber: number): Promise<PortResult> {
    return portResult(await this.#call(() => this.#native.claimInterface(interfaceNumber)));
  }

  async releaseInterface(interfaceNumber: number): Promise<PortResult> {
    return portResult(await this.#call(() => this.#native.releaseInterface(interfaceNumber)));
  }

  async setInterface(interfaceNumber: number, alternateSetting: number): Promise<PortResult> {
    return portResult(await this.#call(() => this.#native.setInterface(interfaceNumber, alternateSetting)));
  }

  async clearHalt(endpointAddress: number): Promise<PortResult> {
    return portResult(await this.#call(() => this.#native.clearHalt(endpointAddress)));
  }

  async reset(): Promise<PortResult> {
    return portResult(await this.#call(() => this.#native.reset()));
  }

  async allocStreams(count: number, endpointAddresses: readonly number[]): Promise<number | PortResult> {
    const endpoints = Uint8Array.from(endpointAddresses);
    const rc = await this.#call(() => this.#native.allocStreams(count, endpoints));
    return rc < 0 ? portResult(rc) : rc;
  }

  async freeStreams(endpointAddresses: readonly number[]): Promise<PortResult> {
    const endpoints = Uint8Array.from(endpointAddresses);
    return portResult(await this.#call(() => this.#native.freeStreams(endpoints)));
  }

  openReads(reads: PortReads, told: (ends: readonly PortReadEnd[]) => void): PortReadQueue {
    const { endpointAddress, memory, slotBytes, repeatBytes } = reads;
    const type = transferType(reads);
    const number = this.#closed
      ? LIBUSB_ERROR_NO_DEVICE
      : this.#native.openReads(type, endpointAddress, memory, slotBytes, Math.min(repeatBytes, MAX_REPEAT_BYTES));
    const queue = new NativeReads(this.#native, number, told, () => this.#reads.delete(number));
    if (number >= 0) this.#reads.set(number, queue);
    return queue;
  }

  holdBack(on: boolean): void {
    if (!this.#closed) this.#native.hold(on);
  }

  onDisconnect(gone: () => void): void {
    this.#goneListener = gone;
    if (this.#gone) setImmediate(gone);
  }

  /** Resolves when no blocking call uses the descriptor any more: after `close` it may be closed then. */
  async idle(): Promise<void> {
    await this.#calls;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.close(); // returns when the kernel has let go of every buffer
    const left = this.#inFlight.values();
    this.#inFlight.clear();
    for (const entry of left) setImmediate(() => entry.abandon("cancelled"));
    for (const reads of this.#reads.values()) setImmediate(() => reads.abandon("cancelled"));
  }

  #call(start: () => Promise<number>): Promise<number> {
    const answer = this.#calls.then(start);
    this.#calls = answer.catch(() => {}); // whoever made the call sees its error; the next call runs all the same
    return answer;
  }

  #onEvents(results: Int32Array, iso: readonly (Int32Array | undefined)[] | undefined, gone: boolean): void {
    // All slots of the wake-up are free again already: a completion that submits may get the slot of a later one.
    const ended: { readonly entry: InFlight; readonly at: number }[] = [];
    for (let at = 0; at < results.length; ) {
      const slot = results[at] ?? 0;
      if (slot >= FIRST_READ) {
        this.#reads.get(readsOf(slot))?.ended(slot % MAX_READ_SLOTS, results[at + 1] ?? -1, results[at + 2] ?? 0);
        at += FIELDS_PER_ENTRY;
        continue;
      }
      const entry = this.#inFlight.get(slot);
      this.#inFlight.delete(slot);
      if (entry !== undefined) ended.push({ entry, at });
      at += FIELDS_PER_ENTRY * (entry?.entries ?? 1);
    }
    for (const { entry, at } of ended) entry.ended(results, at, iso?.[at / FIELDS_PER_ENTRY]);
    for (const reads of this.#reads.values()) reads.tell();
    if (gone) this.#onGone();
  }

  #onGone(): void {
    this.#gone = true;
    const left = this.#inFlight.values();
    this.#inFlight.clear();
    for (const entry of left) entry.abandon("disconnected");
    for (const reads of this.#reads.values()) reads.abandon("disconnected");
    if (!this.#closed) this.#goneListener?.();
  }
}

class NativeReads implements PortReadQueue {
  readonly #native: NativePort;
  /** Negative: the error with which they could not be opened. */
  readonly #number: number;
  readonly #told: (ends: readonly PortReadEnd[]) => void;
  readonly #closed: () => void;
  readonly #inFlight = new PendingSet<number>();
  #ends: PortReadEnd[] = [];

  constructor(native: NativePort, number: number, told: (ends: readonly PortReadEnd[]) => void, closed: () => void) {
    this.#native = native;
    this.#number = number;
    this.#told = told;
    this.#closed = closed;
  }

  start(slot: number, bytes: number): void {
    this.#inFlight.add(slot);
    const rc = this.#number < 0 ? this.#number : this.#native.startRead(this.#number, slot, bytes);
    if (rc === 0) return;
    setImmediate(() => {
      this.#end(slot, statusOfRefusal(rc), 0);
      this.tell();
    });
  }

  tellRepeats(on: boolean): void {
    if (this.#number >= 0) this.#native.tellRepeats(this.#number, on);
  }

  cancel(): void {
    if (this.#number >= 0) this.#native.cancelReads(this.#number);
  }

  close(): void {
    if (this.#number >= 0) this.#native.closeReads(this.#number);
    this.#closed();
  }

  /** Notes what the addon says of a slot; `tell` follows. */
  ended(slot: number, status: number, actualBytes: number): void {
    this.#end(slot, status < 0 ? statusOfRefusal(status) : transferStatus(status), actualBytes);
  }

  tell(): void {
    const ends = this.#ends;
    if (ends.length === 0) return;
    this.#ends = [];
    this.#told(ends);
  }

  /** Nothing more is known of what is in flight. */
  abandon(status: TransferStatus): void {
    for (const slot of this.#inFlight.items.slice()) this.#end(slot, status, 0);
    this.tell();
  }

  #end(slot: number, status: TransferStatus, actualBytes: number): void {
    if (this.#inFlight.delete(slot)) this.#ends.push({ slot, status, actualBytes });
  }
}

function completionOf(status: number, actualBytes: number, packets: Int32Array | undefined): PortCompletion {
  if (packets === undefined) return { status: transferStatus(status), actualBytes };
  const isoPackets = [];
  for (let i = 0; i < packets.length; i += 2)
    isoPackets.push({ status: transferStatus(packets[i] ?? -1), actualBytes: packets[i + 1] ?? 0 });
  return { status: transferStatus(status), actualBytes, isoPackets };
}
