/** Byte streams over Node sockets: pud channels and USB/IP connections. */
import type net from "node:net";
import type { ByteStream } from "../rumpuser.js";
import { forgetDescriptor } from "./event-loop.js";
import { readFd, readSocket, startReading, stopReading, type TakeChunk, writeParts } from "./socket-reader.js";

/** What may be buffered for a slow peer before `write` says false. */
const HIGH_WATER_BYTES = 1 << 20;

/**
 * Takes over a connected socket that nobody has read from, as `net.connect` and `net.Server` make it. The socket
 * belongs to the stream afterwards: do not use it any more.
 */
export function streamOfSocket(socket: net.Socket): ByteStream {
  return new SocketStream((take) => readSocket(socket, take));
}

/** A stream over an inherited descriptor of a stream socket. The stream owns the descriptor and closes it. */
export function streamOfFd(fd: number): ByteStream {
  return new SocketStream((take) => readFd(fd, take));
}

/** The descriptor of a socket that is connected or listens, which stays the socket's. @throws Error when it has none (destroyed). */
export function fdOfSocket(socket: net.Socket | net.Server): number {
  const fd = descriptorOf(socket);
  if (fd === undefined) throw new Error("the socket has no descriptor (any more)");
  return fd;
}

function descriptorOf(socket: net.Socket | net.Server): number | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle: { readonly fd?: unknown } | null | undefined };
  return typeof handle?.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
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

  constructor(open: (take: TakeChunk) => net.Socket) {
    const socket = open((chunk) => {
      if (!this.#closing) this.#read?.(chunk);
      return !this.#paused;
    });
    this.#socket = socket;
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

  write(parts: readonly Uint8Array[], sent?: () => void): boolean {
    const socket = this.#socket;
    if (this.#over || !socket.writable) return true;
    writeParts(socket, parts, sent);
    if (socket.writableLength <= HIGH_WATER_BYTES) return true;
    this.#needsDrain = true;
    return false;
  }

  pause(): void {
    const socket = this.#socket;
    this.#paused = true;
    stopReading(socket);
    // A socket that has something to write is waited for.
    const fd = socket.writableLength === 0 ? descriptorOf(socket) : undefined;
    if (fd !== undefined) forgetDescriptor(fd);
  }

  resume(): void {
    this.#paused = false;
    if (!this.#over && this.#read !== undefined) startReading(this.#socket);
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
