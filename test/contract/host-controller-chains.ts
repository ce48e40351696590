/** Host controller contract: chains, and requests that cannot be. */
import { beforeEach, describe, expect, test } from "vitest";
import { setupPacket } from "../../src/dev/usb/usb.js";
import type { ChainStep, HcTransfer } from "../../src/dev/usb/usbdivar.js";
import { ECHO } from "../fakes/echo-model.js";
import { ADDRESS, type Bench, bulk, control, SET_HALT } from "./host-controller-bench.js";

export function chainContract(rig: Bench): void {
  const { run, startChain, bringUp, barrier } = rig;

  describe("chains", () => {
    beforeEach(() => bringUp());

    const step = (transfer: HcTransfer, after?: ChainStep["after"]): ChainStep =>
      after === undefined ? { transfer } : { transfer, after };

    test("steps without a condition run together and are reported once, in order", async () => {
      const result = await rig.until(
        startChain([
          step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2))),
          step(bulk(ECHO.LOOP_IN, 8)),
          step(bulk(ECHO.COUNT_IN, 4)),
        ]).ended,
      );
      expect(result).toEqual([
        { status: "ok", actualBytes: 2 },
        { status: "ok", actualBytes: 2 },
        { status: "ok", actualBytes: 4 },
      ]);
    });

    test("a step starts when the one it waits for ended ok with enough bytes", async () => {
      const result = await rig.until(
        startChain([
          step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3))),
          step(bulk(ECHO.LOOP_IN, 8), { step: 0, minBytes: 3 }),
          step(bulk(ECHO.COUNT_IN, 4), { step: 1, minBytes: 4 }),
        ]).ended,
      );
      expect(result).toEqual([{ status: "ok", actualBytes: 3 }, { status: "ok", actualBytes: 3 }, undefined]);
    });

    test("after a surprise nothing starts that waits for it; the others run on", async () => {
      await run(control(SET_HALT));
      const result = await rig.until(
        startChain([
          step(bulk(ECHO.COUNT_IN, 4)),
          step(bulk(ECHO.LOOP_IN, 8), { step: 0, minBytes: 0 }),
          step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1))),
          step(bulk(ECHO.LOOP_OUT, Uint8Array.of(2)), { step: 1, minBytes: 0 }),
        ]).ended,
      );
      expect(result).toEqual([
        { status: "stalled", actualBytes: 0 },
        undefined,
        { status: "ok", actualBytes: 1 },
        undefined,
      ]);
    });

    test("cancelling ends what is in flight and starts nothing more", async () => {
      const chain = startChain([
        step(bulk(ECHO.COUNT_IN, 4)),
        step(bulk(ECHO.NAK_IN, 8)),
        step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1)), { step: 1, minBytes: 0 }),
      ]);
      await barrier();
      chain.cancel();
      chain.cancel();
      expect(await rig.until(chain.ended)).toEqual([
        { status: "ok", actualBytes: 4 },
        { status: "cancelled", actualBytes: 0 },
        undefined,
      ]);
    });

    test("an unplug ends a chain once", async () => {
      const chain = startChain([
        step(bulk(ECHO.NAK_IN, 8)),
        step(bulk(ECHO.NAK_OUT, 8)),
        step(bulk(ECHO.COUNT_IN, 4), { step: 0, minBytes: 0 }),
      ]);
      await barrier();
      rig.unplug();
      expect(await rig.until(chain.ended)).toEqual([
        { status: "disconnected", actualBytes: 0 },
        { status: "disconnected", actualBytes: 0 },
        undefined,
      ]);
    });
  });

  describe("odd requests end as completions", () => {
    beforeEach(() => bringUp());

    const setup = setupPacket.encode({ bmRequestType: 0x80, bRequest: 6, wValue: 0x100, wIndex: 0, wLength: 18 });
    const odd: Record<string, Partial<HcTransfer>> = {
      "a control transfer without setup": { type: "control", endpointAddress: 0 },
      "a setup packet of 7 bytes": { type: "control", endpointAddress: 0, setup: setup.subarray(0, 7) },
      "a setup packet of 9 bytes": { type: "control", endpointAddress: 0, setup: new Uint8Array(9) },
      "less memory than wLength": { type: "control", endpointAddress: 0, setup, data: new Uint8Array(17) },
      "bits that are reserved in the endpoint address": { type: "bulk", endpointAddress: 0xf1 },
      "an endpoint address of 256": { type: "bulk", endpointAddress: 0x100 },
      "a bulk transfer on the default pipe": { type: "bulk", endpointAddress: 0x80 },
      "an endpoint that the device does not have": { type: "bulk", endpointAddress: 0x8e },
      "an address of 200": { type: "bulk", endpointAddress: ECHO.COUNT_IN, address: 200 },
      "an address of -1": { type: "bulk", endpointAddress: ECHO.COUNT_IN, address: -1 },
    };

    test.each(Object.keys(odd))("%s", async (what) => {
      const transfer: HcTransfer = {
        address: ADDRESS,
        endpointAddress: 0,
        type: "control",
        data: new Uint8Array(18),
        ...odd[what],
      };
      const { status } = await run(transfer);
      expect(status).not.toBe("ok");
      expect(await barrier()).toEqual({ status: "ok", actualBytes: 18 });
    });

    test("SET_ADDRESS beyond 127 moves nothing (§9.4.6)", async () => {
      expect((await run(control({ type: 0, request: 5, value: 128 }))).status).not.toBe("ok");
      expect(await barrier()).toMatchObject({ status: "ok" });
    });

    test("interfaces may be claimed and released again and again", async () => {
      await rig.until(rig.hc.releaseInterface(ADDRESS, 0));
      await rig.until(rig.hc.claimInterface(ADDRESS, 0));
    });
  });
}
