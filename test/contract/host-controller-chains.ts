/** Host controller contract: chains, and requests that cannot be. */
import { beforeEach, describe, expect, test } from "vitest";
import { setupPacket } from "../../src/dev/usb/usb.js";
import type { ChainStep, HcTransfer, StepCondition } from "../../src/dev/usb/usbdivar.js";
import { ECHO } from "../fakes/echo-model.js";
import { ADDRESS, type Bench, bulk, control, GET_DEVICE, SET_HALT } from "./host-controller-bench.js";

export function chainContract(rig: Bench): void {
  const { run, startChain, bringUp, barrier } = rig;

  describe("chains", () => {
    beforeEach(() => bringUp());

    const step = (transfer: HcTransfer, after?: ChainStep["after"]): ChainStep =>
      after === undefined ? { transfer } : { transfer, after };
    const beside = (transfer: HcTransfer, other: ChainStep["with"]): ChainStep =>
      other === undefined ? { transfer } : { transfer, with: other };

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

    test("a step waits for at most so many bytes, and for exactly so many", async () => {
      for (const [condition, starts] of [
        [{ step: 1, minBytes: 0, maxBytes: 3 }, true],
        [{ step: 1, minBytes: 3, maxBytes: 3 }, true],
        [{ step: 1, minBytes: 0, maxBytes: 2 }, false],
        [{ step: 1, minBytes: 4, maxBytes: 4 }, false],
      ] as const) {
        const result = await rig.until(
          startChain([
            step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3))),
            step(bulk(ECHO.LOOP_IN, 8), { step: 0, minBytes: 3 }),
            step(bulk(ECHO.COUNT_IN, 4), condition),
          ]).ended,
        );
        expect(result[2]?.status).toBe(starts ? "ok" : undefined);
      }
    });

    test("a step in flight with another goes on when that one ends as it should", async () => {
      const result = await rig.until(
        startChain([
          step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1, 2, 3))),
          beside(bulk(ECHO.LOOP_IN, 8), { step: 0, minBytes: 3, maxBytes: 3 }),
          beside(bulk(ECHO.COUNT_IN, 4), { step: 0, minBytes: 3 }),
        ]).ended,
      );
      expect(result.map((end) => end?.status)).toEqual(["ok", "ok", "ok"]);
    });

    test.each([
      ["stalled", (): Promise<unknown> => run(control(SET_HALT)), { step: 0, minBytes: 0 }],
      ["short", async (): Promise<unknown> => undefined, { step: 0, minBytes: 5 }],
    ] as const)(
      "a step in flight with one that ends %s is cancelled, and what waits for it never starts",
      async (_: string, prepare: () => Promise<unknown>, other: StepCondition) => {
        await prepare();
        const result = await rig.until(
          startChain([
            step(bulk(ECHO.COUNT_IN, 8)),
            beside(bulk(ECHO.NAK_IN, 8), other),
            beside(bulk(ECHO.NAK_OUT, 8), { step: 1, minBytes: 0 }),
            step(bulk(ECHO.LOOP_OUT, Uint8Array.of(1)), { step: 1, minBytes: 0 }),
          ]).ended,
        );
        expect(result.slice(1)).toEqual([
          { status: "cancelled", actualBytes: 0 },
          { status: "cancelled", actualBytes: 0 },
          undefined,
        ]);
        expect(await barrier()).toMatchObject({ status: "ok" });
      },
    );

    test("cancelling leaves nothing of the chain to take the place of what was in front of it", async () => {
      const chain = startChain([
        step(bulk(ECHO.LOOP_IN, 8)),
        beside(bulk(ECHO.LOOP_IN, 8), { step: 0, minBytes: 1 }),
        beside(bulk(ECHO.LOOP_IN, 8), { step: 0, minBytes: 1 }),
      ]);
      await barrier();
      chain.cancel();
      const ends = await rig.until(chain.ended);
      expect(ends.map((end) => end?.status)).toEqual(["cancelled", "cancelled", "cancelled"]);
      const [, echo] = await rig.until(
        startChain([step(bulk(ECHO.LOOP_OUT, Uint8Array.of(7))), step(bulk(ECHO.LOOP_IN, 8))]).ended,
      );
      expect(echo).toEqual({ status: "ok", actualBytes: 1 });
    });

    const nak = bulk(ECHO.NAK_IN, 8);
    test.each<readonly [string, readonly ChainStep[]]>([
      ["no step", []],
      ["nine steps", Array.from({ length: 9 }, () => ({ transfer: nak }))],
      ["nothing that starts at once", [step(nak, { step: 0, minBytes: 0 })]],
      ["a condition on a later step", [{ transfer: nak, with: { step: 1, minBytes: 0 } }, { transfer: nak }]],
      ["a condition on a step before the first", [{ transfer: nak }, step(nak, { step: -1, minBytes: 0 })]],
      [
        "a step with one that waits itself",
        [{ transfer: nak }, step(nak, { step: 0, minBytes: 0 }), beside(nak, { step: 1, minBytes: 0 })],
      ],
    ])("%s: refused, and nothing is sent", (_, steps) => {
      const before = rig.model.seen.length;
      expect(() => rig.hc.submitChain(steps, () => undefined)).toThrow(RangeError);
      expect(rig.model.seen.length).toBe(before);
    });

    test("eight steps run", async () => {
      const steps = Array.from({ length: 8 }, () => step(bulk(ECHO.COUNT_IN, 4)));
      expect(await rig.until(startChain(steps).ended)).toEqual(steps.map(() => ({ status: "ok", actualBytes: 4 })));
    });

    test("a chain with a control transfer in it keeps the order", async () => {
      const result = await rig.until(
        startChain([
          step(control(GET_DEVICE, new Uint8Array(18))),
          step(bulk(ECHO.COUNT_IN, 4), { step: 0, minBytes: 18, maxBytes: 18 }),
        ]).ended,
      );
      expect(result.map((end) => end?.actualBytes)).toEqual([18, 4]);
    });

    test("closing ends a chain once", async () => {
      const chain = startChain([step(bulk(ECHO.NAK_IN, 8)), step(bulk(ECHO.NAK_OUT, 8), { step: 0, minBytes: 0 })]);
      await barrier();
      await rig.until(rig.hc.close());
      expect(await rig.until(chain.ended)).toEqual([{ status: "disconnected", actualBytes: 0 }, undefined]);
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
