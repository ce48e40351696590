/** Host controller contract: single transfers, and cancelling them. */
import { beforeEach, describe, expect, test } from "vitest";
import { TRANSFER_STATUSES } from "../../src/rumpuser/rumpuser.js";
import { ECHO } from "../fakes/echo-model.js";
import { ADDRESS, type Bench, bulk, CLEAR_HALT, control, NOTHING, SET_HALT } from "./host-controller-bench.js";

export function transferContract(rig: Bench): void {
  const { start, run, all, bringUp, barrier } = rig;

  describe("transfers", () => {
    beforeEach(() => bringUp());

    test("control OUT and IN carry their data stage", async () => {
      const message = Uint8Array.of(1, 2, 3, 4, 5);
      expect(await run(control({ type: 0x40, request: 1 }, message))).toEqual({ status: "ok", actualBytes: 5 });
      const reply = new Uint8Array(16).fill(0xee);
      expect(await run(control({ type: 0xc0, request: 2 }, reply))).toEqual({ status: "ok", actualBytes: 5 });
      expect(reply.subarray(0, 5)).toEqual(message);
      expect(reply.subarray(5).every((byte) => byte === 0xee)).toBe(true);
    });

    test.each(TRANSFER_STATUSES)("IN that ends as %s says so", async (status) => {
      rig.model.script(ECHO.SCRIPT_IN, status, status === "ok" ? Uint8Array.of(1, 2, 3) : NOTHING);
      expect(await run(bulk(ECHO.SCRIPT_IN, 8))).toEqual({ status, actualBytes: status === "ok" ? 3 : 0 });
    });

    test.each(TRANSFER_STATUSES)("OUT that ends as %s after 3 of 8 bytes says so", async (status) => {
      rig.model.script(ECHO.SCRIPT_OUT, status, 3);
      expect(await run(bulk(ECHO.SCRIPT_OUT, 8))).toEqual({ status, actualBytes: 3 });
    });

    test("an endpoint without bulk streams has none to give, and takes no transfer on one (USB 3.2 §4.4.6.4)", async () => {
      expect(await rig.until(rig.hc.allocStreams(ADDRESS, [ECHO.LOOP_OUT, ECHO.LOOP_IN], 16))).toBe(0);
      expect((await run({ ...bulk(ECHO.LOOP_IN, 8), streamId: 1 })).status).toBe("error");
      await rig.until(rig.hc.freeStreams(ADDRESS, [ECHO.LOOP_OUT, ECHO.LOOP_IN]));
    });

    test("what ends while it rests is told afterwards, at the latest when the rest is ended", async () => {
      const sent = start(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3)));
      rig.hc.rest?.(20);
      expect((await rig.until(sent.ended)).status).toBe("ok");
      rig.hc.rest?.(1_000_000);
      const received = start(bulk(ECHO.LOOP_IN, 8));
      rig.hc.rest?.(0);
      expect(await rig.until(received.ended)).toEqual({ status: "ok", actualBytes: 3 });
    });

    test("a controller that rests can be closed", async () => {
      const never = start(bulk(ECHO.LOOP_IN, 8));
      rig.hc.rest?.(1_000_000);
      await rig.until(rig.hc.close());
      expect((await rig.until(never.ended)).status).toBe("disconnected");
    });

    test("bytes that came before an error are delivered", async () => {
      const data = new Uint8Array(8);
      rig.model.script(ECHO.SCRIPT_IN, "error", Uint8Array.of(7, 8, 9));
      expect(await run(bulk(ECHO.SCRIPT_IN, data))).toEqual({ status: "error", actualBytes: 3 });
      expect([...data]).toEqual([7, 8, 9, 0, 0, 0, 0, 0]);
    });

    test("a device that sends more than was asked for overflows, and writes nothing past the end (§8.7.4)", async () => {
      const memory = new Uint8Array(16).fill(0xee);
      rig.model.script(ECHO.SCRIPT_IN, "ok", new Uint8Array(12).fill(1));
      expect(await run(bulk(ECHO.SCRIPT_IN, memory.subarray(0, 8)))).toMatchObject({ status: "overflow" });
      expect(memory.subarray(8).every((byte) => byte === 0xee)).toBe(true);
    });

    test("a short packet is a success with fewer bytes", async () => {
      await run(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3)));
      expect(await run(bulk(ECHO.LOOP_IN, 512))).toEqual({ status: "ok", actualBytes: 3 });
    });

    test("nothing is a message: a zero-length packet arrives (§5.8.3)", async () => {
      expect(await run(bulk(ECHO.LOOP_OUT, NOTHING))).toEqual({ status: "ok", actualBytes: 0 });
      await run(bulk(ECHO.LOOP_OUT, Uint8Array.of(9)));
      expect(await run(bulk(ECHO.LOOP_IN, 512))).toEqual({ status: "ok", actualBytes: 0 });
      expect(await run(bulk(ECHO.LOOP_IN, 512))).toEqual({ status: "ok", actualBytes: 1 });
    });

    test("sendZlp changes nothing about the bytes that count", async () => {
      const exact = { ...bulk(ECHO.LOOP_OUT, new Uint8Array(512).fill(4)), sendZlp: true };
      expect(await run(exact)).toEqual({ status: "ok", actualBytes: 512 });
      expect(await run(bulk(ECHO.LOOP_IN, 512))).toEqual({ status: "ok", actualBytes: 512 });
    });

    test("more than a megabyte goes through whole", async () => {
      const message = new Uint8Array((1 << 20) + 3).map((_, at) => at * 7);
      const back = new Uint8Array(message.length);
      expect(await run(bulk(ECHO.LOOP_OUT, message))).toEqual({ status: "ok", actualBytes: message.length });
      expect(await run(bulk(ECHO.LOOP_IN, back))).toEqual({ status: "ok", actualBytes: message.length });
      expect(Buffer.compare(back, message)).toBe(0);
    });

    test("transfers on one endpoint end in the order of their submission", async () => {
      const order: number[] = [];
      const started = Array.from({ length: 20 }, (_, n) => start(bulk(ECHO.LOOP_IN, new Uint8Array(4).fill(n))));
      const inData = started.map(async ({ ended }, n) => {
        await ended;
        order.push(n);
      });
      const outs = Array.from({ length: 20 }, (_, n) => start(bulk(ECHO.LOOP_OUT, Uint8Array.of(n))));
      await all(outs);
      await rig.until(Promise.all(inData));
      expect(order).toEqual(order.toSorted((a, b) => a - b));
      expect(order).toHaveLength(20);
    });

    test("several hundred in flight, each gets its own bytes", async () => {
      const count = 300;
      const memory = Array.from({ length: count }, () => new Uint8Array(4));
      const ins = memory.map((data) => start(bulk(ECHO.LOOP_IN, data)));
      const outs = memory.map((_, n) => start(bulk(ECHO.LOOP_OUT, Uint8Array.of(n >> 8, n & 0xff))));
      for (const completion of await all(outs)) expect(completion).toEqual({ status: "ok", actualBytes: 2 });
      for (const completion of await all(ins)) expect(completion).toEqual({ status: "ok", actualBytes: 2 });
      memory.forEach((data, n) => expect([data[0], data[1]]).toEqual([n >> 8, n & 0xff]));
    });

    test("an endpoint that waits does not hold up another", async () => {
      const waiting = start(bulk(ECHO.NAK_IN, 8));
      expect(await run(bulk(ECHO.COUNT_IN, 4))).toMatchObject({ status: "ok" });
      waiting.cancel();
      await rig.until(waiting.ended);
    });

    test("a halted endpoint stalls until the halt is cleared (§9.4.5)", async () => {
      expect(await run(control(SET_HALT))).toMatchObject({ status: "ok" });
      expect(await run(bulk(ECHO.COUNT_IN, 4))).toEqual({ status: "stalled", actualBytes: 0 });
      expect(await run(bulk(ECHO.COUNT_IN, 4))).toMatchObject({ status: "stalled" });
      expect(await run(control(CLEAR_HALT))).toMatchObject({ status: "ok" });
      expect(await run(bulk(ECHO.COUNT_IN, 4))).toEqual({ status: "ok", actualBytes: 4 });
    });

    test("a refused request stalls, and the default pipe goes on (§8.5.3.4)", async () => {
      expect(await run(control({ type: 0xc0, request: 0x7f }, new Uint8Array(4)))).toMatchObject({
        status: "stalled",
      });
      expect(await barrier()).toEqual({ status: "ok", actualBytes: 18 });
    });
  });

  describe("cancelling", () => {
    beforeEach(() => bringUp());

    test.each([ECHO.NAK_IN, ECHO.NAK_OUT])("a transfer on %i that waits ends as cancelled", async (endpoint) => {
      const waiting = start(bulk(endpoint, 64));
      await barrier();
      waiting.cancel();
      expect(await rig.until(waiting.ended)).toEqual({ status: "cancelled", actualBytes: 0 });
      expect(rig.model.pending).toEqual([]);
    });

    test("at once after submission", async () => {
      const waiting = start(bulk(ECHO.NAK_IN, 64));
      waiting.cancel();
      waiting.cancel();
      expect(await rig.until(waiting.ended)).toMatchObject({ status: "cancelled" });
    });

    test("of a transfer that can complete: one completion, whichever wins", async () => {
      const racing = start(bulk(ECHO.COUNT_IN, 4));
      racing.cancel();
      const { status, actualBytes } = await rig.until(racing.ended);
      expect(["ok 4", "cancelled 0"]).toContain(`${status} ${actualBytes}`);
      expect(await run(bulk(ECHO.COUNT_IN, 4))).toEqual({ status: "ok", actualBytes: 4 });
    });

    test("after the completion is nothing", async () => {
      const over = start(bulk(ECHO.COUNT_IN, 4));
      await rig.until(over.ended);
      over.cancel();
      expect(await barrier()).toMatchObject({ status: "ok" });
    });

    test("inside the completion is nothing", async () => {
      let cancel = (): void => undefined;
      await rig.until(
        new Promise<void>((resolve) => {
          cancel = rig.hc.submit(bulk(ECHO.COUNT_IN, 4), () => {
            cancel();
            resolve();
          });
        }),
      );
      expect(await barrier()).toMatchObject({ status: "ok" });
    });

    test("of one leaves its neighbours on the same endpoint alone", async () => {
      const [first, second, third] = [1, 2, 3].map(() => start(bulk(ECHO.LOOP_IN, 8)));
      await barrier();
      second?.cancel();
      expect(await rig.until(second?.ended ?? Promise.reject(new Error("no second")))).toMatchObject({
        status: "cancelled",
      });
      await run(bulk(ECHO.LOOP_OUT, Uint8Array.of(1)));
      await run(bulk(ECHO.LOOP_OUT, Uint8Array.of(2)));
      const rest = [first, third].flatMap((one) => one ?? []);
      expect(await all(rest)).toEqual([
        { status: "ok", actualBytes: 1 },
        { status: "ok", actualBytes: 1 },
      ]);
    });

    test("of many at once ends every one", async () => {
      const waiting = Array.from({ length: 50 }, () => start(bulk(ECHO.NAK_IN, 8)));
      await barrier();
      for (const { cancel } of waiting) cancel();
      for (const { status } of await all(waiting)) expect(status).toBe("cancelled");
    });
  });
}
