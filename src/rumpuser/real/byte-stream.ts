/**
 * Byte streams over Node sockets: pud channels and USB/IP connections.
 *
 * Bytes are read into one large buffer per stream that is used again and again, and lent to the reader for the call: a
 * payload of 1 MiB costs a handful of wake-ups and no garbage.
 */
import net from "node:net";
import type { ByteStream } from "../rumpuser.js";

/** What one wake-up can bring. Larger than Linux's default socket buffers, so that one read empties them. */
const READ_BUFFER_BYTES = 256 * 1024;

/** What may be buffered for a slow peer before `write` says false. */
const HIGH_WATER_BYTES = 1 << 20;

/**
 * Takes over a connected socket that nobody has read from, as `net.connect` and `net.Server` make it. The socket
 * belongs to the stream afterwards: do not use it any more.
 */
export function streamOfSocket(socket: net.Socket): ByteStream {
  return new SocketStream((reader) => adopt(socket, reader));
}

/** A stream over an inherited descriptor of a stream socket. The stream owns the descriptor and closes it. */
export function streamOfFd(fd: number): ByteStream {
  return new SocketStream((reader) => openSocket({ fd }, reader));
}

/** The descriptor of a connected socket, which stays the socket's. @throws Error when it has none (destroyed). */
export function fdOfSocket(socket: net.Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle: { readonly fd?: unknown } | null };
  if (typeof handle?.fd !== "number" || handle.fd < 0) throw new Error("the socket has no descriptor (any more)");
  return handle.fd;
}

/** `onread` of `net.Socket`: where bytes go, and who is told. */
interface Reader {
  readonly buffer: Uint8Array;
  /** False pauses the socket. */
  callback(byteCount: number, buffer: Uint8Array): boolean;
}

/** `onread` is documented for the options of `net.Socket`; the types know it for `connect` only. */
function openSocket(source: { readonly fd: number } | { readonly handle: object }, onread: Reader): net.Socket {
  const options: object = { ...source, onread };
  return new net.Socket(options);
}

/**
 * Node offers `onread` to those who connect, not to those who accept. An accepted socket is a thin shell round its
 * handle: the handle moves to a new socket that has `onread`. Where a socket has no such handle, its "data" events
 * serve as well, at more cost.
 */
function adopt(socket: net.Socket, reader: Reader): net.Socket {
  socket.pause();
  const shell = socket as unknown as { _handle: unknown };
  const handle = shell._handle;
  const untouched = !socket.connecting && !socket.destroyed && socket.readableLength === 0;
  if (!untouched || typeof handle !== "object" || handle === null) {
    // A plain Uint8Array, as from the other way: slice() of a Buffer does not copy.
    socket.on("data", (chunk: Buffer) =>
      reader.callback(chunk.length, new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)),
    );
    return socket;
  }
  shell._handle = null;
  socket.destroy();
  return openSocket({ handle }, reader);
}

class SocketStream implements ByteStream {
  readonly #socket: net.Socket;
  #read: ((chunk: Uint8Array) => void) | undefined;
  #closed: ((reason: string) => void) | undefined;
  #drained: (() => void) | undefined;
  #reason: string | undefined;
  #closing = false;
  #over = false;
  #paused = false;
  #needsDrain = false;

  constructor(open: (reader: Reader) => net.Socket) {
    const socket = open({
      buffer: new Uint8Array(READ_BUFFER_BYTES),
      callback: (byteCount, buffer) => {
        if (!this.#closing) this.#read?.(byteCount === buffer.length ? buffer : buffer.subarray(0, byteCount));
        return !this.#paused;
      },
    });
    this.#socket = socket;
    socket.pause();
    socket.on("error", (error) => {
      this.#reason ??= error.message;
    });
    socket.on("end", () => {
      this.#reason ??= "the peer closed the stream";
      socket.destroySoon();
    });
    socket.on("close", () => this.#finish());
    socket.on("drain", () => {
      if (!this.#needsDrain) return;
      this.#needsDrain = false;
      this.#drained?.();
    });
  }

  onData(read: (chunk: Uint8Array) => void): void {
    this.#read = read;
    if (!this.#paused) this.resume();
  }

  onClose(closed: (reason: string) => void): void {
    this.#closed = closed;
  }

  onDrain(drained: () => void): void {
    this.#drained = drained;
  }

  write(parts: readonly Uint8Array[]): boolean {
    const socket = this.#socket;
    if (this.#over || !socket.writable) return true;
    socket.cork();
    for (const part of parts) socket.write(part);
    socket.uncork();
    if (socket.writableLength <= HIGH_WATER_BYTES) return true;
    this.#needsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (!this.#over && this.#read !== undefined) this.#socket.resume();
  }

  close(): void {
    this.#closing = true;
    this.#reason ??= "closed";
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#closing = true;
    this.#reason ??= "closed";
    this.#socket.destroy();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#closing = true;
    this.#closed?.(this.#reason ?? "closed");
  }
}
