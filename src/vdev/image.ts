/**
 * Backing stores of a disk model: bytes in memory or in a file. Everything is synchronous, so that a model behaves the
 * same under a virtual clock; the host's page cache makes that cheap.
 */
import { closeSync, fdatasyncSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

/** The image cannot be used, or the host failed to read or write it. The message names the file and the rule. */
export class ImageError extends Error {
  readonly code = "IMAGE";
  /** What failed, of an image that was in use: a medium error of the simulated disk. */
  readonly access: "read" | "write" | undefined;

  constructor(message: string, options: ErrorOptions & { readonly access?: "read" | "write" } = {}) {
    super(message, options);
    this.name = "ImageError";
    this.access = options.access;
  }
}

/** A medium as bytes. Offsets and counts are the caller's to check: they lie within `bytes`. */
export interface ImageStore {
  readonly bytes: number;
  readonly readOnly: boolean;
  /** @returns `count` bytes, lent until the next write to them. @throws ImageError */
  read(at: number, count: number): Uint8Array;
  /** Copies `data`. @throws ImageError */
  write(at: number, data: Uint8Array): void;
  /** Makes the range read as zeroes, without filling holes of a sparse file. @throws ImageError */
  zero(at: number, count: number): void;
  /** Returns when everything written is on the medium. @throws ImageError */
  sync(): void;
  close(): void;
}

/** One ArrayBuffer holds it; above this a file is the better place. */
export const MAX_MEMORY_BYTES = 2 ** 31;
const ZERO_CHUNK_BYTES = 1 << 20;

/** @throws ImageError unless `bytes` is a positive whole number of blocks. */
export function checkImageSize(bytes: number, blockBytes: number, what: string): void {
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw new ImageError(`${what}: ${bytes} bytes; a medium has at least one block of ${blockBytes} bytes`);
  if (bytes % blockBytes !== 0)
    throw new ImageError(
      `${what}: ${bytes} bytes is not a multiple of the block size ${blockBytes} (${bytes % blockBytes} left over)`,
    );
}

/** A medium in memory, all zeroes. Reads are views of it. */
export class MemoryStore implements ImageStore {
  readonly readOnly: boolean;
  readonly #memory: Uint8Array;

  /** `initial` is taken over, not copied. @throws ImageError when it would be larger than MAX_MEMORY_BYTES. */
  constructor(initial: number | Uint8Array, options: { readonly readOnly?: boolean } = {}) {
    if (typeof initial === "number" && initial > MAX_MEMORY_BYTES)
      throw new ImageError(
        `${initial} bytes in memory; at most ${MAX_MEMORY_BYTES} (2 GiB), use a sparse file for more (truncate -s)`,
      );
    this.#memory = typeof initial === "number" ? new Uint8Array(initial) : initial;
    this.readOnly = options.readOnly ?? false;
  }

  get bytes(): number {
    return this.#memory.length;
  }

  read(at: number, count: number): Uint8Array {
    return this.#memory.subarray(at, at + count);
  }

  write(at: number, data: Uint8Array): void {
    this.#memory.set(data, at);
  }

  zero(at: number, count: number): void {
    this.#memory.fill(0, at, at + count);
  }

  sync(): void {
    return;
  }

  close(): void {
    return;
  }
}

const OPEN_RULES: Readonly<Record<string, string>> = {
  ENOENT: "no such file; make one with `truncate -s SIZE FILE`",
  EACCES: "not permitted; a file that can only be read needs readOnly",
  EROFS: "it lies on a read-only file system; use readOnly",
  EISDIR: "it is a directory; an image is a file or a block device",
};

/** A medium in a file, which may be sparse and larger than memory. */
export class FileStore implements ImageStore {
  readonly bytes: number;
  readonly readOnly: boolean;
  readonly #path: string;
  readonly #zeroes = new Uint8Array(ZERO_CHUNK_BYTES);
  #fd: number | undefined;

  /** @throws ImageError when the file is missing, not permitted, not a regular file, or not a multiple of a block. */
  constructor(path: string, options: { readonly blockBytes: number; readonly readOnly?: boolean }) {
    this.#path = path;
    this.readOnly = options.readOnly ?? false;
    const fd = this.#attempt("open", () => openSync(path, this.readOnly ? "r" : "r+"));
    try {
      const stat = this.#attempt("stat", () => fstatSync(fd));
      if (!stat.isFile()) throw new ImageError(`image "${path}": not a regular file`);
      this.bytes = stat.size;
      checkImageSize(stat.size, options.blockBytes, `image "${path}"`);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.#fd = fd;
  }

  read(at: number, count: number): Uint8Array {
    const data = Buffer.allocUnsafe(count);
    this.#readInto(data, at);
    return data;
  }

  write(at: number, data: Uint8Array): void {
    const fd = this.#open();
    for (let done = 0; done < data.length; ) {
      done += this.#attempt("write", () => writeSync(fd, data, done, data.length - done, at + done));
    }
  }

  zero(at: number, count: number): void {
    const now = Buffer.allocUnsafe(Math.min(count, ZERO_CHUNK_BYTES));
    for (let done = 0; done < count; ) {
      const part = now.subarray(0, Math.min(now.length, count - done));
      this.#readInto(part, at + done);
      const zeroes = this.#zeroes.subarray(0, part.length);
      if (part.compare(zeroes) !== 0) this.write(at + done, zeroes);
      done += part.length;
    }
  }

  sync(): void {
    const fd = this.#open();
    if (!this.readOnly) this.#attempt("sync", () => fdatasyncSync(fd));
  }

  close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  #readInto(target: Uint8Array, at: number): void {
    const fd = this.#open();
    for (let done = 0; done < target.length; ) {
      const got = this.#attempt("read", () => readSync(fd, target, done, target.length - done, at + done));
      if (got === 0)
        throw new ImageError(
          `image "${this.#path}": ends at byte ${at + done} of ${this.bytes}; it was cut while in use`,
          { access: "read" },
        );
      done += got;
    }
  }

  #open(): number {
    if (this.#fd === undefined) throw new ImageError(`image "${this.#path}": used after it was closed`);
    return this.#fd;
  }

  #attempt<T>(what: string, act: () => T): T {
    try {
      return act();
    } catch (cause) {
      const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
      const rule = what === "open" ? OPEN_RULES[code] : undefined;
      const access = what === "write" || what === "sync" ? "write" : "read";
      throw new ImageError(`image "${this.#path}": cannot ${what}: ${rule ?? String(cause)}`, { cause, access });
    }
  }
}
