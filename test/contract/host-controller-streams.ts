/** Host controller contract: bulk streams (USB 3.2 §4.4.6.4), for controllers that have them. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HcTransfer } from "../../src/dev/usb/usbdivar.js";
import { ECHO, EchoModel } from "../fakes/echo-model.js";
import { ADDRESS, Bench, bulk, control, type ControllerRig, NOTHING } from "./host-controller-bench.js";

const LOOP = [ECHO.LOOP_OUT, ECHO.LOOP_IN];
const SET_INTERFACE = { type: 0x01, request: 11 };

/** `open` makes a controller with the model in its root port 1. */
export function streamContract(name: string, open: (model: EchoModel) => Promise<ControllerRig>): void {
  describe(`host controller contract, bulk streams: ${name}`, () => {
    const rig = new Bench();
    const { run, all, start } = rig;
    beforeEach(async () => {
      await rig.open(open(new EchoModel({ streams: true })));
      await rig.bringUp();
    });
    afterEach(() => rig.close());

    const alloc = (endpoints: readonly number[], count: number): Promise<number> =>
      rig.until(rig.hc.allocStreams(ADDRESS, endpoints, count));
    const on = (streamId: number, transfer: HcTransfer): HcTransfer => ({ ...transfer, streamId });

    test("as many as the endpoints have, or as were asked for", async () => {
      expect(await alloc(LOOP, 33)).toBe(16);
      expect(await alloc(LOOP, 5)).toBe(5);
    });

    test("none, where one of the endpoints has none", async () => {
      expect(await alloc([...LOOP, ECHO.COUNT_IN], 16)).toBe(0);
      expect((await run(bulk(ECHO.COUNT_IN, 4))).status).toBe("ok");
    });

    test("each is a queue of its own: one that waits does not hold up the others", async () => {
      await alloc(LOOP, 16);
      const third = new Uint8Array(8);
      const waiting = start(on(2, bulk(ECHO.LOOP_IN, 8)));
      const [sent, received] = await all([
        start(on(3, bulk(ECHO.LOOP_OUT, Uint8Array.of(3, 3)))),
        start(on(3, bulk(ECHO.LOOP_IN, third))),
      ]);
      expect([sent, received]).toEqual([
        { status: "ok", actualBytes: 2 },
        { status: "ok", actualBytes: 2 },
      ]);
      expect([...third.subarray(0, 2)]).toEqual([3, 3]);
      waiting.cancel();
      expect(await rig.until(waiting.ended)).toEqual({ status: "cancelled", actualBytes: 0 });
    });

    test("in a chain, too", async () => {
      await alloc(LOOP, 16);
      const result = await rig.until(
        rig.startChain([
          { transfer: on(7, bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3))) },
          { transfer: on(7, bulk(ECHO.LOOP_IN, 8)), with: { step: 0, minBytes: 3 } },
        ]).ended,
      );
      expect(result.map((end) => end?.actualBytes)).toEqual([3, 3]);
    });

    test.each([0, 6, -1, 1.5, 65_536])("stream %s of 5 is not there", async (streamId) => {
      await alloc(LOOP, 5);
      expect((await run(on(streamId, bulk(ECHO.LOOP_IN, 8)))).status).toBe("error");
    });

    test("no transfer with a stream where none were allocated, and none without where they were", async () => {
      expect((await run(on(1, bulk(ECHO.LOOP_IN, 8)))).status).toBe("error");
      await alloc(LOOP, 5);
      expect((await run(bulk(ECHO.LOOP_IN, 8))).status).toBe("error");
    });

    test.each<readonly [string, () => Promise<unknown>]>([
      ["given back", () => rig.until(rig.hc.freeStreams(ADDRESS, LOOP))],
      ["gone with the alternate setting", () => run(control(SET_INTERFACE))],
      ["gone with a reset", () => rig.bringUp().then(() => rig.bringUp())],
    ])("%s", async (_, act) => {
      await alloc(LOOP, 5);
      await act();
      expect((await run(on(1, bulk(ECHO.LOOP_OUT, Uint8Array.of(1))))).status).toBe("error");
      expect((await run(bulk(ECHO.LOOP_OUT, Uint8Array.of(1)))).status).toBe("ok");
    });

    test("an unplug ends what waits on every stream, and there are none to be had any more", async () => {
      await alloc(LOOP, 5);
      const waiting = [1, 2, 3].map((streamId) => start(on(streamId, bulk(ECHO.LOOP_IN, 8))));
      await rig.barrier();
      rig.unplug();
      for (const { status } of await all(waiting)) expect(status).toBe("disconnected");
      await expect(alloc(LOOP, 5)).rejects.toMatchObject({ code: "USB_DISCONNECTED" });
      expect((await run(control({ type: 0x80, request: 6 }, NOTHING))).status).toBe("disconnected");
    });
  });
}
