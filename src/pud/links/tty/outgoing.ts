/** What programs or a client wrote and the device has not taken: bounded, in order. */
import { DeviceError, type TtyPort } from "../../../rump/devsw.js";

const MAX_BYTES = 64 * 1024;

export interface OutgoingEvents {
  /** There is room again. */
  room(): void;
  /** The device did not take bytes, and not because somebody wanted it so. */
  failed(error: unknown): void;
}

export class Outgoing {
  readonly #port: TtyPort;
  readonly #events: OutgoingEvents;
  #bytes = 0;
  /** Settles when everything that was added is taken, or given up. */
  #last: Promise<void> = Promise.resolve();

  constructor(port: TtyPort, events: OutgoingEvents) {
    this.#port = port;
    this.#events = events;
  }

  get hasRoom(): boolean {
    return this.#bytes < MAX_BYTES;
  }

  /** Bytes that the device has not taken. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The bytes are this object's from now on. */
  add(data: Uint8Array): void {
    this.#bytes += data.length;
    const written = this.#write(data);
    this.#last = Promise.all([this.#last, written]).then(() => undefined);
  }

  /** Resolves when everything that was added is taken, or given up. Never rejects. */
  async settled(): Promise<void> {
    await this.#last;
  }

  /** Resolves when what was added has left the device, or the signal says that it took too long. Never rejects. */
  async gone(signal: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([aborted, this.#drained(signal)]);
  }

  async #drained(signal: AbortSignal): Promise<void> {
    await this.#last;
    if (signal.aborted) return;
    try {
      await this.#port.drain({ signal });
    } catch (error) {
      if (!isCancelled(error)) this.#events.failed(error);
    }
  }

  async #write(data: Uint8Array): Promise<void> {
    try {
      await this.#port.write(data);
    } catch (error) {
      if (!isCancelled(error)) this.#events.failed(error);
    }
    const wasFull = !this.hasRoom;
    this.#bytes -= data.length;
    if (wasFull && this.hasRoom) this.#events.room();
  }
}

/** A flush or the end of the port took the bytes. */
function isCancelled(error: unknown): boolean {
  return error instanceof DeviceError && (error.code === "ECANCELED" || error.code === "ENODEV");
}
