/** NBD connections without sockets, and with them. */
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import type { NetConnectOpts } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../../../src/pud/links/clock.js";
import { Connection } from "../../../../src/pud/links/nbd/connection.js";
import { makeExport, type NbdExport } from "../../../../src/pud/links/nbd/export.js";
import type { LinkLog } from "../../../../src/pud/links/link.js";
import type { Peer } from "../../../../src/pud/links/nbd/peer.js";
import type { Disk } from "../../../../src/rump/devsw.js";
import { ByteQueue, NbdClient } from "./client.js";
import type { Wire } from "./client.js";

/** Time that passes when the test says so. */
export class HandClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly fire: () => void }>();

  get armed(): number {
    return this.#timers.size;
  }

  startTimer(delayMs: number, fire: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + delayMs, fire };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of this.#timers) {
      if (timer.atMs > this.#nowMs) continue;
      this.#timers.delete(timer);
      timer.fire();
    }
  }
}

export class RecordingLog implements LinkLog {
  readonly entries: string[] = [];

  write({ level, source, message }: { level: string; source: string; message: string }): void {
    this.entries.push(`${level} ${source}: ${message}`);
  }
}

/** The server's end of an in-process stream. `deaf` = the client does not read: nothing counts as sent. */
export class FakePeer implements Peer {
  readonly received = new ByteQueue();
  paused = false;
  ended = false;
  destroyed = false;
  deaf = false;
  queuedBytes = 0;
  #unsent: (() => void)[] = [];
  readonly #onGone: () => void;

  constructor(onGone: () => void) {
    this.#onGone = onGone;
  }

  send(parts: readonly Uint8Array[], sent: () => void): void {
    if (this.destroyed) return;
    for (const part of parts) {
      this.queuedBytes += part.length;
      if (!this.deaf) this.received.push(part);
    }
    if (this.deaf) this.#unsent.push(sent);
    else sent();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ended = true;
    this.received.end("server ended");
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.received.end("server destroyed");
    this.#onGone();
  }

  /** The client reads again. */
  hear(): void {
    this.deaf = false;
    for (const sent of this.#unsent.splice(0)) sent();
  }
}

export interface DirectRig {
  readonly client: NbdClient;
  readonly connection: Connection;
  readonly peer: FakePeer;
  readonly clock: HandClock;
  readonly log: RecordingLog;
  readonly exports: Map<string, NbdExport>;
  /** True when the connection has let go of everything. */
  closed(): boolean;
}

export interface DirectOptions {
  readonly readOnly?: boolean;
  readonly description?: string;
}

/** A connection fed by hand, serving one disk as `sd0`. */
export function direct(disk: Disk, { readOnly = false, description = "a disk" }: DirectOptions = {}): DirectRig {
  const exports = new Map<string, NbdExport>();
  exports.set("sd0", makeExport("sd0", disk, { description, readOnly }));
  const clock = new HandClock();
  const log = new RecordingLog();
  let closed = false;
  const peer = new FakePeer(() => connection.peerClosed());
  const onClosed = (): void => {
    if (closed) throw new Error("closed twice");
    closed = true;
  };
  const connection: Connection = new Connection(peer, { exports, clock, log, source: "nbd/1", onClosed });
  connection.start();
  const wire: Wire = {
    send: (bytes) => connection.receive(bytes),
    received: peer.received,
    close: () => connection.peerClosed(),
  };
  return { client: new NbdClient(wire), connection, peer, clock, log, exports, closed: () => closed };
}

/** A client on a real socket. */
export async function dial(options: NetConnectOpts): Promise<NbdClient> {
  const socket = connect(options);
  const received = new ByteQueue();
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("data", (bytes: Uint8Array) => received.push(bytes));
  socket.on("error", (error) => received.end(error.message));
  socket.on("close", () => received.end("closed"));
  return new NbdClient({ send: (bytes) => void socket.write(bytes), received, close: () => void socket.destroy() });
}

/** A folder for sockets that goes away again: `await using`. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "nbd-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Waits for something that other turns of the loop bring about; a bound of turns, not of time. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
