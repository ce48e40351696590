/**
 * One client, from greeting to end.
 *
 * The connection owns its peer: it alone pauses, ends and destroys it. Calls of the disk that a vanished client left behind
 * run to their end (cancelling a command in flight would disturb everybody else on the device), but for reads that no driver
 * has yet, and the connection
 * counts as open until they have, so that coming and going cannot pile up work.
 */
import type { Clock } from "../clock.js";
import type { ExportTable, NbdExport } from "./export.js";
import { Handshake } from "./handshake.js";
import type { LinkLog } from "../link.js";
import type { Peer } from "./peer.js";
import { ReplyQueue } from "./replies.js";
import { Transmission } from "./transmission.js";

/** From the connection to the first byte of transmission. */
export const HANDSHAKE_MS = 10_000;
/** How long a client may take to fetch its last answers. */
export const DRAIN_MS = 10_000;
/** How long a client is answered ESHUTDOWN before it is dropped. */
export const SHUTDOWN_GRACE_MS = 250;

const NOTHING = new Uint8Array(0);

export interface ConnectionContext {
  readonly exports: ExportTable;
  readonly clock: Clock;
  readonly log: LinkLog;
  /** `nbd/3`: who speaks in the log. */
  readonly source: string;
  /** Called once: the peer has gone and nothing of it is left. */
  readonly onClosed: () => void;
}

/** open: requests are taken. finishing: none are taken, answers still leave. gone: there is nobody to answer. */
type State = "open" | "finishing" | "gone";

export class Connection {
  readonly #peer: Peer;
  readonly #context: ConnectionContext;
  readonly #handshake: Handshake;
  #transmission: Transmission | undefined;
  #export: NbdExport | undefined;
  #state: State = "open";
  /** What arrived and could not be taken yet. */
  #rest: Uint8Array = NOTHING;
  #paused = false;
  #inputEnded = false;
  #outputEnded = false;
  #closed = false;
  #deadline: { cancel(): void } | undefined;
  /** The deadline that is set is the last one. */
  #lastDeadline = false;

  constructor(peer: Peer, context: ConnectionContext) {
    this.#peer = peer;
    this.#context = context;
    this.#handshake = new Handshake(context.exports, {
      send: (bytes) => peer.send([bytes], () => undefined),
      violation: (message) => this.#drop(message),
      aborted: () => this.#finish(),
      chosen: (exported, structured) => this.#startTransmission(exported, structured),
    });
  }

  /** Greets the client; from here the handshake's time runs. */
  start(): void {
    this.#setDeadline(HANDSHAKE_MS, `no export chosen within ${HANDSHAKE_MS} ms`);
    this.#handshake.start();
  }

  /** The export this client uses, once it has chosen. */
  get export(): NbdExport | undefined {
    return this.#export;
  }

  /**
   * Bytes of the client; none may come while the peer is paused. The chunk is lent for the call, and until `resume`.
   * @returns false: the peer has been paused.
   */
  receive(chunk: Uint8Array): boolean {
    if (this.#state === "open") {
      this.#rest = chunk;
      this.#pump();
    }
    return !this.#paused;
  }

  /** The client has ended its half: answer what it asked, then end ours. */
  peerEnded(): void {
    this.#inputEnded = true;
    this.#pump();
  }

  /** The stream is gone. */
  peerClosed(): void {
    this.#state = "gone";
    this.#rest = NOTHING;
    this.#transmission?.clientGone();
    this.#deadline?.cancel();
    this.#checkClosed();
  }

  /** "Terminating the transmission phase": ESHUTDOWN for everything, for a short while; then the end. */
  shutDown(reason: string): void {
    if (this.#state === "gone") return;
    if (this.#transmission === undefined) {
      this.#drop(reason);
      return;
    }
    this.#transmission.shutDown(reason);
    this.#setDeadline(SHUTDOWN_GRACE_MS, reason);
    this.#lastDeadline = true;
    this.#pump();
  }

  #startTransmission(exported: NbdExport, structured: boolean): void {
    this.#deadline?.cancel();
    this.#export = exported;
    this.#log("debug", `export "${exported.name}", ${structured ? "structured" : "simple"} replies`);
    const replies = new ReplyQueue(
      this.#peer,
      structured,
      (windowBytes) => transmission.release(windowBytes),
      (data) => exported.disk.recycle?.(data),
    );
    const transmission = new Transmission(exported, structured, replies, {
      violation: (message) => this.#drop(message),
      disconnect: () => this.#finish(),
      fault: (message) => this.#log("error", message),
      progress: () => this.#pump(),
    });
    this.#transmission = transmission;
  }

  /** Feeds what has arrived to the phase that is on, as far as it goes. */
  #pump(): void {
    const chunk = this.#rest;
    let at = 0;
    if (this.#state === "open") {
      if (this.#transmission === undefined) at = this.#handshake.feed(chunk, at);
      // The handshake stops where transmission begins, maybe in the middle of the chunk.
      if (this.#transmission !== undefined) at = this.#transmission.feed(chunk, at);
      this.#rest = at < chunk.length ? chunk.subarray(at) : NOTHING;
    }
    this.#steer();
  }

  /** Back-pressure, and the end when there is nothing left to answer. */
  #steer(): void {
    if (this.#state === "gone") {
      this.#checkClosed();
      return;
    }
    const blocked = this.#state === "open" && this.#transmission?.blocked === true;
    if (blocked !== this.#paused) {
      this.#paused = blocked;
      if (blocked) this.#peer.pause();
      else this.#peer.resume();
    }
    if (this.#inputEnded && !blocked) this.#finish();
    if (this.#state === "finishing") this.#endWhenDrained();
  }

  /** No more requests. */
  #finish(): void {
    if (this.#state !== "open") return;
    this.#state = "finishing";
    this.#rest = NOTHING;
    this.#transmission?.endInput();
  }

  #endWhenDrained(): void {
    if ((this.#transmission?.diskCalls ?? 0) > 0) return;
    if (!this.#lastDeadline) {
      const waits = this.#transmission?.waitsForClient === true;
      this.#setDeadline(DRAIN_MS, `${waits ? "no answer" : "last answers not"} fetched within ${DRAIN_MS} ms`);
      if (waits) return;
      this.#lastDeadline = true;
    }
    if (this.#outputEnded || this.#transmission?.drained === false) return;
    this.#outputEnded = true;
    this.#peer.end();
  }

  #drop(why: string): void {
    if (this.#state === "gone") return;
    this.#state = "finishing";
    this.#rest = NOTHING;
    this.#log("warn", `dropped: ${why}`);
    this.#peer.destroy();
  }

  #setDeadline(delayMs: number, why: string): void {
    this.#deadline?.cancel();
    this.#deadline = this.#context.clock.startTimer(delayMs, () => this.#drop(why));
  }

  #checkClosed(): void {
    if (this.#closed || (this.#transmission?.diskCalls ?? 0) > 0) return;
    this.#closed = true;
    this.#context.onClosed();
  }

  #log(level: "debug" | "warn" | "error", message: string): void {
    this.#context.log.write({ level, source: this.#context.source, message });
  }
}
