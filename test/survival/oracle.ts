/**
 * What a disk may hold after anything: kept beside the disk by whoever writes to it, with no knowledge of the code under
 * test.
 *
 * Every write has a number, which is written into each of its sectors together with the sector's own place. A write begins
 * when it is issued and ends when it is answered, if it ever is. A later write settles an earlier one when it began after
 * the earlier had ended; two that were under way together may have come either way.
 *
 * - As long as somebody serves the disk, a read sees a write that no answered one has settled.
 * - After power was lost, a sector holds a write that no durable one has settled: one that was answered before a flush was
 *   issued which was answered, or that forced unit access.
 */

export const SECTOR_BYTES = 512;

/** The medium at the beginning, and what was zeroed. */
const ZEROES = 0;
const NEVER = Number.POSITIVE_INFINITY;

interface IssuedWrite {
  readonly firstSector: number;
  readonly sectorCount: number;
  /** ZEROES, or a number of its own. */
  readonly stamp: number;
  readonly issuedAt: number;
  answeredAt: number;
  /** From when on it survives a loss of power. */
  durableAt: number;
  readonly forceUnitAccess: boolean;
}

export class Oracle {
  readonly #writes: IssuedWrite[] = [];
  #now = 0;
  #lastStamp = 0;

  constructor(sectorCount: number) {
    this.#writes.push({
      firstSector: 0,
      sectorCount,
      stamp: ZEROES,
      issuedAt: -1,
      answeredAt: 0,
      durableAt: 0,
      forceUnitAccess: true,
    });
  }

  /** A write is issued. @returns what it writes, and what to call when it is answered with success. */
  write(
    firstSector: number,
    sectorCount: number,
    forceUnitAccess: boolean,
  ): { data: Uint8Array; answered: () => void } {
    const stamp = ++this.#lastStamp;
    const data = new Uint8Array(sectorCount * SECTOR_BYTES);
    for (let at = 0; at < sectorCount; at++) data.set(sectorOf(stamp, firstSector + at), at * SECTOR_BYTES);
    return { data, answered: this.#issue(firstSector, sectorCount, stamp, forceUnitAccess) };
  }

  zero(firstSector: number, sectorCount: number, forceUnitAccess: boolean): () => void {
    return this.#issue(firstSector, sectorCount, ZEROES, forceUnitAccess);
  }

  /** A flush is issued. @returns what to call when it is answered with success. */
  flush(): () => void {
    const issuedAt = ++this.#now;
    return () => {
      const now = ++this.#now;
      for (const write of this.#writes)
        if (write.answeredAt < issuedAt) write.durableAt = Math.min(write.durableAt, now);
    };
  }

  /** A read is issued. @returns what to call with what it gave: the sectors that are wrong. */
  read(firstSector: number): (data: Uint8Array) => string[] {
    const issuedAt = ++this.#now;
    return (data) => {
      this.#now++;
      return this.#check(firstSector, data, (write) => write.answeredAt < issuedAt, "read");
    };
  }

  /** The whole medium after power was lost, and nobody wrote again what it cost. @returns the sectors that are wrong. */
  afterPowerLoss(medium: Uint8Array): string[] {
    return this.#check(0, medium, (write) => write.durableAt <= this.#now, "medium");
  }

  #issue(firstSector: number, sectorCount: number, stamp: number, forceUnitAccess: boolean): () => void {
    const write: IssuedWrite = {
      firstSector,
      sectorCount,
      stamp,
      issuedAt: ++this.#now,
      answeredAt: NEVER,
      durableAt: NEVER,
      forceUnitAccess,
    };
    this.#writes.push(write);
    return () => {
      write.answeredAt = ++this.#now;
      if (forceUnitAccess) write.durableAt = this.#now;
    };
  }

  #check(firstSector: number, data: Uint8Array, settles: (write: IssuedWrite) => boolean, what: string): string[] {
    const wrong: string[] = [];
    for (let at = 0; at * SECTOR_BYTES < data.length; at++) {
      const sector = firstSector + at;
      const found = data.subarray(at * SECTOR_BYTES, (at + 1) * SECTOR_BYTES);
      const touching = this.#writes.filter(
        (write) => write.firstSector <= sector && sector < write.firstSector + write.sectorCount,
      );
      const settling = touching.filter(settles);
      const allowed = touching.filter((write) => !settling.some((later) => later.issuedAt > write.answeredAt));
      if (allowed.some((write) => sameBytes(found, sectorOf(write.stamp, sector)))) continue;
      wrong.push(
        `${what}: sector ${sector} holds ${describe(found)}; allowed ${allowed.map((w) => w.stamp).join(", ")}`,
      );
    }
    return wrong;
  }
}

/** Zeroes, or the stamp, the sector's place and a pattern that follows from both. */
function sectorOf(stamp: number, sector: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR_BYTES);
  if (stamp === ZEROES) return bytes;
  const words = new Uint32Array(bytes.buffer);
  for (let at = 0; at < words.length; at++)
    words[at] = Math.imul(stamp, 0x9e3779b1) ^ Math.imul(sector + at, 0x85ebca6b);
  words[0] = stamp;
  words[1] = sector;
  return bytes;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function describe(sector: Uint8Array): string {
  const [stamp = 0, place = 0] = new Uint32Array(sector.slice(0, 8).buffer);
  if (sector.every((byte) => byte === 0)) return "zeroes";
  if (sameBytes(sector, sectorOf(stamp, place))) return `write ${stamp} of sector ${place}`;
  return `bytes of no one write (${Buffer.from(sector.subarray(0, 8)).toString("hex")}…)`;
}
