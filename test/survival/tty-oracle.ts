/** What may become of a stream of bytes when driver processes die: pieces of it twice, or missing, and nothing else. */

/** So many bytes that agree are no accident in a stream of random ones. */
const SURE_BYTES = 12;

export interface Allowed {
  /** Places at which the stream may go back or ahead, and how far. */
  readonly jumps: number;
  readonly backBytes: number;
  readonly aheadBytes: number;
}

/** Random bytes, so that a place in them is known by a few. */
export function randomBytes(bytes: number, seed: number): Uint8Array {
  let state = seed * 2654435761 + 1;
  return Uint8Array.from({ length: bytes }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

/** What is wrong with what arrived of `sent`; undefined: nothing. It has to come to the end of `sent`. */
export function wrongStream(sent: Uint8Array, arrived: Uint8Array, allowed: Allowed): string | undefined {
  let at = 0;
  let jumps = 0;
  for (let n = 0; n < arrived.length; n++, at++) {
    if (arrived[n] === sent[at]) continue;
    const target = jump(sent, arrived, n, at, allowed) ?? jumpOverPiece(sent, arrived, n, at, allowed);
    if (target === undefined) return `byte ${n} is ${arrived[n]}, byte ${at} of what was sent is ${sent[at]}`;
    jumps += target.jumps;
    if (jumps > allowed.jumps) return `${jumps} jumps, the last from ${at} to ${target.at}`;
    n = target.n;
    at = target.at;
  }
  const missing = sent.length - at;
  if (missing === 0) return undefined;
  if (missing > 0 && missing <= allowed.aheadBytes && jumps < allowed.jumps) return undefined;
  return `it ends at ${at} of ${sent.length}`;
}

interface Jump {
  readonly n: number;
  readonly at: number;
  readonly jumps: number;
}

/** The stream went elsewhere here or a few bytes before, which agreed by accident. */
function jump(
  sent: Uint8Array,
  arrived: Uint8Array,
  n: number,
  at: number,
  { backBytes, aheadBytes }: Allowed,
): Jump | undefined {
  for (let earlier = 0; earlier < SURE_BYTES && earlier <= n; earlier++)
    for (let target = Math.max(0, at - earlier - backBytes); target <= at - earlier + aheadBytes; target++) {
      const bytes = Math.min(SURE_BYTES, arrived.length - (n - earlier), sent.length - target);
      if (bytes <= earlier) continue;
      let same = 0;
      while (same < bytes && arrived[n - earlier + same] === sent[target + same]) same++;
      if (same === bytes) return { n: n - earlier, at: target, jumps: 1 };
    }
  return undefined;
}

/** Two places with a piece between them that is too short to be sure of: what the chip held when its driver died. */
function jumpOverPiece(
  sent: Uint8Array,
  arrived: Uint8Array,
  n: number,
  at: number,
  allowed: Allowed,
): Jump | undefined {
  const around = sent.subarray(Math.max(0, at - allowed.backBytes), at + allowed.aheadBytes + SURE_BYTES);
  for (let bytes = 1; bytes < SURE_BYTES && n + bytes < arrived.length; bytes++) {
    const beyond = jump(sent, arrived, n + bytes, at, allowed);
    if (beyond !== undefined && Buffer.from(around).includes(Buffer.from(arrived.subarray(n, beyond.n))))
      return { ...beyond, jumps: 2 };
  }
  return undefined;
}
