/**
 * Sockets that are read into one buffer again and again (`onread` of `net.Socket`): a payload of 1 MiB costs a handful of
 * wake-ups and no garbage. "data" events allocate 64 KiB for every one of theirs. And how they are written: many parts at once.
 */
import net from "node:net";

/** What one wake-up can bring. Larger than Linux's default socket buffers, so that one read empties them. */
const READ_BUFFER_BYTES = 256 * 1024;

/**
 * Takes what has arrived: a view of the buffer, lent for the call. It stays as it is while the socket is paused.
 * @returns false: the socket has been paused.
 */
export type TakeChunk = (chunk: Uint8Array) => boolean;

/** A socket over an inherited descriptor of a stream socket. The socket owns the descriptor. */
export function readFd(fd: number, take: TakeChunk): net.Socket {
  return openSocket({ fd }, take);
}

/**
 * Reads a connected socket, as `net.connect` and `net.Server` make it and nobody has read it.
 *
 * Node offers `onread` to those who connect, not to those who accept. An accepted socket is a thin shell round its
 * handle: the handle moves to a new socket that has `onread`. Where a socket has no such handle, its "data" events
 * serve as well, at more cost.
 * @returns the socket to be used from now on, paused; the old one is not to be touched any more.
 */
export function readSocket(socket: net.Socket, take: TakeChunk): net.Socket {
  socket.pause();
  const shell = socket as unknown as { _handle: unknown };
  const handle = shell._handle;
  const untouched = !socket.connecting && !socket.destroyed && socket.readableLength === 0;
  if (!untouched || typeof handle !== "object" || handle === null) {
    // A plain Uint8Array, as from the other way: slice() of a Buffer does not copy.
    socket.on("data", (chunk: Buffer) => take(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)));
    return socket;
  }
  shell._handle = null;
  socket.destroy();
  return openSocket({ handle, allowHalfOpen: socket.allowHalfOpen }, take);
}

type Source = { readonly fd: number } | { readonly handle: object; readonly allowHalfOpen: boolean };

/** `onread` is documented for the options of `net.Socket`; the types know it for `connect` only. */
function openSocket(source: Source, take: TakeChunk): net.Socket {
  const onread = {
    buffer: new Uint8Array(READ_BUFFER_BYTES),
    callback: (byteCount: number, buffer: Uint8Array) =>
      take(byteCount === buffer.length ? buffer : buffer.subarray(0, byteCount)),
  };
  const options: object = { ...source, onread };
  const socket = new net.Socket(options);
  socket.pause();
  return socket;
}

/** What libuv's stream is to Node: `reading` says whether it reads. */
interface ReadingHandle {
  reading: boolean;
  readStart(): number;
  readStop(): number;
}

/** Of a socket that has been resumed once. Its stream goes on flowing: to pause and resume that takes three turns of Node's queues. */
export function stopReading(socket: net.Socket): void {
  const handle = readingHandleOf(socket);
  if (handle === undefined) socket.pause();
  else if (handle.reading) {
    handle.reading = false;
    handle.readStop();
  }
}

/** After `stopReading`. */
export function startReading(socket: net.Socket): void {
  const handle = readingHandleOf(socket);
  if (handle === undefined) socket.resume();
  else if (!handle.reading) {
    handle.reading = true;
    if (handle.readStart() !== 0) socket.destroy(new Error("the socket cannot be read any more"));
  }
}

/** Undefined: the socket has none (any more), or not of this kind, or reads no more into a buffer of ours. */
function readingHandleOf(socket: net.Socket): ReadingHandle | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle: Partial<ReadingHandle> | null | undefined };
  const isOurs = typeof handle?.reading === "boolean" && socket.readableFlowing === true && !socket.destroyed;
  return isOurs && handle.readStart !== undefined && handle.readStop !== undefined
    ? (handle as ReadingHandle)
    : undefined;
}

/** Writes the parts in one go; `sent` is called when the last of them has left, and not when the stream breaks before. */
export function writeParts(socket: net.Socket, parts: readonly Uint8Array[], sent?: () => void): void {
  const last = parts.length - 1;
  socket.cork();
  for (let index = 0; index <= last; index++) {
    const part = parts[index];
    if (part === undefined) continue;
    if (index === last && sent !== undefined) socket.write(part, (error) => (error ? undefined : sent()));
    else socket.write(part);
  }
  socket.uncork();
}
