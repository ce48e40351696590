/** Host controller contract: reads that follow one another. A controller that has no queue of its own gets one of transfers. */
import { beforeEach, describe, expect, test } from "vitest";
import { readsBySubmit } from "../../src/dev/usb/reads.js";
import type { HcReadQueue, HcReads } from "../../src/dev/usb/usbdivar.js";
import type { Clock } from "../../src/rumpuser/rumpuser.js";
import { ECHO } from "../fakes/echo-model.js";
import { ADDRESS, type Bench, bulk } from "./host-controller-bench.js";

const SLOTS = 4;
const SLOT_BYTES = 8;

/** For a queue that the bus makes: what it tells later it tells soon. */
const NEXT_TURN: Clock = {
  nowMs: () => 0,
  startTimer: (_ms, fire) => {
    let isOver = false;
    queueMicrotask(() => {
      if (!isOver) fire();
    });
    return {
      cancel: () => {
        isOver = true;
      },
    };
  },
};

interface Told {
  readonly queue: HcReadQueue;
  /** Status and bytes of each, in the order in which they were told. */
  readonly ends: (readonly [string, ...number[]])[];
  /** Resolves when so many have been told. */
  readonly until: (count: number) => Promise<void>;
}

export function readContract(rig: Bench): void {
  function open(endpointAddress: number, repeatBytes = 0): Told {
    const ends: (readonly [string, ...number[]])[] = [];
    const waiting: { readonly count: number; readonly go: () => void }[] = [];
    let inside = false;
    const reads: HcReads = {
      address: ADDRESS,
      endpointAddress,
      type: endpointAddress === ECHO.SCRIPT_IN ? "interrupt" : "bulk",
      memory: new Uint8Array(SLOTS * SLOT_BYTES),
      slotBytes: SLOT_BYTES,
      repeatBytes,
    };
    const told = (all: readonly { readonly status: string; readonly data: Uint8Array }[]): void => {
      expect(inside).toBe(false);
      expect(all.length).toBeGreaterThan(0);
      for (const { status, data } of all) ends.push([status, ...data]);
      for (const { count, go } of waiting) if (ends.length >= count) go();
    };
    const { hc } = rig;
    const made =
      hc.openReads?.(reads, told) ??
      readsBySubmit((transfer, done) => hc.submit(transfer, done), NEXT_TURN, reads, told);
    const within = (act: () => void): void => {
      inside = true;
      act();
      inside = false;
    };
    return {
      queue: {
        start: (count, bytes) => within(() => made.start(count, bytes)),
        tellRepeats: (on) => within(() => made.tellRepeats(on)),
        cancel: () => within(() => made.cancel()),
        close: () => made.close(),
      },
      ends,
      until: async (count) => {
        if (ends.length < count) await rig.until(new Promise<void>((go) => waiting.push({ count, go })));
      },
    };
  }

  describe("reads", () => {
    beforeEach(() => rig.bringUp());

    test("are told in their order, and slots are used again and again", async () => {
      const { queue, ends, until } = open(ECHO.COUNT_IN);
      for (let round = 1; round <= 5; round++) {
        queue.start(SLOTS, SLOT_BYTES);
        await until(round * SLOTS);
      }
      expect(ends).toEqual(Array.from({ length: 5 * SLOTS }, (_, n) => ["ok", 0xca, 0xfe, 0, n + 1]));
      queue.close();
    });

    test("take what has come for each of them, as many bytes as they were started with", async () => {
      const { queue, ends, until } = open(ECHO.LOOP_IN);
      queue.start(1, 2);
      queue.start(2, 3);
      await rig.run(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3, 4, 5)));
      await until(2);
      expect(ends).toEqual([
        ["ok", 1, 2],
        ["ok", 3, 4, 5],
      ]);
      queue.cancel();
      await until(3);
      expect(ends[2]).toEqual(["cancelled"]);
      queue.close();
    });

    test("more than there are slots, or longer ones, are refused", async () => {
      const { queue, until } = open(ECHO.LOOP_IN);
      queue.start(3, SLOT_BYTES);
      expect(() => queue.start(2, SLOT_BYTES)).toThrow(RangeError);
      expect(() => queue.start(1, SLOT_BYTES + 1)).toThrow(RangeError);
      expect(() => queue.start(1, 0)).toThrow(RangeError);
      queue.cancel();
      await until(3);
      queue.close();
    });

    test.each(["stalled", "error", "overflow"] as const)(
      "one that ends as %s says so, with what it brought",
      async (status) => {
        const { queue, ends, until } = open(ECHO.SCRIPT_IN);
        queue.start(2, SLOT_BYTES);
        rig.model.script(ECHO.SCRIPT_IN, "ok", Uint8Array.of(1));
        rig.model.script(ECHO.SCRIPT_IN, status, status === "error" ? Uint8Array.of(2) : new Uint8Array(0));
        await until(2);
        expect(ends).toEqual([["ok", 1], status === "error" ? [status, 2] : [status]]);
        queue.close();
      },
    );

    test("an answer that is repeated may be kept; another one, and a longer one, are told", async () => {
      const { queue, ends, until } = open(ECHO.SCRIPT_IN, 2);
      const answers = [[1, 2], [1, 2], [1, 3], [1, 3, 9], [1, 3, 9], [1, 3], [7]];
      for (const answer of answers) rig.model.script(ECHO.SCRIPT_IN, "ok", Uint8Array.from(answer));
      while (ends.at(-1)?.[1] !== 7) {
        queue.start(1, SLOT_BYTES);
        await until(ends.length + 1);
      }
      const told = ends.map(([, ...bytes]) => bytes);
      const changes = told.filter((bytes, at) => String(bytes) !== String(told[at - 1]));
      expect(changes).toEqual([[1, 2], [1, 3], [1, 3, 9], [1, 3], [7]]);
      expect(told.filter((bytes) => bytes.length === 3).length).toBe(2);
      queue.close();
    });

    test("an answer that is repeated is told where that is asked for", async () => {
      const { queue, ends, until } = open(ECHO.SCRIPT_IN, 2);
      queue.tellRepeats(true);
      for (let n = 1; n <= 3; n++) {
        rig.model.script(ECHO.SCRIPT_IN, "ok", Uint8Array.of(1, 2));
        queue.start(1, SLOT_BYTES);
        await until(n);
      }
      expect(ends.map(([, ...bytes]) => bytes)).toEqual([
        [1, 2],
        [1, 2],
        [1, 2],
      ]);
      queue.close();
    });

    test("end with the device, and none can be started then", async () => {
      const { queue, ends, until } = open(ECHO.NAK_IN);
      queue.start(2, SLOT_BYTES);
      await rig.barrier();
      rig.unplug();
      await until(2);
      queue.start(1, SLOT_BYTES);
      await until(3);
      expect(ends).toEqual([["disconnected"], ["disconnected"], ["disconnected"]]);
      queue.close();
    });

    test("end with the controller", async () => {
      const { queue, ends, until } = open(ECHO.NAK_IN);
      queue.start(2, SLOT_BYTES);
      await rig.barrier();
      await rig.until(rig.hc.close());
      await until(2);
      expect(ends.map(([status]) => status)).toEqual(["disconnected", "disconnected"]);
      queue.close();
    });
  });
}
