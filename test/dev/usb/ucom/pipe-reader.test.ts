/** Reads that are in flight together, and what they end with. */
import { expect, test } from "vitest";
import { TransferError } from "../../../../src/dev/usb/errors.js";
import { MAX_READ_ERRORS, PipeReader } from "../../../../src/dev/usb/ucom/pipe-reader.js";
import type { InCompletion, InPipe, TransferOptions } from "../../../../src/dev/usb/usbdi.js";
import { createSimulatedRumpuser } from "../../../../src/rumpuser/simulated.js";

const READS = 32;

/** A pipe whose transfers end as the test says. */
class ScriptedPipe implements InPipe {
  readonly direction = "in";
  readonly endpointAddress = 0x81;
  readonly maxPacketBytes = 64;
  readonly maxStreams = 0;
  pending: { resolve(completion: InCompletion): void; reject(error: unknown): void }[] = [];

  async clearHalt(): Promise<void> {}

  transfer(_maxBytes: number, { signal }: TransferOptions = {}): Promise<InCompletion> {
    return new Promise((resolve, reject) => {
      this.pending.push({ resolve, reject });
      signal?.addEventListener("abort", () => reject(new TransferError("USB_CANCELLED", "cancelled")));
    });
  }

  failAll(): void {
    for (const { reject } of this.pending.splice(0)) reject(new TransferError("USB_IO", "a bus error"));
  }
}

function makeReader(reads = READS): {
  clock: ReturnType<typeof createSimulatedRumpuser>["clock"];
  pipe: ScriptedPipe;
  reader: PipeReader;
  taken: number[];
} {
  const { clock } = createSimulatedRumpuser({ seed: 1 });
  const pipe = new ScriptedPipe();
  const taken: number[] = [];
  const reader = new PipeReader(pipe, {
    clock,
    reads: { count: reads, bytes: 64 },
    mayRead: () => true,
    consume: (data) => {
      taken.push(data.length);
      return data.length > 0;
    },
    retried: () => undefined,
  });
  return { clock, pipe, reader, taken };
}

test("reads that fail together have failed once: so often the device may do that, and not once more", async () => {
  const { clock, pipe, reader } = makeReader();
  const ended = reader.run().catch((error: unknown) => error);
  for (let round = 1; round <= MAX_READ_ERRORS + 1; round++) {
    await clock.advance(100);
    expect([round, pipe.pending.length]).toEqual([round, READS]);
    pipe.failAll();
  }
  await clock.advance(100);
  expect(await ended).toMatchObject({ code: "USB_IO" });
  expect(pipe.pending.length).toBe(0);
});

test("what is taken in one turn is made up for when it is over; half of the reads are there all the time", async () => {
  const { clock, pipe, reader, taken } = makeReader();
  const ended = reader.run();
  await clock.advance(1);
  for (let turn = 0; turn < 10; turn++) {
    for (const { resolve } of pipe.pending.splice(0, READS / 2 - 1))
      resolve({ status: "ok", data: new Uint8Array(turn + 1) });
    await clock.advance(1);
    expect(pipe.pending.length).toBe(READS);
  }
  expect(taken.length).toBe(10 * (READS / 2 - 1));
  expect(taken).toEqual(taken.toSorted((a, b) => a - b));
  reader.stop();
  await ended;
  expect(clock.pendingTimers).toBe(0);
});

test("a device that bears one read has one", async () => {
  const { clock, pipe, reader, taken } = makeReader(1);
  const ended = reader.run();
  for (let turn = 0; turn < 10; turn++) {
    await clock.advance(1);
    expect(pipe.pending.length).toBe(1);
    pipe.pending.shift()?.resolve({ status: "ok", data: new Uint8Array(8) });
  }
  reader.stop();
  await ended;
  expect(taken.length).toBeGreaterThanOrEqual(9);
});

test("reads that say nothing are made up for when half of them are used up", async () => {
  const { clock, pipe, reader } = makeReader();
  const ended = reader.run();
  await clock.advance(1);
  const there: number[] = [];
  for (let n = 0; n < READS; n++) {
    pipe.pending.shift()?.resolve({ status: "ok", data: new Uint8Array(0) });
    await clock.advance(16);
    there.push(pipe.pending.length);
  }
  expect(Math.min(...there)).toBe(READS / 2 + 1);
  expect(there.filter((count) => count === READS).length).toBe(2);
  reader.stop();
  await ended;
});
