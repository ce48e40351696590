/**
 * An open line as two bounded flows, for whoever serves one client with it.
 *
 * Towards the line bytes wait here while its flow control holds them: `full` says when no more should be brought. From the
 * line comes no more than the client has taken: what was received is granted again when the client has it.
 */
import {
  DeviceError,
  type FlushQueue,
  type LineSettings,
  type Tty,
  type TtyPort,
  type TtyReceiver,
  type TtyStatus,
} from "../../../rump/devsw.js";
import type { Clock } from "../clock.js";
import { openNearest } from "../tty/nearest.js";
import { Outgoing } from "../tty/outgoing.js";

/** What may be on its way to a client. */
export const WINDOW_BYTES = 64 * 1024;

export interface LineUser {
  /** Bytes of the line, lent for the call. Each is to be released. */
  received(data: Uint8Array): void;
  changed(status: TtyStatus): void;
  /** The line is not `full` any more. */
  writable(): void;
  /** The line has ended, and not by `close`. The last call. */
  ended(error: DeviceError): void;
}

export class ServedLine {
  readonly #user: LineUser;
  readonly #clock: Clock;
  #opening: Promise<TtyPort> | undefined;
  #port: TtyPort | undefined;
  #outgoing: Outgoing | undefined;
  #ended = false;
  #closing: Promise<void> | undefined;
  #deadline: { cancel(): void } | undefined;

  constructor(user: LineUser, clock: Clock) {
    this.#user = user;
    this.#clock = clock;
  }

  /**
   * Opens the line with DTR and RTS on, as a terminal does. Nothing is received before `start`. Once.
   * @param exact  The settings, or an error; else the nearest that the device can make.
   * @throws DeviceError
   */
  async open(tty: Tty, settings: LineSettings, exact: boolean): Promise<void> {
    const how = { settings, outputs: { dtr: true, rts: true } };
    const receiver: TtyReceiver = {
      received: (data) => this.#user.received(data),
      changed: (status) => this.#user.changed(status),
      closed: (error) => this.#fail(error),
    };
    const opening = exact ? tty.open(how, receiver) : openNearest(tty, how, receiver);
    this.#opening = opening;
    const port = await opening;
    this.#port = port;
    this.#outgoing = new Outgoing(port, {
      room: () => (this.#closing === undefined ? this.#user.writable() : undefined),
      failed: (error) => this.#writeFailed(error),
    });
  }

  start(): void {
    this.release(WINDOW_BYTES);
  }

  /** @throws DeviceError ENODEV before `open` and after the end. */
  get port(): TtyPort {
    if (this.#port === undefined || this.#ended) throw new DeviceError("ENODEV", "the line is not open");
    return this.#port;
  }

  get full(): boolean {
    return this.#outgoing?.hasRoom === false;
  }

  /** Sends bytes; they belong to the line now. */
  write(data: Uint8Array): void {
    if (!this.#ended && this.#closing === undefined) this.#outgoing?.add(data);
  }

  /** The client has so many bytes that were received: as many more may come. */
  release(bytes: number): void {
    if (!this.#ended) this.#port?.grant(bytes);
  }

  /** @throws DeviceError */
  async flush(queue: FlushQueue): Promise<void> {
    await this.port.flush(queue);
  }

  /** Resolves when what was written before has left the device. @throws DeviceError */
  async drain(): Promise<void> {
    await this.#outgoing?.settled();
    await this.port.drain();
  }

  /**
   * Ends the line: what waits may leave for `drainMs`, then DTR and RTS fall. Never rejects. A later call waits for the first.
   */
  close(drainMs: number): Promise<void> {
    this.#closing ??= this.#close(drainMs);
    return this.#closing;
  }

  /** Leaves less time to a close that is under way. */
  hurry(drainMs: number): void {
    this.#deadline?.cancel();
    this.#deadline = this.#clock.startTimer(drainMs, () => void this.#port?.close());
  }

  async #close(drainMs: number): Promise<void> {
    const port = await this.#opening?.catch(() => undefined);
    if (port === undefined) return;
    this.hurry(drainMs);
    try {
      await this.drain();
    } catch {
      // Given up, or the line has gone: what waited is lost, and closing goes on.
    }
    this.#deadline?.cancel();
    await port.close();
    this.#ended = true;
  }

  #writeFailed(error: unknown): void {
    const isDeviceError = error instanceof DeviceError;
    this.#fail(isDeviceError ? error : new DeviceError("EIO", `write: ${String(error)}`, { cause: error }));
  }

  #fail(error: DeviceError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#user.ended(error);
  }
}
