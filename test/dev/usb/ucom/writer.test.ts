/** Writes on an OUT endpoint: what follows goes ahead, and is taken back before anything could be sent out of its order. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat } from "../../../../src/bytes.js";
import { WriteError } from "../../../../src/rump/devsw.js";
import type { Timer } from "../../../../src/rumpuser/rumpuser.js";
import { createSimulatedRumpuser } from "../../../../src/rumpuser/simulated.js";
import { Writer } from "../../../../src/dev/usb/ucom/writer.js";
import type { OutCompletion, OutPipe, PipeStep, StepResult, TransferOptions } from "../../../../src/dev/usb/usbdi.js";

const CHUNK_BYTES = 16 * 1024;

interface Queued {
  readonly data: Uint8Array;
  isCancelled: boolean;
  readonly end: (result: StepResult) => void;
  readonly fail: (error: Error) => void;
}

/** An endpoint whose transfers end as the test says, the first in the queue first; the others wait behind it. */
class ScriptedEndpoint implements OutPipe {
  readonly direction = "out";
  readonly endpointAddress = 0x02;
  readonly maxPacketBytes = 64;
  readonly maxStreams = 0;
  readonly queue: Queued[] = [];
  readonly received: Uint8Array[] = [];
  isHalted = false;

  transfer(): Promise<OutCompletion> {
    throw new Error("a writer runs chains");
  }

  async clearHalt(): Promise<void> {
    expect(this.queue).toHaveLength(0);
    this.isHalted = false;
  }

  runChain([step]: readonly PipeStep[], { signal, timeoutMs }: TransferOptions = {}): Promise<readonly StepResult[]> {
    if (step === undefined || !("data" in step)) throw new Error("not an OUT transfer");
    expect(timeoutMs).toBe(0);
    const { data } = step;
    if (signal?.aborted === true) return Promise.resolve([{ status: "cancelled", actualBytes: 0 }]);
    return new Promise((resolve, reject) => {
      const one: Queued = { data, isCancelled: false, end: (result) => resolve([result]), fail: reject };
      this.queue.push(one);
      expect(this.queue.length).toBeLessThanOrEqual(2);
      signal?.addEventListener("abort", () => this.#cancel(one), { once: true });
    });
  }

  /** The first one ends, with so many bytes at most. */
  end(status: "ok" | "stalled" | "error", maxBytes = Number.POSITIVE_INFINITY): void {
    const one = this.queue[0];
    if (one === undefined || one.isCancelled) return;
    if (this.isHalted) return this.#end(one, "stalled", 0);
    this.isHalted = status === "stalled";
    this.#end(one, status, status === "ok" ? one.data.length : Math.min(maxBytes, one.data.length - 1));
  }

  /** What was queued behind must have been cancelled before. */
  #cancel(one: Queued): void {
    const at = this.queue.indexOf(one);
    if (at < 0) return;
    expect(this.queue.slice(at + 1).every(({ isCancelled }) => isCancelled)).toBe(true);
    one.isCancelled = true;
    queueMicrotask(() => this.#end(one, "cancelled", at === 0 && !this.isHalted ? Math.min(7, one.data.length) : 0));
  }

  #end(one: Queued, status: StepResult["status"], actualBytes: number): void {
    this.queue.splice(this.queue.indexOf(one), 1);
    if (actualBytes > 0) this.received.push(one.data.slice(0, actualBytes));
    one.end({ status, actualBytes });
  }
}

interface Rig {
  readonly clock: ReturnType<typeof createSimulatedRumpuser>["clock"];
  readonly endpoint: ScriptedEndpoint;
  readonly writer: Writer;
}

function makeRig(): Rig {
  const { clock } = createSimulatedRumpuser({ seed: 1 });
  const endpoint = new ScriptedEndpoint();
  const startTimer = (_ms: number, fire: () => void): Timer => {
    const turn = setImmediate(fire);
    return { cancel: () => clearImmediate(turn) };
  };
  const at = { clock: { nowMs: () => clock.nowMs(), startTimer }, runChain: endpoint.runChain.bind(endpoint) };
  const writer = new Writer({ at, pipe: endpoint, hold: () => undefined, taken: () => undefined });
  return { clock, endpoint, writer };
}

const bytes = (length: number, first = 0): Uint8Array => Uint8Array.from({ length }, (_, at) => first + at * 7);
const lengths = ({ queue }: ScriptedEndpoint): number[] => queue.map(({ data }) => data.length);
const settle = async (): Promise<void> => {
  for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve));
};
const outcome = (write: Promise<void>): Promise<unknown> =>
  write.then(
    () => "ok",
    (error: unknown) => error,
  );

describe("the next write", () => {
  test("is queued behind the last transfer of the one before, and no third", async () => {
    const { endpoint, writer } = makeRig();
    const ends = [writer.write(bytes(CHUNK_BYTES + 10)), writer.write(bytes(20)), writer.write(bytes(30))].map(outcome);
    await settle();
    expect(lengths(endpoint)).toEqual([CHUNK_BYTES]);
    endpoint.end("ok");
    await settle();
    expect(lengths(endpoint)).toEqual([10, 20]);
    endpoint.end("ok");
    await settle();
    expect(lengths(endpoint)).toEqual([20, 30]);
    endpoint.end("ok");
    endpoint.end("ok");
    expect(await Promise.all(ends)).toEqual(["ok", "ok", "ok"]);
    expect(writer.idle).toBe(true);
  });

  test("that comes while one is under way goes ahead, too; not where transfers are to be held", async () => {
    const { endpoint, writer } = makeRig();
    void writer.write(bytes(10));
    await settle();
    void writer.write(bytes(20));
    await settle();
    expect(lengths(endpoint)).toEqual([10, 20]);
    writer.useSmallChunks(true);
    endpoint.end("ok");
    void writer.write(bytes(30));
    await settle();
    expect(lengths(endpoint)).toEqual([20]);
  });

  test("is taken back before a halt is cleared, and sent in its turn", async () => {
    const { endpoint, writer } = makeRig();
    const ends = [writer.write(bytes(100)), writer.write(bytes(20, 1))].map(outcome);
    await settle();
    endpoint.end("stalled", 64);
    await settle();
    expect(lengths(endpoint)).toEqual([36, 20]);
    endpoint.end("ok");
    endpoint.end("ok");
    expect(await Promise.all(ends)).toEqual(["ok", "ok"]);
    expect(concat(endpoint.received)).toEqual(concat([bytes(100), bytes(20, 1)]));
  });

  test("is sent when the one before fails or is given up, and is not begun when it is given up itself", async () => {
    const { endpoint, writer } = makeRig();
    const [first, second] = [new AbortController(), new AbortController()];
    const writes = [
      writer.write(bytes(50), first.signal),
      writer.write(bytes(20), second.signal),
      writer.write(bytes(30)),
    ];
    const ends = writes.map(outcome);
    await settle();
    second.abort();
    await settle();
    expect(lengths(endpoint)).toEqual([50]);
    first.abort();
    await settle();
    expect(lengths(endpoint)).toEqual([30]);
    endpoint.end("error", 0);
    expect(await Promise.all(ends)).toMatchObject([
      { code: "ECANCELED", bytesTaken: 7 },
      { code: "ECANCELED", bytesTaken: 0 },
      { code: "EIO", bytesTaken: 0 },
    ]);
  });
});

test("after an error of the driver itself nothing more is sent: what had gone ahead is taken back", async () => {
  const { endpoint, writer } = makeRig();
  const ends = [writer.write(bytes(10)), writer.write(bytes(20)), writer.write(bytes(30))].map(outcome);
  await settle();
  endpoint.queue.shift()?.fail(new TypeError("a bug"));
  await settle();
  expect(endpoint.queue).toEqual([]);
  expect(await Promise.all(ends)).toMatchObject([
    expect.any(TypeError),
    { code: "EIO", bytesTaken: 7 },
    { code: "EIO", bytesTaken: 0 },
  ]);
});

test("any number of writes that wait listen to no signal yet", async () => {
  const { endpoint, writer } = makeRig();
  const warnings: Error[] = [];
  const warned = (warning: Error): void => void warnings.push(warning);
  process.on("warning", warned);
  const ends = Array.from({ length: 40 }, () => outcome(writer.write(bytes(10))));
  await settle();
  writer.cancel();
  for (const end of ends) expect(await end).toMatchObject({ code: "ECANCELED" });
  process.off("warning", warned);
  expect(warnings).toEqual([]);
  expect(endpoint.queue).toEqual([]);
});

test("what is under way counts together, from when the first of them may have begun", async () => {
  const { clock, endpoint, writer } = makeRig();
  void writer.write(bytes(1000));
  void writer.write(bytes(500));
  await settle();
  expect(writer.underWay).toEqual({ startMs: 0, bytes: 1500 });
  await clock.advance(150);
  endpoint.end("ok");
  await settle();
  expect(writer.transferMs).toBe(150);
  expect(writer.underWay).toEqual({ startMs: 25, bytes: 500 });
  await clock.advance(10);
  endpoint.end("ok");
  await settle();
  expect([writer.transferMs, writer.underWay]).toEqual([10, undefined]);
});

test("whatever happens, the device has what the writes say it took, in their order", async () => {
  const step = fc.oneof(
    fc.record({ write: fc.constantFrom(1, 63, 100, CHUNK_BYTES, CHUNK_BYTES + 1, 40_000) }),
    fc.record({
      end: fc.constantFrom("ok" as const, "ok" as const, "stalled" as const, "error" as const),
      bytes: fc.nat(200),
    }),
    fc.record({ abort: fc.nat(5) }),
    fc.constant({ flush: true }),
    fc.constant({ settle: true }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { endpoint, writer } = makeRig();
      const writes: { data: Uint8Array; abort: AbortController; taken: Promise<number> }[] = [];
      for (const one of steps) {
        if ("write" in one) {
          const data = bytes(one.write, writes.length);
          const abort = new AbortController();
          const taken = outcome(writer.write(data, abort.signal)).then((end) =>
            end instanceof WriteError ? end.bytesTaken : data.length,
          );
          writes.push({ data, abort, taken });
        } else if ("end" in one) endpoint.end(one.end, one.bytes);
        else if ("abort" in one) writes.at(-1 - one.abort)?.abort.abort();
        else if ("flush" in one) writer.cancel();
        else await settle();
      }
      while (!writer.idle) {
        await settle();
        endpoint.end("ok");
      }
      const taken = await Promise.all(writes.map(async (write) => write.data.subarray(0, await write.taken)));
      expect(Buffer.compare(concat(endpoint.received), concat(taken))).toBe(0);
    }),
  );
});
