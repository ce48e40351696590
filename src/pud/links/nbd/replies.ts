/**
 * The way out of one connection: answers of the transmission phase, gathered and sent together.
 *
 * Headers and short payloads are copied into one staging buffer, long payloads go out from where they are. Everything
 * that is answered before the microtask queue runs dry leaves in one write.
 */
import { viewOf } from "../../../bytes.js";
import { encodeText } from "../../text.js";
import type { Peer } from "./peer.js";
import { NBD_ERROR, REPLY_FLAG_DONE, REPLY_TYPE, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } from "./protocol.js";
import type { NbdErrorName, RequestHeader } from "./protocol.js";

/** The staging buffer of a quiet client, and of one that keeps 64 reads of 4 KiB in flight. */
const MIN_STAGING_BYTES = 16 * 1024;
const MAX_STAGING_BYTES = 256 * 1024;
/** Copying this much costs less than one more vector in the write. */
const COPY_BYTES = 8 * 1024;
/** Longer error texts are cut: they are for people. */
const MAX_MESSAGE_BYTES = 256;

const SIMPLE_BYTES = 16;
const CHUNK_BYTES = 20;
const OFFSET_BYTES = 8;
const ERROR_BYTES = 6;

export class ReplyQueue {
  readonly #peer: Peer;
  readonly #structured: boolean;
  readonly #onSent: (releasedBytes: number) => void;
  readonly #recycle: (data: Uint8Array) => void;
  #staging: Uint8Array;
  #view: DataView;
  #sealedTo = 0;
  #filledTo = 0;
  #parts: Uint8Array[] = [];
  /** Those of the parts that are data. */
  #lent: Uint8Array[] = [];
  /** The same, of each batch that has not left. */
  readonly #leaving = new Set<readonly Uint8Array[]>();
  #closed = false;
  #releaseBytes = 0;
  #batchesInFlight = 0;
  #scheduled = false;

  /**
   * @param structured  The client knows structured replies.
   * @param onSent      is told, when a batch has left, the sum of the `releaseBytes` of its answers.
   * @param recycle     is given the data that has left, or never will.
   */
  constructor(
    peer: Peer,
    structured: boolean,
    onSent: (releasedBytes: number) => void,
    recycle: (data: Uint8Array) => void,
  ) {
    this.#peer = peer;
    this.#structured = structured;
    this.#onSent = onSent;
    this.#recycle = recycle;
    this.#staging = new Uint8Array(MIN_STAGING_BYTES);
    this.#view = viewOf(this.#staging);
  }

  /** The request is done, and there is nothing to tell. */
  done(to: RequestHeader, releaseBytes: number): void {
    this.#simple(to, 0);
    this.#answered(releaseBytes);
  }

  /** What was read: after a "Simple reply message", or in NBD_REPLY_TYPE_OFFSET_DATA as the only chunk. Lent until it is sent. */
  data(to: RequestHeader, parts: readonly Uint8Array[], releaseBytes: number): void {
    if (this.#structured) {
      const at = this.#chunk(to, REPLY_TYPE.OFFSET_DATA, OFFSET_BYTES + to.lengthBytes, OFFSET_BYTES);
      this.#view.setUint32(at, Math.floor(to.offset / 0x1_0000_0000));
      this.#view.setUint32(at + 4, to.offset % 0x1_0000_0000);
    } else this.#simple(to, 0);
    for (const part of parts) this.#appendData(part);
    this.#answered(releaseBytes);
  }

  /** It failed: NBD_REPLY_TYPE_ERROR with a text for people, where the client knows structured replies. */
  error(to: RequestHeader, error: NbdErrorName, message: string, releaseBytes: number): void {
    if (this.#structured) {
      const text = encodeText(message, MAX_MESSAGE_BYTES);
      const at = this.#chunk(to, REPLY_TYPE.ERROR, ERROR_BYTES + text.length, ERROR_BYTES);
      this.#view.setUint32(at, NBD_ERROR[error]);
      this.#view.setUint16(at + 4, text.length);
      this.#append(text);
    } else this.#simple(to, NBD_ERROR[error]);
    this.#answered(releaseBytes);
  }

  /** The stream has broken: nothing leaves any more. */
  close(): void {
    this.#closed = true;
    for (const lent of this.#leaving) this.#recycleAll(lent);
    this.#leaving.clear();
  }

  #simple(to: RequestHeader, error: number): void {
    const at = this.#reserve(SIMPLE_BYTES);
    this.#view.setUint32(at, SIMPLE_REPLY_MAGIC);
    this.#view.setUint32(at + 4, error);
    this.#view.setUint32(at + 8, to.cookieHigh);
    this.#view.setUint32(at + 12, to.cookieLow);
  }

  /** Writes a chunk header; @returns where the `fixedBytes` that come after it go. */
  #chunk(to: RequestHeader, type: number, lengthBytes: number, fixedBytes: number): number {
    const at = this.#reserve(CHUNK_BYTES + fixedBytes);
    this.#view.setUint32(at, STRUCTURED_REPLY_MAGIC);
    this.#view.setUint16(at + 4, REPLY_FLAG_DONE);
    this.#view.setUint16(at + 6, type);
    this.#view.setUint32(at + 8, to.cookieHigh);
    this.#view.setUint32(at + 12, to.cookieLow);
    this.#view.setUint32(at + 16, lengthBytes);
    return at + CHUNK_BYTES;
  }

  #append(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#staging.set(bytes, at);
  }

  #appendData(data: Uint8Array): void {
    if (data.length <= COPY_BYTES) {
      this.#append(data);
      this.#recycle(data);
      return;
    }
    this.#seal();
    this.#parts.push(data);
    this.#lent.push(data);
  }

  /** @returns where `bytes` bytes may be written; they are part of the batch from now on. */
  #reserve(bytes: number): number {
    if (this.#filledTo + bytes > this.#staging.length) {
      this.#seal();
      this.#staging = new Uint8Array(Math.min(MAX_STAGING_BYTES, 2 * this.#staging.length));
      this.#view = viewOf(this.#staging);
      this.#sealedTo = 0;
      this.#filledTo = 0;
    }
    const at = this.#filledTo;
    this.#filledTo += bytes;
    return at;
  }

  #seal(): void {
    if (this.#filledTo === this.#sealedTo) return;
    this.#parts.push(this.#staging.subarray(this.#sealedTo, this.#filledTo));
    this.#sealedTo = this.#filledTo;
  }

  #answered(releaseBytes: number): void {
    this.#releaseBytes += releaseBytes;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    this.#seal();
    const parts = this.#parts;
    const releaseBytes = this.#releaseBytes;
    const lent = this.#lent;
    this.#parts = [];
    this.#releaseBytes = 0;
    this.#lent = []; // also when it was empty: the batch keeps its own, and the next one fills another
    if (this.#closed) return this.#recycleAll(lent);
    this.#batchesInFlight += 1;
    if (lent.length > 0) this.#leaving.add(lent);
    this.#peer.send(parts, () => this.#sent(releaseBytes, lent));
  }

  #recycleAll(lent: readonly Uint8Array[]): void {
    for (const data of lent) this.#recycle(data);
  }

  #sent(releaseBytes: number, lent: readonly Uint8Array[]): void {
    if (this.#leaving.delete(lent)) this.#recycleAll(lent);
    this.#batchesInFlight -= 1;
    if (this.#batchesInFlight === 0 && this.#filledTo === this.#sealedTo && this.#parts.length === 0) {
      // Nobody looks at the staging buffer any more: start again at its beginning.
      this.#sealedTo = 0;
      this.#filledTo = 0;
    }
    this.#onSent(releaseBytes);
  }
}
