/** The far end of a serial line: a chardev of QEMU's, on a Unix socket that QEMU listens on. */
import { once } from "node:events";
import { connect } from "node:net";

const HEARD_MS = 30_000;
/** More that nobody asks for is dropped from the front. */
const MAX_HELD_BYTES = 1 << 20;

export class FarEnd {
  #socket;
  #held = Buffer.alloc(0);
  #echoes = false;
  #arrived = () => {};

  constructor(name, path) {
    this.name = name;
    this.path = path;
  }

  async say(bytes) {
    (await this.#connected()).write(bytes);
  }

  /** The next so many bytes. @throws Error: they did not come in time. */
  async heard(count) {
    await this.#connected();
    const giveUpAt = Date.now() + HEARD_MS;
    while (this.#held.length < count) {
      const leftMs = giveUpAt - Date.now();
      if (leftMs <= 0) throw new Error(`heard: ${this.#held.length} of ${count} bytes in ${HEARD_MS / 1000} s`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const bytes = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(count);
    return bytes;
  }

  async echo() {
    await this.#connected();
    this.#echoes = true;
  }

  close() {
    this.#socket?.destroy();
  }

  async #connected() {
    if (this.#socket !== undefined) return this.#socket;
    const socket = connect(this.path);
    await once(socket, "connect");
    socket.on("data", (bytes) => this.#receive(bytes));
    // QEMU that ends is reported by its exit.
    socket.on("error", () => {});
    this.#socket = socket;
    return socket;
  }

  #receive(bytes) {
    if (this.#echoes) this.#socket.write(bytes);
    else this.#held = Buffer.concat([this.#held, bytes]).subarray(-MAX_HELD_BYTES);
    this.#arrived();
  }
}
