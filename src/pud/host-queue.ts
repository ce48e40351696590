/**
 * The requests of one node: what waits, what is in flight, and what is asked again after a rump process was lost.
 */
import { DeviceError, type DeviceErrorCode } from "../rump/devsw.js";
import { KINDS } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import { DiskRequest, type RequestFields } from "./host-request.js";

export interface QueueLimits {
  /** Requests of one node in flight at most. Not above MAX_NODE_REQUESTS. */
  readonly maxNodeRequests: number;
  /** Payload bytes, either way, that they stand for; one request may always go. Not above MAX_NODE_BYTES. */
  readonly maxNodeBytes: number;
  /**
   * Requests of one node that wait to be sent; one more is answered EBUSY. A last resort: the links bound what they ask
   * for at a time, far below this.
   */
  readonly maxQueuedRequests: number;
  /** A request that was in flight when so many channels were lost is answered EIO: it may be what kills the driver. */
  readonly maxLosses: number;
}

export class NodeQueue {
  readonly #limits: QueueLimits;
  /** Not sent yet, in the order in which they go. */
  #waiting: DiskRequest[] = [];
  /** Sent and not answered, in the order in which they went. */
  readonly #inFlight = new Set<DiskRequest>();
  #inFlightBytes = 0;
  #channel: HostChannel | undefined;
  #nodeNumber = 0;
  /** Set once, when nothing is accepted any more. */
  #closed: { readonly code: DeviceErrorCode; readonly reason: string } | undefined;
  #idle: (() => void)[] = [];

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  /** A channel serves the node. */
  get bound(): boolean {
    return this.#channel !== undefined;
  }

  /**
   * Queues a request and sends it as soon as the limits allow.
   * @returns the reply's payload.
   * @throws DeviceError as the driver says; ECANCELED (the signal fired and the driver stopped, or had not been asked
   *   yet); EBUSY (the queue is full); EIO, ENODEV, ESTALE (the node or its driver has gone).
   */
  issue(fields: RequestFields, signal?: AbortSignal): Promise<Uint8Array> {
    if (this.#closed !== undefined) return Promise.reject(new DeviceError(this.#closed.code, this.#closed.reason));
    if (signal?.aborted === true) return Promise.reject(new DeviceError("ECANCELED", "cancelled before it was sent"));
    if (this.#waiting.length >= this.#limits.maxQueuedRequests)
      return Promise.reject(new DeviceError("EBUSY", `${this.#waiting.length} requests wait already`));
    const request = new DiskRequest(fields);
    if (signal !== undefined) request.watch(signal, () => this.#cancel(request));
    this.#waiting.push(request);
    this.pump();
    return request.result;
  }

  /** Sends what may be sent. */
  pump(): void {
    const channel = this.#channel;
    if (channel === undefined) return;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#channel !== channel || channel.choked) return;
      if (this.#inFlight.size >= this.#limits.maxNodeRequests) return;
      if (this.#inFlight.size > 0 && this.#inFlightBytes + next.bytes > this.#limits.maxNodeBytes) return;
      this.#waiting.shift();
      this.#inFlight.add(next);
      this.#inFlightBytes += next.bytes;
      channel.sendRequest(this.#nodeNumber, next, this);
    }
  }

  /** The node has been announced on this channel: what waits is sent, what was in flight before goes first. */
  bind(channel: HostChannel, nodeNumber: number): void {
    this.#channel = channel;
    this.#nodeNumber = nodeNumber;
    this.pump();
  }

  /**
   * The channel was lost and the node stays: everything unanswered waits to be sent again. Whatever names blocks goes in
   * its original order, so that the last of overlapping writes wins again; flushes go after, so that what they confirm
   * includes those. WRITE is idempotent and the device was not told to forget: repeating one that was done is harmless.
   */
  unbind(): void {
    this.#channel = undefined;
    const blocks: DiskRequest[] = [];
    const flushes: DiskRequest[] = [];
    for (const request of this.#takeInFlight()) {
      request.losses++;
      if (request.cancelled) request.fail("ECANCELED", "cancelled; the driver process ended before it answered");
      else if (request.losses >= this.#limits.maxLosses)
        request.fail("EIO", `the driver process ended ${request.losses} times while it had this request`);
      else (request.kind === KINDS.flush ? flushes : blocks).push(request);
    }
    this.#waiting = [...blocks, ...flushes, ...this.#waiting];
    this.#tellIdle();
  }

  /** Refuses new requests with this code; those that are there go on. Only the first reason counts. */
  close(code: DeviceErrorCode, reason: string): void {
    this.#closed ??= { code, reason };
  }

  /** The node has gone: everything is answered with this code, now and later. */
  end(code: DeviceErrorCode, reason: string): void {
    this.#closed = { code, reason };
    this.#channel = undefined;
    const unanswered = [...this.#takeInFlight(), ...this.#waiting.splice(0)];
    for (const request of unanswered) request.fail(request.cancelled ? "ECANCELED" : code, reason);
    this.#tellIdle();
  }

  /** The channel has the reply to a request that this queue sent: its data, or why it failed. */
  answered(request: DiskRequest, data: Uint8Array, failure: DeviceErrorCode | undefined, message: string): void {
    if (!this.#inFlight.delete(request)) return; // ended meanwhile; the caller has its answer
    this.#inFlightBytes -= request.bytes;
    if (failure === undefined) request.succeed(data);
    else request.fail(failure, message);
    this.pump();
    this.#tellIdle();
  }

  /** Resolves when every request has been answered. */
  async whenIdle(): Promise<void> {
    if (this.#isIdle()) return;
    await new Promise<void>((idle) => this.#idle.push(idle));
  }

  /** Not sent yet: it ends here. Sent: the driver is asked to stop, and its answer is the end. */
  #cancel(request: DiskRequest): void {
    if (this.#inFlight.has(request)) {
      this.#channel?.sendCancel(request);
      return;
    }
    this.#waiting = this.#waiting.filter((other) => other !== request);
    request.fail("ECANCELED", "cancelled before it was sent");
    this.#tellIdle();
  }

  #takeInFlight(): DiskRequest[] {
    const requests = [...this.#inFlight];
    this.#inFlight.clear();
    this.#inFlightBytes = 0;
    return requests;
  }

  #isIdle(): boolean {
    return this.#inFlight.size === 0 && this.#waiting.length === 0;
  }

  #tellIdle(): void {
    if (this.#idle.length === 0 || !this.#isIdle()) return;
    for (const idle of this.#idle.splice(0)) idle();
  }
}
