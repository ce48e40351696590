/** What every ByteStream promises (rumpuser.ts), for the stream in memory and the one over sockets. */
import { expect, test } from "vitest";
import { concat } from "../../src/bytes.js";
import type { ByteStream } from "../../src/rumpuser/rumpuser.js";

export interface StreamRig {
  readonly ends: readonly [ByteStream, ByteStream];
  /** Lets what is on its way arrive until the promise settles. */
  readonly until: <T>(promise: Promise<T>) => Promise<T>;
  dispose(): Promise<void>;
}

/** Collects what arrives; `bytes(n)` resolves with the first n bytes. */
export function collect(stream: ByteStream) {
  const chunks: Uint8Array[] = [];
  let received = 0;
  let reason: string | undefined;
  let closes = 0;
  const waiters: (() => void)[] = [];
  const wake = (): void => {
    for (const waiter of waiters.splice(0)) waiter();
  };
  stream.onData((chunk) => {
    chunks.push(chunk.slice());
    received += chunk.length;
    chunk.fill(0xee); // lent for the call: the reader has copied what it keeps, others may write here
    wake();
  });
  stream.onClose((why) => {
    closes++;
    reason = why;
    wake();
  });
  const waitFor = async (condition: () => boolean): Promise<void> => {
    while (!condition())
      await new Promise<void>((resolve) => {
        waiters.push(resolve);
      });
  };
  return {
    async bytes(count: number) {
      await waitFor(() => received >= count || reason !== undefined);
      return concat(chunks).slice(0, count);
    },
    async closed() {
      await waitFor(() => reason !== undefined);
      return reason;
    },
    get received() {
      return received;
    },
    get closes() {
      return closes;
    },
  };
}

export function byteStreamContract(open: () => Promise<StreamRig>): void {
  const withRig = async (body: (rig: StreamRig) => Promise<void>): Promise<void> => {
    const rig = await open();
    try {
      await body(rig);
    } finally {
      await rig.dispose();
    }
  };

  test("parts arrive in order, whole", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const sink = collect(b);
      a.write([Uint8Array.of(1, 2), Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)]);
      a.write([Uint8Array.of(6)]);
      expect(await until(sink.bytes(6))).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6));
    }));

  test("nothing is lost that comes before a reader is installed", () =>
    withRig(async ({ ends: [a, b], until }) => {
      a.write([Uint8Array.of(1, 2, 3)]);
      const echo = collect(a);
      b.write([Uint8Array.of(9)]);
      await until(echo.bytes(1));
      expect(await until(collect(b).bytes(3))).toEqual(Uint8Array.of(1, 2, 3));
    }));

  test("both directions at once, megabytes", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const size = 3_000_000;
      const there = collect(a);
      const here = collect(b);
      a.write([new Uint8Array(size).fill(1)]);
      b.write([new Uint8Array(size).fill(2)]);
      expect((await until(here.bytes(size))).every((byte) => byte === 1)).toBe(true);
      expect((await until(there.bytes(size))).every((byte) => byte === 2)).toBe(true);
    }));

  test("close sends what is buffered, then both ends close once", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const here = collect(a);
      const there = collect(b);
      a.write([new Uint8Array(2_000_000).fill(7)]);
      a.close();
      expect((await until(there.bytes(2_000_000))).length).toBe(2_000_000);
      expect(await until(there.closed())).toBe("the peer closed the stream");
      await until(here.closed());
      a.close();
      a.destroy();
      b.destroy();
      expect([here.closes, there.closes]).toEqual([1, 1]);
    }));

  test("a paused reader stops the writer, and drain lets it go on", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const sink = collect(b);
      b.pause();
      const piece = new Uint8Array(1 << 20);
      let sent = 1;
      while (a.write([piece])) {
        sent++;
        expect(sent).toBeLessThan(100);
      }
      const drained = new Promise<void>((resolve) => {
        a.onDrain(resolve);
      });
      b.resume();
      await until(drained);
      expect((await until(sink.bytes(sent << 20))).length).toBe(sent << 20);
    }));

  test("a reader that pauses again and again gets everything, nothing meanwhile, and then the end", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const [echoed, there] = [collect(a), collect(b)];
      for (let n = 1; n <= 20; n++) {
        b.pause();
        b.pause();
        a.write([new Uint8Array(100).fill(n)]);
        b.write([Uint8Array.of(n)]);
        // What the reader writes meanwhile arrives, and by then the other side's bytes have, too.
        await until(echoed.bytes(n));
        expect(there.received).toBe((n - 1) * 100);
        b.resume();
        b.resume();
        expect((await until(there.bytes(n * 100))).at(-1)).toBe(n);
      }
      b.pause();
      a.write([Uint8Array.of(1)]);
      a.close();
      b.resume();
      await until(there.closed());
      expect(there.received).toBe(2001);
    }));

  test("a reader may pause, write and close inside the call", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const sink = collect(a);
      let calls = 0;
      b.onData(() => {
        calls++;
        b.pause();
        b.write([Uint8Array.of(0x55)]);
        b.close();
      });
      a.write([Uint8Array.of(1)]);
      expect(await until(sink.bytes(1))).toEqual(Uint8Array.of(0x55));
      await until(sink.closed());
      expect(calls).toBe(1);
    }));

  test("writing to a stream that has ended is harmless", () =>
    withRig(async ({ ends: [a, b], until }) => {
      const sink = collect(a);
      b.destroy();
      collect(b);
      await until(sink.closed());
      expect(a.write([Uint8Array.of(1)])).toBe(true);
      a.pause();
      a.resume();
    }));
}
