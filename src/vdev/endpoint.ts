/**
 * The device's side of an endpoint: a queue of transfers that the host has started and the device has not ended.
 *
 * A transfer in the queue is one that the device answers with NAK (USB 2.0 §8.4.5). A halted endpoint answers STALL to
 * everything until the halt is cleared (§9.4.5). With bulk streams (USB 3.2 §4.4.6.4) each stream is a queue of its own; the
 * device says which it moves data on. Completion may re-enter the model (the bus submits the next transfer
 * from within it), so a transfer leaves the queue before it is completed.
 */
import { concat } from "../bytes.js";
import type { TransferStatus } from "../rumpuser/rumpuser.js";
import type { Urb } from "./model.js";

const NO_BYTES = new Uint8Array(0);

export type EndpointListener = (status: TransferStatus, bytes: number) => void;

/** What both directions share: the halt, and ending transfers. */
abstract class Endpoint<Pending extends { readonly urb: Urb }> {
  readonly endpointAddress: number;
  readonly maxPacketBytes: number;
  protected readonly queue: Pending[] = [];
  readonly #ended: EndpointListener;
  #halted = false;

  /** `ended` hears of every transfer that ends here. */
  constructor(endpointAddress: number, maxPacketBytes: number, ended: EndpointListener) {
    this.endpointAddress = endpointAddress;
    this.maxPacketBytes = maxPacketBytes;
    this.#ended = ended;
  }

  get halted(): boolean {
    return this.#halted;
  }

  get pendingTransfers(): number {
    return this.queue.length;
  }

  submit(urb: Urb): void {
    const pending = this.pendingFor(urb);
    if (this.#halted) this.end(pending, "stalled");
    else this.queue.push(pending);
  }

  /** Completes the transfer as "cancelled" with what it has moved. @returns false when it is not here. */
  unlink(urb: Urb): boolean {
    const at = this.queue.findIndex((pending) => pending.urb === urb);
    const [pending] = at < 0 ? [] : this.queue.splice(at, 1);
    if (pending === undefined) return false;
    this.end(pending, "cancelled");
    return true;
  }

  /** Halts the endpoint: ends what is queued as "stalled", the first with the bytes that it has already moved. */
  halt(): void {
    this.#halted = true;
    this.endAll("stalled");
  }

  clearHalt(): void {
    this.#halted = false;
  }

  /** Ends every queued transfer; those that are submitted from within a completion stay. */
  endAll(status: TransferStatus): void {
    for (const pending of this.queue.splice(0)) this.end(pending, status);
  }

  /** The transfer that the device moves data in next. @param streamId  Undefined: the endpoint is used without streams. */
  protected head(streamId: number | undefined): Pending | undefined {
    return this.queue.find((pending) => pending.urb.streamId === streamId);
  }

  /** Takes it out of the queue. @returns false when it is not there any more. */
  protected leave(pending: Pending): boolean {
    const at = this.queue.indexOf(pending);
    if (at >= 0) this.queue.splice(at, 1);
    return at >= 0;
  }

  protected abstract pendingFor(urb: Urb): Pending;
  protected abstract end(pending: Pending, status: TransferStatus): void;

  protected complete(urb: Urb, status: TransferStatus, data: Uint8Array | undefined, bytes: number): void {
    this.#ended(status, bytes);
    urb.complete(status, data, bytes);
  }
}

interface PendingIn {
  readonly urb: Urb;
  /** What the device has sent into it so far: whole packets. */
  readonly parts: Uint8Array[];
  bytes: number;
}

/** An IN endpoint: the device sends packets into the transfers of the host. */
export class InEndpoint extends Endpoint<PendingIn> {
  /** Bytes that the transfer at the head still takes; undefined when the host has none here. */
  get room(): number | undefined {
    return this.roomOn(undefined);
  }

  roomOn(streamId: number | undefined): number | undefined {
    const head = this.head(streamId);
    return head === undefined ? undefined : head.urb.maxBytes - head.bytes;
  }

  /** The transfer at the head has taken bytes, and takes more. */
  hasBegun(streamId: number | undefined): boolean {
    const head = this.head(streamId);
    return head !== undefined && head.bytes > 0;
  }

  /**
   * Sends data into the transfer at the head, as packets of `maxPacketBytes` and a shorter one at the end.
   *
   * @param data  At most `room` bytes; lent to the bus until the transfer is delivered.
   * @param last  The device has no more to say in this stage. Otherwise a transfer that ends within a packet is ended as
   *              "overflow" (babble): the packet that does not fit is not acknowledged and is sent again.
   * @returns     Bytes that the host acknowledged.
   */
  send(data: Uint8Array, last: boolean, streamId?: number): number {
    const head = this.head(streamId);
    if (head === undefined) return 0;
    const over = (head.bytes + data.length) % this.maxPacketBytes;
    if (over > 0 && !last) {
      const fits = Math.max(0, data.length - over);
      this.#take(head, data.subarray(0, fits));
      this.#endHead(head, "overflow");
      return fits;
    }
    this.#take(head, data);
    if (over > 0 || head.bytes === head.urb.maxBytes) this.#endHead(head, "ok");
    return data.length;
  }

  /** Ends the transfer at the head with a zero-length packet. @returns false when the host has none here. */
  sendZlp(streamId?: number): boolean {
    const head = this.head(streamId);
    if (head === undefined) return false;
    this.#endHead(head, "ok");
    return true;
  }

  protected pendingFor(urb: Urb): PendingIn {
    return { urb, parts: [], bytes: 0 };
  }

  protected end(pending: PendingIn, status: TransferStatus): void {
    const [first = NO_BYTES] = pending.parts;
    const data = pending.parts.length > 1 ? concat(pending.parts) : first;
    this.complete(pending.urb, status, data, data.length);
  }

  #take(head: PendingIn, data: Uint8Array): void {
    if (data.length > 0) head.parts.push(data);
    head.bytes += data.length;
  }

  #endHead(head: PendingIn, status: TransferStatus): void {
    if (this.leave(head)) this.end(head, status);
  }
}

interface PendingOut {
  readonly urb: Urb;
  /** Bytes that the device has acknowledged. */
  taken: number;
}

/** An OUT endpoint: the device takes bytes out of the transfers of the host. */
export class OutEndpoint extends Endpoint<PendingOut> {
  /** What the transfer at the head has left, a view of the host's memory; undefined when there is none. */
  get available(): Uint8Array | undefined {
    return this.availableOn(undefined);
  }

  availableOn(streamId: number | undefined): Uint8Array | undefined {
    const head = this.head(streamId);
    return head?.urb.out.subarray(head.taken);
  }

  /**
   * Acknowledges bytes of the transfer at the head; a transfer that is empty then is complete.
   * @returns true when that ended the transfer with a short packet (USB 2.0 §5.8.3), which ends a stage.
   */
  take(bytes: number, streamId?: number): boolean {
    const head = this.head(streamId);
    if (head === undefined) return false;
    head.taken += bytes;
    if (head.taken < head.urb.out.length) return false;
    this.leave(head);
    this.end(head, "ok");
    return head.taken === 0 || head.taken % this.maxPacketBytes > 0;
  }

  protected pendingFor(urb: Urb): PendingOut {
    return { urb, taken: 0 };
  }

  protected end(pending: PendingOut, status: TransferStatus): void {
    this.complete(pending.urb, status, undefined, pending.taken);
  }
}
