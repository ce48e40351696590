/**
 * What an open line brings, on its way into the channel.
 *
 * Bytes go at once after a pause. A steady stream of them is gathered (gathering.ts), because on a full-speed bus they come in
 * a thousand small packets a second. A status goes before the bytes that came after it, in their frame; without bytes it
 * waits while many were told, and the last one is told then.
 */
import { concat } from "../bytes.js";
import type { DeviceError, TtyReceiver, TtyStatus } from "../rump/devsw.js";
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import type { OutgoingFrame } from "./channel.js";
import { FLAG_STATUS, KINDS, MAX_REASON_BYTES, MAX_TTY_BYTES, STATUS_NUMBERS } from "./frames.js";
import type { RateBound } from "./rate-bound.js";
import { Gathering } from "./gathering.js";
import { encodeText } from "./text.js";
import { encodeStatus } from "./tty-payloads.js";

/** Gathered bytes are sent at once when they are so many. */
const GATHER_BYTES = 16 * 1024;
/** Until a status that had to wait is tried again. */
const STATUS_DELAY_MS = 50;

export interface OutboxContext {
  readonly clock: Clock;
  /** Of all lines of the process together. */
  readonly statuses: RateBound;
  readonly send: (frame: OutgoingFrame) => void;
  /** So many bytes have left; the driver may be granted more. */
  readonly sent: (bytes: number) => void;
  /** Granted to the driver and not sent. */
  readonly aheadBytes: () => number;
  /** The driver has closed the line, and that has been told. */
  readonly closed: () => void;
}

export class TtyOutbox implements TtyReceiver {
  readonly #context: OutboxContext;
  #parts: Uint8Array[] = [];
  #bytes = 0;
  readonly #gathering = new Gathering();
  #due: Timer | undefined;
  #isDueNow = false;
  #status: TtyStatus | undefined;
  #retry: Timer | undefined;
  #closed: DeviceError | undefined;
  /** Before the host knows that the line is open, and after it is closed, nothing is sent. */
  #state: "waiting" | "open" | "ended" = "waiting";

  constructor(context: OutboxContext) {
    this.#context = context;
  }

  /** The host has been told that the line is open. */
  begin(): void {
    if (this.#state !== "waiting") return;
    this.#state = "open";
    this.#flush();
    this.#tellStatus();
    this.#tellClosed();
  }

  received(data: Uint8Array): void {
    if (this.#state === "ended") return;
    for (let at = 0; at < data.length; at += MAX_TTY_BYTES) this.#put(data.slice(at, at + MAX_TTY_BYTES));
  }

  changed(status: TtyStatus): void {
    if (this.#state === "ended") return;
    this.#flush();
    this.#status = status;
    this.#tellStatus();
  }

  closed(error: DeviceError): void {
    this.#closed ??= error;
    this.#flush();
    this.#tellClosed();
  }

  /** Bytes may be late by so much. */
  limitLatency(latencyMs: number): void {
    this.#gathering.limit(latencyMs);
  }

  /** Another frame leaves: what would be sent in this turn of the loop goes with it, and wakes the host once. */
  goAlong(): void {
    if (this.#isDueNow) this.#flush();
  }

  /** The line is closed from this side: what waits is thrown away. */
  end(): void {
    this.#state = "ended";
    this.#retry?.cancel();
    this.#due?.cancel();
    this.#parts = [];
    this.#bytes = 0;
  }

  #put(part: Uint8Array): void {
    const { clock } = this.#context;
    if (this.#bytes + part.length > MAX_TTY_BYTES) this.#flush();
    const waitMs = this.#gathering.arrived(clock.nowMs());
    if (waitMs === 0) this.#isDueNow = true;
    if (waitMs !== undefined) this.#due ??= clock.startTimer(waitMs, () => this.#flush());
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes >= GATHER_BYTES || this.#bytes >= this.#context.aheadBytes()) this.#flush();
  }

  #flush(): void {
    this.#due?.cancel();
    this.#due = undefined;
    this.#isDueNow = false;
    if (this.#state !== "open" || this.#bytes === 0) return;
    this.#gathering.sent(this.#context.clock.nowMs());
    const status = this.#takeStatus();
    const bytes = this.#bytes;
    const parts = status === undefined ? this.#parts : [encodeStatus(status), ...this.#parts];
    const [only] = parts;
    const payload = parts.length === 1 && only !== undefined ? only : concat(parts);
    this.#parts = [];
    this.#bytes = 0;
    this.#context.send({ kind: KINDS.ttyData, flags: status === undefined ? 0 : FLAG_STATUS, payload });
    this.#context.sent(bytes);
  }

  #tellStatus(): void {
    if (this.#state !== "open" || this.#status === undefined || this.#retry !== undefined) return;
    const { clock, statuses, send } = this.#context;
    if (statuses.take()) {
      send({ kind: KINDS.ttyChanged, payload: encodeStatus(this.#status) });
      this.#status = undefined;
      return;
    }
    this.#retry = clock.startTimer(STATUS_DELAY_MS, () => {
      this.#retry = undefined;
      this.#tellStatus();
    });
  }

  #takeStatus(): TtyStatus | undefined {
    const status = this.#status;
    this.#status = undefined;
    this.#retry?.cancel();
    this.#retry = undefined;
    return status;
  }

  #tellClosed(): void {
    const error = this.#closed;
    if (this.#state !== "open" || error === undefined) return;
    this.end();
    const payload = encodeText(error.message, MAX_REASON_BYTES);
    this.#context.send({ kind: KINDS.ttyClosed, status: STATUS_NUMBERS[error.code], payload });
    this.#context.closed();
  }
}
