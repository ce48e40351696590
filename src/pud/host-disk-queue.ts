/**
 * The requests of one disk: what waits, what is in flight, and what is asked again after a rump process was lost.
 */
import { BufferPool } from "../buffers.js";
import { PendingSet } from "../pending.js";
import { DeviceError, type DeviceErrorCode } from "../rump/devsw.js";
import type { Timer } from "../rumpuser/rumpuser.js";
import { KINDS } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import { DiskRequest, type RequestFields } from "./host-disk-request.js";
import { DEPARTURE_MS, type NodeContext, type NodeLimits } from "./host-node.js";
import type { MediumMemory } from "./medium-memory.js";
import type { SharedSlots } from "./shared-memory.js";
import { decodeText } from "./text.js";
import { Turns } from "./turns.js";

/** Memory that a node keeps for the next reads. */
const MAX_IDLE_BYTES = 4 * 1024 * 1024;
/**
 * What clients of one disk have in flight together: what is in flight is done in its order, so a request of another one
 * waits for all of it. Enough for a command that runs and the next one.
 */
const SHARED_BYTES = 2 * 1024 * 1024;
/** A client of which so long nothing came or went is not thought of any more. */
const SHARING_MS = 1_000;

export class DiskQueue {
  /** Memory for data that travel in frames. */
  readonly buffers = new BufferPool(MAX_IDLE_BYTES);
  /** Of the process that serves it, or did. */
  #slots: SharedSlots | undefined;
  readonly #context: NodeContext;
  readonly #limits: NodeLimits;
  /** What is known of the medium; without it a device that has gone never comes back. */
  readonly memory: MediumMemory | undefined;
  /** The host's own, which go before all that waits. */
  #own: DiskRequest[] = [];
  /** To be sent again before all that was never sent, in their order. */
  #again: DiskRequest[] = [];
  /** Not sent yet. */
  readonly #waiting = new Turns<DiskRequest>();
  /** Sent and not answered, in the order in which they went. */
  readonly #inFlight = new PendingSet<DiskRequest>();
  #inFlightBytes = 0;
  #channel: HostChannel | undefined;
  #nodeNumber = 0;
  /** Set once, when nothing is accepted any more. */
  #closed: { readonly code: DeviceErrorCode; readonly reason: string } | undefined;
  #idle: (() => void)[] = [];
  /** What waits is not sent: the medium is being looked at first. */
  #gated = false;
  /** Whose request came or went last, and when that was another one's than before. */
  #lastClient: object | undefined;
  #otherClientAtMs = -SHARING_MS;
  #makingRoom = false;
  #departure: Timer | undefined;

  constructor(context: NodeContext, memory: MediumMemory | undefined) {
    this.#context = context;
    this.#limits = context.limits;
    this.memory = memory;
  }

  /** What is not answered, sent or not. */
  get unanswered(): readonly DiskRequest[] {
    return [...this.#inFlight.items, ...this.#again, ...this.#waiting.all()];
  }

  /** A channel serves the node. */
  get bound(): boolean {
    return this.#channel !== undefined;
  }

  isBoundTo(channel: HostChannel): boolean {
    return this.#channel === channel;
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
    if (this.#waiting.size >= this.#limits.maxQueuedRequests)
      return Promise.reject(new DeviceError("EBUSY", `${this.#waiting.size} requests wait already`));
    const request = new DiskRequest(fields, this);
    this.#noteClient(request.client);
    if (signal !== undefined) request.watch(signal, () => this.#cancel(request));
    this.#waiting.push(request);
    this.pump();
    return request.result;
  }

  /**
   * A request of the host itself, before all that waits and also through the gate.
   * @throws DeviceError as `issue`; ECANCELED when the channel is lost first.
   */
  issueOwn(fields: RequestFields): Promise<Uint8Array> {
    if (this.#channel === undefined) return Promise.reject(new DeviceError("ECANCELED", "no channel serves the node"));
    const request = new DiskRequest({ ...fields, isOwn: true }, this);
    this.#own.push(request);
    this.pump();
    return request.result;
  }

  /** Memory for data, shared with the process where it can be; to be recycled. */
  lend(bytes: number): Uint8Array {
    return this.#slots?.take(bytes) ?? this.buffers.take(bytes);
  }

  recycle(data: Uint8Array): void {
    if (this.#slots?.give(data) !== true) this.buffers.give(data);
  }

  /** Of a request that has failed: a process may still be busy with it. */
  doubt(data: Uint8Array): void {
    this.#slots?.doubt(data);
  }

  /** Something was done that will not have to be done again. */
  noteWork(): void {
    this.#context.onAnswered();
  }

  /** Sends what may be sent. */
  pump(): void {
    const channel = this.#channel;
    if (channel === undefined) return;
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      if (this.#channel !== channel || channel.choked) return;
      if (this.#inFlight.size >= this.#limits.maxNodeRequests) return;
      if (this.#inFlight.size > 0 && this.#isTooMuch(this.#inFlightBytes + next.bytes)) return;
      if (!next.isOwn && this.memory?.admit(next) === false) return this.#makeRoom(next);
      this.#shift(next);
      if (!next.isOwn) this.#noteClient(next.client);
      this.#inFlight.add(next);
      this.#inFlightBytes += next.bytes;
      next.place(channel.slots);
      channel.sendRequest(this.#nodeNumber, next);
    }
  }

  /**
   * The node has been announced on this channel: what waits is sent, what was in flight before goes first.
   * @param gated  Only the host's own requests are sent until `open`.
   */
  bind(channel: HostChannel, nodeNumber: number, gated = false): void {
    this.#channel = channel;
    this.#slots = channel.slots ?? this.#slots;
    this.#nodeNumber = nodeNumber;
    this.#gated = gated;
    this.pump();
  }

  /** The medium is the right one: what waits is sent. */
  open(): void {
    this.#gated = false;
    this.pump();
  }

  /**
   * Nobody serves the node and it stays: everything unanswered waits to be sent again. Whatever names blocks goes in its
   * original order, so that the last of overlapping writes wins again; flushes go after, so that what they confirm
   * includes those. WRITE is idempotent: repeating one that was done is harmless.
   *
   * @param isLoss  The rump process died of something, perhaps of one of these; otherwise the device has gone.
   */
  unbind(isLoss: boolean): void {
    this.#channel = undefined;
    this.#departure?.cancel();
    this.#departure = undefined;
    const blocks: DiskRequest[] = [];
    const flushes: DiskRequest[] = [];
    for (const own of this.#own.splice(0)) own.fail("ECANCELED", "the channel was lost");
    for (const request of this.#takeInFlight()) {
      if (!request.isOwn) this.memory?.returned(request);
      if (isLoss) request.losses++;
      request.isOrphan = false;
      if (request.isOwn) request.fail("ECANCELED", "the channel was lost");
      else if (request.cancelled)
        this.#giveUp(request, "ECANCELED", "cancelled; the driver process ended before it answered");
      else if (request.losses >= this.#limits.maxLosses)
        this.#giveUp(request, "EIO", `the driver process ended ${request.losses} times while it had this request`);
      else (request.kind === KINDS.flush ? flushes : blocks).push(request);
    }
    this.#again = [...blocks, ...flushes, ...this.#again];
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
    this.#departure?.cancel();
    const sent = this.#takeInFlight();
    const unanswered = [...this.#own.splice(0), ...sent, ...this.#again.splice(0), ...this.#waiting.takeAll()];
    for (const request of unanswered) request.fail(request.cancelled ? "ECANCELED" : code, reason);
    this.#tellIdle();
  }

  /** The channel has the reply to a request that this queue sent: its data, or with a failure the reason in words. */
  answered(request: DiskRequest, failure: DeviceErrorCode | undefined, data: Uint8Array): void {
    if (!this.#inFlight.has(request)) return; // ended meanwhile; the caller has its answer
    const memory = this.memory;
    if (failure === "ENODEV" && memory !== undefined) return this.#orphan(request);
    this.#inFlight.delete(request);
    this.#inFlightBytes -= request.bytes;
    if (!request.isOwn) {
      if (failure === undefined) memory?.done(request, data);
      else memory?.failed(request);
      this.#context.onAnswered();
    }
    if (failure === undefined) request.succeed(data);
    else request.fail(failure, decodeText(data));
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
    this.#drop(request);
    request.fail("ECANCELED", "cancelled before it was sent");
    this.#tellIdle();
  }

  #next(): DiskRequest | undefined {
    const [own] = this.#own;
    if (own !== undefined || this.#gated) return own;
    for (;;) {
      const next = this.#again[0] ?? this.#waiting.first();
      if (next?.isWanted() !== false) return next;
      this.#shift(next);
      next.fail("ECANCELED", "nobody waits for it any more");
    }
  }

  /** Takes what `#next` says. */
  #shift(next: DiskRequest): void {
    if (next.isOwn) this.#own.shift();
    else if (this.#again.length > 0) this.#again.shift();
    else this.#waiting.shift();
  }

  /** It is not to be sent any more. */
  #drop(request: DiskRequest): void {
    this.#again = this.#again.filter((other) => other !== request);
    this.#waiting.remove(request);
  }

  #noteClient(client: object): void {
    if (client === this.#lastClient) return;
    if (this.#lastClient !== undefined) this.#otherClientAtMs = this.#context.clock.nowMs();
    this.#lastClient = client;
  }

  #isTooMuch(inFlightBytes: number): boolean {
    if (inFlightBytes <= SHARED_BYTES) return inFlightBytes > this.#limits.maxNodeBytes;
    if (inFlightBytes > this.#limits.maxNodeBytes) return true;
    return this.#context.clock.nowMs() - this.#otherClientAtMs < SHARING_MS;
  }

  /** The answer was ENODEV: it stays in flight until the channel ends, or until it has not for a while. */
  #orphan(request: DiskRequest): void {
    request.isOrphan = true;
    this.#departure ??= this.#context.clock.startTimer(DEPARTURE_MS, () => {
      this.#departure = undefined;
      for (const orphan of this.#inFlight.items.slice()) {
        if (!orphan.isOrphan) continue;
        this.#inFlight.delete(orphan);
        this.#inFlightBytes -= orphan.bytes;
        if (!orphan.isOwn) this.memory?.failed(orphan);
        orphan.fail("ENODEV", "the driver says that the device has gone");
      }
      this.pump();
      this.#tellIdle();
    });
  }

  /** What it was to change may be changed or not, and it is not tried again. */
  #giveUp(request: DiskRequest, code: DeviceErrorCode, reason: string): void {
    this.memory?.forget(request.offset, request.count);
    request.fail(code, reason);
  }

  /** The journal is full: one flush, and then the write goes on, or fails with what the flush said. */
  #makeRoom(write: DiskRequest): void {
    // With nothing recorded yet, the writes in flight make room as they are answered.
    if (this.#makingRoom || this.memory?.journal?.canShrink !== true) return;
    this.#makingRoom = true;
    void this.#flushForRoom(write);
  }

  async #flushForRoom(write: DiskRequest): Promise<void> {
    const journal = this.memory?.journal;
    const mark = journal?.mark() ?? 0;
    try {
      await this.issueOwn({ kind: KINDS.flush });
      journal?.dropUntil(mark);
    } catch (error) {
      const lost = error instanceof DeviceError && error.code === "ECANCELED";
      if (!lost && !this.#inFlight.has(write)) {
        this.#drop(write);
        write.fail("EIO", `nothing more can be held back, and the flush failed: ${String(error)}`);
      }
    } finally {
      this.#makingRoom = false;
    }
    this.pump();
    this.#tellIdle();
  }

  #takeInFlight(): DiskRequest[] {
    const requests = this.#inFlight.take();
    this.#inFlightBytes = 0;
    return requests;
  }

  #isIdle(): boolean {
    return this.#inFlight.size === 0 && this.#again.length + this.#waiting.size + this.#own.length === 0;
  }

  #tellIdle(): void {
    if (this.#idle.length === 0 || !this.#isIdle()) return;
    for (const idle of this.#idle.splice(0)) idle();
  }
}
