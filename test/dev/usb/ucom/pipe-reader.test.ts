/** Reads that are in flight together, and what they end with. */
import { expect, test } from "vitest";
import { TransferError } from "../../../../src/dev/usb/errors.js";
import { MAX_READ_ERRORS, PipeReader, type PipeReaderOptions } from "../../../../src/dev/usb/ucom/pipe-reader.js";
import type { InCompletion, InPipe, ReadEnd, ReadQueue, ReadQueueOptions } from "../../../../src/dev/usb/usbdi.js";
import { createSimulatedRumpuser } from "../../../../src/rumpuser/simulated.js";

const READS = 32;

/** A pipe whose reads end as the test says. */
class ScriptedPipe implements InPipe {
  readonly direction = "in";
  readonly endpointAddress = 0x81;
  readonly maxPacketBytes = 64;
  readonly maxStreams = 0;
  inFlight = 0;
  #told: (ends: readonly ReadEnd[]) => void = () => undefined;
  isClosed = false;
  tellsRepeats = false;

  async clearHalt(): Promise<void> {}

  transfer(): Promise<InCompletion> {
    throw new Error("a reader has a queue");
  }

  openReads({ count }: ReadQueueOptions, told: (ends: readonly ReadEnd[]) => void): ReadQueue {
    this.#told = told;
    return {
      start: (more) => {
        this.inFlight += more;
        expect(this.inFlight).toBeLessThanOrEqual(count);
      },
      tellRepeats: (on) => {
        this.tellsRepeats = on;
      },
      cancel: () => {
        const cancelled = { status: new TransferError("USB_CANCELLED", "cancelled"), data: new Uint8Array(0) };
        queueMicrotask(() => this.end(Array.from({ length: this.inFlight }, () => cancelled)));
      },
      close: () => {
        expect(this.inFlight).toBe(0);
        this.isClosed = true;
      },
    };
  }

  /** These ended together. */
  end(ends: readonly ReadEnd[]): void {
    this.inFlight -= ends.length;
    if (ends.length > 0) this.#told(ends);
  }

  /** So many brought so many bytes each. */
  bring(count: number, bytes: number): void {
    this.end(Array.from({ length: count }, () => ({ status: "ok", data: new Uint8Array(bytes) })));
  }

  failAll(): void {
    const failed = { status: new TransferError("USB_IO", "a bus error"), data: new Uint8Array(0) };
    this.end(Array.from({ length: this.inFlight }, () => failed));
  }
}

function makeReader(
  reads = READS,
  more: Pick<PipeReaderOptions, "rest" | "isSending"> = {},
): {
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
    ...more,
  });
  return { clock, pipe, reader, taken };
}

test("reads that fail together have failed once: so often the device may do that, and not once more", async () => {
  const { clock, pipe, reader } = makeReader();
  const ended = reader.run().catch((error: unknown) => error);
  for (let round = 1; round <= MAX_READ_ERRORS + 1; round++) {
    await clock.advance(100);
    expect([round, pipe.inFlight]).toEqual([round, READS]);
    pipe.failAll();
  }
  await clock.advance(100);
  expect(await ended).toMatchObject({ code: "USB_IO" });
  expect(pipe.inFlight).toBe(0);
});

test("what is taken in one turn is made up for when it is over; half of the reads are there all the time", async () => {
  const { clock, pipe, reader, taken } = makeReader();
  const ended = reader.run();
  await clock.advance(1);
  for (let turn = 0; turn < 10; turn++) {
    pipe.bring(READS / 2 - 1, turn + 1);
    await clock.advance(1);
    expect(pipe.inFlight).toBe(READS);
  }
  expect(taken.length).toBe(10 * (READS / 2 - 1));
  expect(taken).toEqual(taken.toSorted((a, b) => a - b));
  reader.stop();
  await ended;
  expect(pipe.isClosed).toBe(true);
  expect(clock.pendingTimers).toBe(0);
});

test("a device that bears one read has one", async () => {
  const { clock, pipe, reader, taken } = makeReader(1);
  const ended = reader.run();
  for (let turn = 0; turn < 10; turn++) {
    await clock.advance(1);
    expect(pipe.inFlight).toBe(1);
    pipe.bring(1, 8);
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
    pipe.bring(1, 0);
    await clock.advance(16);
    there.push(pipe.inFlight);
  }
  expect(Math.min(...there)).toBe(READS / 2 + 1);
  expect(there.filter((count) => count === READS).length).toBe(2);
  reader.stop();
  await ended;
});

test("on a line that sends without a pause reads that say nothing are told and waited for, and only as long as it sends", async () => {
  const rests: number[] = [];
  let isSending = true;
  const { clock, pipe, reader } = makeReader(READS, { rest: (ms) => rests.push(ms), isSending: () => isSending });
  const ended = reader.run();
  reader.setRate(0.1, { count: READS, bytes: 64 });
  for (let n = 0; n < 25; n++) {
    await clock.advance(100);
    reader.sent(1000);
  }
  expect(pipe.tellsRepeats).toBe(true);
  for (let n = 0; n < 5; n++) {
    await clock.advance(16);
    pipe.bring(1, 0);
  }
  expect(Math.max(...rests)).toBeGreaterThan(16);
  isSending = false;
  await clock.advance(16);
  pipe.bring(1, 0);
  expect([rests.at(-1), pipe.tellsRepeats]).toEqual([0, false]);
  rests.length = 0;
  await clock.advance(16);
  pipe.bring(1, 0);
  expect(rests).toEqual([]);
  reader.stop();
  await ended;
});
