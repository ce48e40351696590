/** /dev/cuse: makes a character device of the host, and carries its requests and answers (fs/fuse/cuse.c, fs/fuse/dev.c). */
import { existsSync } from "node:fs";
import { DeviceFile, POLL_ERR, READABLE } from "../../../rumpuser/real/device-file.js";
import { LinkSetupError, messageOf, errnoOf } from "../errors.js";
import { decodeRequest, encodeAnswer, encodeInit, FUSE_MAJOR, initIn, MAX_REQUEST_BYTES, OPCODES } from "./protocol.js";

const CUSE = "/dev/cuse";
/** Requests of one wake-up, so that others get their turn. */
const MAX_REQUESTS = 16;
/** The kernel asks for the device's name as soon as the file is open. */
const INTRODUCE_MS = 5000;

export interface CuseEvents {
  /** Lent for the call. */
  request(bytes: Uint8Array): void;
  /** The kernel has taken the device away. */
  failed(error: Error): void;
}

export class CuseChannel {
  /** `/dev/ttyU0` */
  readonly path: string;
  readonly #name: string;
  readonly #events: CuseEvents;
  readonly #file: DeviceFile;
  readonly #buffer = new Uint8Array(MAX_REQUEST_BYTES);
  #introduced: ((error?: Error) => void) | undefined;
  #over = false;

  private constructor(name: string, events: CuseEvents, introduced: (error?: Error) => void) {
    this.path = `/dev/${name}`;
    this.#name = name;
    this.#events = events;
    this.#introduced = introduced;
    this.#file = DeviceFile.open(CUSE, () => this.#read());
    this.#file.watch(READABLE);
  }

  /**
   * Makes `/dev/NAME`; requests come from then on.
   * @throws LinkSetupError LINK_UNAVAILABLE (no CUSE, no devtmpfs), LINK_PERMISSION, LINK_IN_USE, LINK_FAILED
   */
  static async open(name: string, events: CuseEvents): Promise<CuseChannel> {
    const path = `/dev/${name}`;
    if (existsSync(path)) throw new LinkSetupError("LINK_IN_USE", `${path} is there already`);
    let channel: CuseChannel | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const late = new LinkSetupError("LINK_FAILED", `${CUSE} did not ask for a name in ${INTRODUCE_MS} ms`);
        const timer = setTimeout(() => reject(late), INTRODUCE_MS);
        channel = new CuseChannel(name, events, (error) => {
          clearTimeout(timer);
          if (error === undefined) resolve();
          else reject(error);
        });
      });
      if (channel === undefined) throw new LinkSetupError("LINK_FAILED", `${CUSE} was not opened`);
      channel.#checkMade();
      return channel;
    } catch (error) {
      channel?.close();
      throw setupError(path, error);
    }
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
        const request = this.#buffer.subarray(0, bytes);
        if (this.#introduced === undefined) this.#events.request(request);
        else this.#introduce(request, this.#introduced);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #introduce(bytes: Uint8Array, introduced: (error?: Error) => void): void {
    const { opcode, unique, body } = decodeRequest(bytes);
    const { major, minor } = initIn.decode(body);
    if (opcode !== OPCODES.init || major !== FUSE_MAJOR)
      throw new LinkSetupError("LINK_UNAVAILABLE", `${CUSE} speaks protocol ${major}.${minor}, wanted ${FUSE_MAJOR}`);
    this.#file.write(encodeAnswer(unique, encodeInit(minor, this.#name)));
    this.#introduced = undefined;
    introduced();
  }

  /** The kernel says nothing of a device that it could not make: it gives up the file. */
  #checkMade(): void {
    if ((this.#file.poll() & POLL_ERR) !== 0)
      throw new LinkSetupError("LINK_IN_USE", `the kernel makes no ${this.path}: another device may have the name`);
    if (!existsSync(this.path))
      throw new LinkSetupError("LINK_UNAVAILABLE", `${this.path} did not appear: /dev is no devtmpfs here`);
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    this.close();
    const failure = error instanceof Error ? error : new Error(messageOf(error));
    if (this.#introduced === undefined) this.#events.failed(failure);
    else this.#introduced(failure);
  }
}

function setupError(path: string, error: unknown): LinkSetupError {
  if (error instanceof LinkSetupError) return error;
  const code = errnoOf(error);
  if (code === "ENOENT" || code === "ENODEV" || code === "ENXIO")
    return new LinkSetupError(
      "LINK_UNAVAILABLE",
      `${path}: this kernel has no ${CUSE}; load its driver: modprobe cuse`,
      {
        cause: error,
      },
    );
  if (code === "EACCES" || code === "EPERM")
    return new LinkSetupError("LINK_PERMISSION", `${path}: this user may not open ${CUSE} (${code})`, { cause: error });
  return new LinkSetupError("LINK_FAILED", `${path}: ${messageOf(error)}`, { cause: error });
}
