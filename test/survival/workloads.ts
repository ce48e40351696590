/** What programs do to a disk, seeded, with everything checked against the oracle as it goes. */
import type { Disk } from "../../src/rump/devsw.js";
import { createSeededRandom } from "../../src/rumpuser/simulated.js";
import { SECTORS } from "./machine.js";
import type { Oracle } from "./oracle.js";

/** A number below `limit`. */
export type Dice = (limit: number) => number;

export function dice(seed: number): Dice {
  const random = createSeededRandom(seed);
  const bytes = new Uint8Array(4);
  return (limit) => {
    random.fill(bytes);
    return new DataView(bytes.buffer).getUint32(0) % limit;
  };
}

/** Runs to its end. @returns what was wrong. @throws what a request of the disk was answered with. */
export type Workload = (disk: Disk, oracle: Oracle, roll: Dice) => Promise<string[]>;

async function write(disk: Disk, oracle: Oracle, first: number, count: number, forceUnitAccess = false): Promise<void> {
  const { data, answered } = oracle.write(first, count, forceUnitAccess);
  await disk.write(first, data, { forceUnitAccess });
  answered();
}

async function zero(disk: Disk, oracle: Oracle, first: number, count: number): Promise<void> {
  const answered = oracle.zero(first, count, false);
  await disk.writeZeroes(first, count);
  answered();
}

async function flush(disk: Disk, oracle: Oracle): Promise<void> {
  const answered = oracle.flush();
  await disk.flush();
  answered();
}

export async function read(disk: Disk, oracle: Oracle, first: number, count: number): Promise<string[]> {
  const check = oracle.read(first);
  return check(await disk.read(first, count));
}

/** A few clients, each doing one thing after another, all over the disk. */
const mixed: Workload = async (disk, oracle, roll) => {
  const wrong: string[] = [];
  const client = async (): Promise<void> => {
    for (let step = 0; step < 8; step++) {
      const count = 1 + roll(8);
      const first = roll(SECTORS - count);
      const what = roll(10);
      if (what < 5) await write(disk, oracle, first, count);
      else if (what < 6) await zero(disk, oracle, first, count);
      else if (what < 8) wrong.push(...(await read(disk, oracle, first, count)));
      else await flush(disk, oracle);
    }
  };
  await Promise.all([client(), client(), client(), client()]);
  return wrong;
};

/** A file system's journal: data, a flush, a commit record with FUA, then the same blocks again. */
const commits: Workload = async (disk, oracle, roll) => {
  for (let commit = 0; commit < 6; commit++) {
    const blocks = Array.from({ length: 3 }, () => 16 + roll(96));
    await Promise.all(blocks.map((block) => write(disk, oracle, block, 2)));
    await flush(disk, oracle);
    await write(disk, oracle, commit % 2, 1, true);
    await Promise.all(blocks.map((block) => write(disk, oracle, block, 1)));
  }
  return read(disk, oracle, 0, SECTORS);
};

/** Everything on the same few sectors at once, edges of the medium among them, with many requests waiting. */
const hotSpot: Workload = async (disk, oracle, roll) => {
  const wrong: string[] = [];
  for (let round = 0; round < 4; round++) {
    const requests = Array.from({ length: 10 }, async () => {
      const first = roll(6);
      const what = roll(8);
      if (what < 5) await write(disk, oracle, first, 1 + roll(4), what === 0);
      else if (what < 6) await zero(disk, oracle, SECTORS - 2, 2);
      else if (what < 7) wrong.push(...(await read(disk, oracle, first, 4)));
      else await flush(disk, oracle);
    });
    await Promise.all(requests);
  }
  return wrong;
};

export const WORKLOADS = { mixed, commits, hotSpot } as const satisfies Record<string, Workload>;
