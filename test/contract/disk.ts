/**
 * What every `Disk` must do (src/rump/devsw.ts), whoever stands behind it.
 */
import { describe, expect, test } from "vitest";
import { DeviceError, type DeviceErrorCode, type Disk } from "../../src/rump/devsw.js";

/** A disk to run the contract on. */
export interface DiskRig {
  /** Writable, at least 64 blocks, holding zeroes; `canTrim` and `canWriteZeroes` as it likes. */
  readonly disk: Disk;
  /** The same medium, write protected. */
  readonly readOnly: Disk;
  /** Loses what is not on the medium, where the rig can do that; the disk goes on. */
  readonly powerCut?: () => void;
  /** Lets requests wait until the returned function is called, where the rig can do that. */
  readonly hold?: () => () => void;
  close(): Promise<void>;
}

/** Rejects with a DeviceError of one of these codes, and not by throwing from the call itself. */
async function expectCode(result: Promise<unknown>, ...codes: DeviceErrorCode[]): Promise<void> {
  const outcome = await result.then(
    () => "resolved",
    (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
  );
  expect(codes, `outcome ${outcome}`).toContain(outcome);
}

function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + seed * 13 + (at >> 8)) & 0xff);
}

/** @param make  A fresh rig for each test. */
export function diskContract(name: string, make: () => Promise<DiskRig>): void {
  async function using(body: (rig: DiskRig) => Promise<void>): Promise<void> {
    const rig = await make();
    try {
      await body(rig);
    } finally {
      await rig.close();
    }
  }

  describe(`disk contract: ${name}`, () => {
    test("info describes a disk that can be", () =>
      using(async ({ disk: { kind, info } }) => {
        expect(kind).toBe("disk");
        expect([512, 1024, 2048, 4096]).toContain(info.blockBytes);
        expect(info.blockCount).toBeGreaterThanOrEqual(64);
        expect(Number.isSafeInteger(info.blockCount * info.blockBytes)).toBe(true);
        expect(info.maxTransferBytes % info.blockBytes).toBe(0);
        expect(info.maxTransferBytes).toBeGreaterThanOrEqual(info.blockBytes);
      }));

    test("a read is exactly as long as asked and the caller's own", () =>
      using(async ({ disk }) => {
        const first = await disk.read(0, 3);
        expect(first.length).toBe(3 * disk.info.blockBytes);
        first.fill(0xff);
        expect(await disk.read(0, 3)).toEqual(new Uint8Array(3 * disk.info.blockBytes));
      }));

    test("memory that was taken back is in one read at a time, and shows nothing of the reads before", () =>
      using(async ({ disk }) => {
        const { blockBytes, blockCount, maxTransferBytes } = disk.info;
        const count = Math.min(Math.floor(blockCount / 2), maxTransferBytes / blockBytes);
        const data = pattern(count * blockBytes, 4);
        await disk.write(0, data);
        for (let round = 0; round < 3; round++) {
          const reads = await Promise.all([disk.read(0, count), disk.read(count, count), disk.read(0, count)]);
          expect(new Set(reads.map(({ buffer }) => buffer)).size).toBe(3);
          expect(reads.map((read) => Buffer.compare(read, data) === 0)).toEqual([true, false, true]);
          expect(reads[1]?.every((byte) => byte === 0)).toBe(true);
          for (const read of reads) disk.recycle?.(read);
        }
      }));

    test("what was written is read, block for block, at both ends of the disk", () =>
      using(async ({ disk }) => {
        const { blockBytes, blockCount } = disk.info;
        const head = pattern(2 * blockBytes, 1);
        const tail = pattern(blockBytes, 2);
        await disk.write(0, head);
        await disk.write(blockCount - 1, tail);
        expect(await disk.read(0, 2)).toEqual(head);
        expect(await disk.read(1, 1)).toEqual(head.subarray(blockBytes));
        expect(await disk.read(blockCount - 1, 1)).toEqual(tail);
        expect(await disk.read(2, 1)).toEqual(new Uint8Array(blockBytes));
      }));

    test("a transfer of maxTransferBytes works, one block more does not", () =>
      using(async ({ disk }) => {
        const { blockBytes, maxTransferBytes, blockCount } = disk.info;
        const most = maxTransferBytes / blockBytes;
        if (most >= blockCount) return;
        const data = pattern(maxTransferBytes, 3);
        await disk.write(0, data);
        expect(Buffer.compare(await disk.read(0, most), data)).toBe(0);
        await expectCode(disk.read(0, most + 1), "EINVAL");
        await expectCode(disk.write(0, new Uint8Array(maxTransferBytes + blockBytes)), "EINVAL");
      }));

    test("ranges outside the disk and odd sizes are refused", () =>
      using(async ({ disk }) => {
        const { blockBytes, blockCount } = disk.info;
        await expectCode(disk.read(blockCount, 1), "EINVAL", "ENOSPC");
        await expectCode(disk.read(blockCount - 1, 2), "EINVAL", "ENOSPC");
        await expectCode(disk.read(-1, 1), "EINVAL");
        await expectCode(disk.read(0.5, 1), "EINVAL");
        await expectCode(disk.read(Number.MAX_SAFE_INTEGER, 1), "EINVAL", "ENOSPC");
        await expectCode(disk.write(blockCount, new Uint8Array(blockBytes)), "EINVAL", "ENOSPC");
        await expectCode(disk.write(0, new Uint8Array(blockBytes - 1)), "EINVAL");
        expect(await disk.read(0, 1)).toEqual(new Uint8Array(blockBytes));
      }));

    test("a write protected disk is read and not changed", () =>
      using(async ({ readOnly }) => {
        expect(readOnly.info.readOnly).toBe(true);
        const before = await readOnly.read(0, 1);
        await expectCode(readOnly.write(0, new Uint8Array(readOnly.info.blockBytes).fill(1)), "EROFS");
        if (readOnly.info.canTrim) await expectCode(readOnly.trim(0, 1), "EROFS");
        if (readOnly.info.canWriteZeroes) await expectCode(readOnly.writeZeroes(0, 1), "EROFS");
        await readOnly.flush();
        expect(await readOnly.read(0, 1)).toEqual(before);
      }));

    test("zeroes are written and trimmed blocks can be used again, where the disk offers it", () =>
      using(async ({ disk }) => {
        const { blockBytes } = disk.info;
        await disk.write(4, pattern(4 * blockBytes, 5));
        if (disk.info.canWriteZeroes) {
          await disk.writeZeroes(5, 2);
          expect(await disk.read(5, 2)).toEqual(new Uint8Array(2 * blockBytes));
          expect(await disk.read(4, 1)).toEqual(pattern(4 * blockBytes, 5).subarray(0, blockBytes));
        } else await expectCode(disk.writeZeroes(5, 2), "EOPNOTSUPP");
        if (disk.info.canTrim) {
          await disk.trim(4, 4);
          await disk.write(4, pattern(blockBytes, 6));
          expect(await disk.read(4, 1)).toEqual(pattern(blockBytes, 6));
        } else await expectCode(disk.trim(4, 4), "EOPNOTSUPP");
      }));

    test("many requests at once are each answered once, with their own data", () =>
      using(async ({ disk }) => {
        const { blockBytes } = disk.info;
        const blocks = Array.from({ length: 64 }, (_, block) => block);
        await Promise.all(blocks.map((block) => disk.write(block, pattern(blockBytes, block))));
        const read = await Promise.all(blocks.map((block) => disk.read(block, 1)));
        for (const block of blocks) expect(read[block]).toEqual(pattern(blockBytes, block));
      }));

    test("flushed and FUA writes survive a power cut", () =>
      using(async ({ disk, powerCut }) => {
        if (powerCut === undefined) return;
        const { blockBytes } = disk.info;
        await disk.write(0, pattern(blockBytes, 1));
        await disk.flush();
        await disk.write(1, pattern(blockBytes, 2), { forceUnitAccess: true });
        await disk.write(2, pattern(blockBytes, 3), { forceUnitAccess: true });
        if (disk.info.canWriteZeroes) await disk.writeZeroes(2, 1, { forceUnitAccess: true });
        powerCut();
        expect(await disk.read(0, 1)).toEqual(pattern(blockBytes, 1));
        expect(await disk.read(1, 1)).toEqual(pattern(blockBytes, 2));
        const third = disk.info.canWriteZeroes ? new Uint8Array(blockBytes) : pattern(blockBytes, 3);
        expect(await disk.read(2, 1)).toEqual(third);
      }));

    test("an aborted signal ends a request that has not begun", () =>
      using(async ({ disk }) => {
        await expectCode(disk.read(0, 1, { signal: AbortSignal.abort() }), "ECANCELED");
        expect((await disk.read(0, 1)).length).toBe(disk.info.blockBytes);
      }));

    test("a signal ends a request that waits, and no other", () =>
      using(async ({ disk, hold }) => {
        if (hold === undefined) return;
        const release = hold();
        const controller = new AbortController();
        const cancelled = disk.read(0, 1, { signal: controller.signal });
        const other = disk.read(1, 1);
        await new Promise((resume) => setImmediate(resume));
        controller.abort();
        await expectCode(cancelled, "ECANCELED");
        release();
        expect((await other).length).toBe(disk.info.blockBytes);
      }));
  });
}
