/** A stream of numbered words, in which every place is known by the bytes that stand there, and who follows it. */

/** An odd number, so that each word of 32 bits stands in one place only; its inverse finds that place. */
const FACTOR = 2_654_435_761;
const INVERSE = inverseOf(FACTOR);
/** So many bytes that agree are no accident. */
const SURE_BYTES = 16;

/** The bytes of the stream from `at` on. */
export function words(at: number, bytes: number): Uint8Array {
  const first = Math.floor(at / 4);
  const part = new Uint32Array(Math.ceil((at + bytes) / 4) - first);
  for (let n = 0; n < part.length; n++) part[n] = Math.imul(first + n, FACTOR);
  return new Uint8Array(part.buffer, at % 4, bytes);
}

/** A place at which the stream goes on elsewhere. */
export interface Jump {
  readonly from: number;
  readonly to: number;
  readonly atMs: number;
}

/** Knows where in the stream it is, and notes where that jumps. */
export class Follower {
  readonly jumps: Jump[] = [];
  #position = 0;
  #waiting = new Uint8Array(0);

  /** Of the byte that comes next. */
  get position(): number {
    return this.#position;
  }

  /** @throws Error when bytes are nowhere in the stream: they were changed. */
  feed(data: Uint8Array): void {
    let rest = this.#waiting.length === 0 ? data : Buffer.concat([this.#waiting, data]);
    this.#waiting = new Uint8Array(0);
    for (;;) {
      const same = sameBytes(rest, words(this.#position, rest.length));
      this.#position += same;
      rest = rest.subarray(same);
      if (rest.length === 0) return;
      if (rest.length < SURE_BYTES) {
        this.#waiting = rest.slice();
        return;
      }
      const to = placeOf(rest.subarray(0, SURE_BYTES));
      if (to === undefined)
        throw new Error(`changed after byte ${this.#position}: ${Buffer.from(rest.subarray(0, 64)).toString("hex")}`);
      this.jumps.push({ from: this.#position, to, atMs: performance.now() });
      this.#position = to;
    }
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): number {
  if (Buffer.compare(a, b) === 0) return a.length;
  let same = 0;
  while (a[same] === b[same]) same++;
  return same;
}

/** Where these bytes stand. */
function placeOf(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let skip = 0; skip < 4; skip++) {
    const at = (Math.imul(view.getUint32(skip, true), INVERSE) >>> 0) * 4 - skip;
    if (at >= 0 && Buffer.compare(words(at, bytes.length), bytes) === 0) return at;
  }
  return undefined;
}

/** Modulo 2^32, by Newton's iteration. */
function inverseOf(odd: number): number {
  let inverse = odd;
  for (let round = 0; round < 5; round++) inverse = Math.imul(inverse, 2 - Math.imul(odd, inverse));
  return inverse;
}
