/** A character device of the host over its connection to the kernel: requests and answers (fs/fuse/cuse.c, fs/fuse/dev.c). */
import { DeviceFile, READABLE } from "../../../rumpuser/real/device-file.js";
import { messageOf, errnoOf } from "../errors.js";
import type { LinkRights } from "../link-rights.js";
import { MAX_REQUEST_BYTES } from "./protocol.js";

/** Requests of one wake-up, so that others get their turn. */
const MAX_REQUESTS = 16;

export interface CuseEvents {
  /** Lent for the call. */
  request(bytes: Uint8Array): void;
  /** The kernel has taken the device away. */
  failed(error: Error): void;
}

export class CuseChannel {
  /** `/dev/ttyU0` */
  readonly path: string;
  readonly #events: CuseEvents;
  readonly #file: DeviceFile;
  readonly #buffer = new Uint8Array(MAX_REQUEST_BYTES);
  #over = false;

  private constructor(path: string, fd: number, events: CuseEvents) {
    this.path = path;
    this.#events = events;
    this.#file = new DeviceFile(path, fd, () => this.#read());
    this.#file.watch(READABLE);
  }

  /** Makes `/dev/NAME`; requests come from then on. @throws LinkSetupError */
  static async open(name: string, events: CuseEvents, rights: LinkRights): Promise<CuseChannel> {
    const { fd } = await rights.openCuse(name);
    return new CuseChannel(`/dev/${name}`, fd, events);
  }

  /** @throws SystemCallError */
  answer(bytes: Uint8Array): void {
    if (this.#over) return;
    try {
      this.#file.write(bytes);
    } catch (error) {
      // The request was interrupted meanwhile, or its program has gone.
      if (errnoOf(error) !== "ENOENT") this.#fail(error);
    }
  }

  /** The device goes; programs that have it open get errors. Idempotent. */
  close(): void {
    this.#over = true;
    this.#file.close();
  }

  #read(): void {
    try {
      for (let requests = 0; requests < MAX_REQUESTS && !this.#over; requests++) {
        const bytes = this.#file.read(this.#buffer);
        if (bytes === undefined) return;
        this.#events.request(this.#buffer.subarray(0, bytes));
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    this.close();
    this.#events.failed(error instanceof Error ? error : new Error(messageOf(error)));
  }
}
