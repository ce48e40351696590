/**
 * One client of a line, from its connection to its end.
 *
 * The connection owns the stream and the line. Whoever of the two ends first ends the other: a client that has gone leaves
 * its last bytes to the line, for a bounded time; a line that has gone ends the stream.
 */
import type { Duplex } from "node:stream";
import type { DeviceError, LineSettings, Tty, TtyStatus } from "../../../rump/devsw.js";
import type { Clock } from "../clock.js";
import { messageOf } from "../errors.js";
import type { LinkLog } from "../link.js";
import { ServedLine, WINDOW_BYTES } from "./line.js";
import { Outlet } from "./outlet.js";
import { refusalWord } from "./refusal.js";

/** How long the last bytes of a client that has gone may take: as long as Linux's `closing_wait`. */
export const DRAIN_MS = 30_000;
/** The same when the line is taken away. */
export const SHUTDOWN_DRAIN_MS = 500;
/** How long a client may take to fetch the last bytes. */
export const LINGER_MS = 2_000;
/** A client that is held is asked so often whether it is still there, where the protocol has a way to ask. */
export const PROBE_MS = 2_000;
/** A client that was held so long and cannot be asked gives way to the next: it may have gone. */
export const STALE_MS = 60_000;
/**
 * What may wait for a client that does not read, before nothing more is read of it: a window of the line's bytes, each of
 * them escaped, and as much as a window of answers. The bytes alone do not hold it, for it may have to write before it reads.
 */
export const MAX_BACKLOG_BYTES = 3 * WINDOW_BYTES;

/** What is spoken with the client. */
export interface LineProtocol {
  /** The line is open; speak first where that is the custom. */
  start(): void;
  /** Bytes of the client, the protocol's to keep. */
  receive(chunk: Uint8Array): void;
  /** Bytes of the line as the client gets them; a copy. */
  encode(data: Uint8Array): Uint8Array;
  changed(status: TtyStatus): void;
  /** Something has left for the client. */
  caughtUp?(): void;
  /** Too much is under way: the client is to be held. `Conversation.steer` looks again. */
  readonly busy: boolean;
  /** Something to send that only shows whether the client is there. */
  readonly probe?: Uint8Array;
}

/** What a protocol may use. */
export interface Conversation {
  readonly line: ServedLine;
  readonly outlet: Outlet;
  readonly clock: Clock;
  /** To be called when `busy` may have changed. */
  readonly steer: () => void;
  readonly log: (level: "debug" | "warn" | "error", message: string) => void;
  /** The client broke the protocol beyond repair. */
  readonly drop: (why: string) => void;
}

export type StartProtocol = (conversation: Conversation) => LineProtocol;

export interface ConnectionOptions {
  readonly tty: Tty;
  /** How the line is opened. */
  readonly settings: LineSettings;
  /** With these settings or not at all. */
  readonly exact: boolean;
  readonly startProtocol: StartProtocol;
  readonly clock: Clock;
  readonly log: LinkLog;
  /** Who speaks in the log: `rfc2217/ttyU0`. */
  readonly source: string;
}

export class LineConnection {
  /** Resolves when the line is closed: the next client may have it. */
  readonly released: Promise<void>;
  /** Resolves when the stream has gone, too. */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #options: ConnectionOptions;
  readonly #line: ServedLine;
  readonly #outlet: Outlet;
  readonly #protocol: LineProtocol;
  readonly #streamClosed: Promise<void>;
  #ending: Promise<void> | undefined;
  #held = false;
  #stale = false;
  #probe: { cancel(): void } | undefined;
  #onReleased: () => void = () => undefined;

  /** The stream must not have been read, and keeps its writing half open when the other ends. */
  constructor(stream: Duplex, options: ConnectionOptions) {
    const { clock, startProtocol } = options;
    this.#stream = stream;
    this.#options = options;
    this.#line = new ServedLine(
      {
        received: (data) => this.#received(data),
        changed: (status) => this.#protocol.changed(status),
        writable: () => this.#steer(),
        ended: (error) => this.#lineEnded(error),
      },
      clock,
    );
    this.#outlet = new Outlet(stream, () => {
      this.#protocol.caughtUp?.();
      this.#steer();
    });
    this.#protocol = startProtocol({
      line: this.#line,
      outlet: this.#outlet,
      clock,
      steer: () => this.#steer(),
      log: (level, message) => this.#log(level, message),
      drop: (why) => this.#drop(why),
    });
    this.#streamClosed = new Promise((resolve) => stream.once("close", resolve));
    this.released = new Promise((resolve) => {
      this.#onReleased = resolve;
    });
    this.closed = Promise.all([this.released, this.#streamClosed]).then(() => undefined);
    // A client that resets its connection is its own business; "close" follows.
    stream.on("error", (error) => this.#log("debug", error.message));
    stream.once("close", () => this.#end(DRAIN_MS));
    void this.#start();
  }

  /** Nobody knows whether the client is still there: it has been held for long, and the protocol has no way to ask. */
  get stale(): boolean {
    return this.#stale;
  }

  /** The line is taken away: what waits has a moment more. */
  shutDown(reason: string): void {
    this.#log("debug", `ends: ${reason}`);
    this.#end(SHUTDOWN_DRAIN_MS);
  }

  async #start(): Promise<void> {
    try {
      const { tty, settings, exact } = this.#options;
      await this.#line.open(tty, settings, exact);
    } catch (error) {
      this.#log("error", `open: ${messageOf(error)}`);
      this.#outlet.send(refusalWord(error));
      this.#end(0);
      return;
    }
    if (this.#ending !== undefined) return;
    this.#protocol.start();
    this.#line.start();
    this.#stream.on("data", (chunk: Uint8Array) => {
      if (this.#ending !== undefined) return;
      this.#protocol.receive(chunk);
      this.#steer();
    });
    this.#stream.once("end", () => this.#end(DRAIN_MS));
  }

  #received(data: Uint8Array): void {
    const { length } = data;
    this.#outlet.send(this.#protocol.encode(data), () => this.#line.release(length));
  }

  #lineEnded(error: DeviceError): void {
    this.#log(error.code === "ENODEV" ? "debug" : "error", error.message);
    this.#end(0);
  }

  #drop(why: string): void {
    this.#log("error", `client dropped: ${why}`);
    this.#stream.destroy();
    this.#end(SHUTDOWN_DRAIN_MS);
  }

  /** Holds the client while the line, the protocol or the client itself cannot follow. */
  #steer(): void {
    if (this.#ending !== undefined) return;
    const { suspended, backlogBytes } = this.#outlet;
    // A client that has suspended us must be heard: how much it may let wait then is the protocol's to say.
    const deaf = backlogBytes > MAX_BACKLOG_BYTES && !suspended;
    const held = this.#line.full || this.#protocol.busy || deaf;
    if (held === this.#held) return;
    this.#held = held;
    if (held) {
      this.#stream.pause();
      this.#startProbe();
    } else {
      this.#probe?.cancel();
      this.#stale = false;
      this.#stream.resume();
    }
  }

  /** Of a stream that is not read one learns only by writing that its other end has gone. */
  #startProbe(): void {
    const { probe } = this.#protocol;
    const { clock } = this.#options;
    if (probe === undefined)
      this.#probe = clock.startTimer(STALE_MS, () => {
        this.#stale = true;
      });
    else
      this.#probe = clock.startTimer(PROBE_MS, () => {
        if (this.#outlet.backlogBytes === 0) this.#outlet.send(probe);
        this.#startProbe();
      });
  }

  #end(drainMs: number): void {
    if (this.#ending === undefined) this.#ending = this.#finish(drainMs);
    // Whoever takes the line away does not wait for what a client has left behind.
    else if (drainMs <= SHUTDOWN_DRAIN_MS) this.#line.hurry(drainMs);
  }

  async #finish(drainMs: number): Promise<void> {
    this.#probe?.cancel();
    // Reading on is how the end of the other side is seen; what it brings is dropped.
    this.#stream.resume();
    await this.#line.close(drainMs);
    this.#onReleased();
    this.#outlet.end();
    const linger = this.#options.clock.startTimer(LINGER_MS, () => this.#stream.destroy());
    await this.#streamClosed;
    linger.cancel();
  }

  #log(level: "debug" | "warn" | "error", message: string): void {
    this.#options.log.write({ level, source: this.#options.source, message });
  }
}
