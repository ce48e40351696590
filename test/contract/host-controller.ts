/**
 * What every host controller promises (usbdivar.ts), as one suite. It runs against vhc, usbip in memory, usbip over
 * a socket, and ugenhc on a port made of the same device.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { setupPacket } from "../../src/dev/usb/usb.js";
import type { ChainResult, ChainStep, HcCompletion, HcTransfer, HostController } from "../../src/dev/usb/usbdivar.js";
import { TRANSFER_STATUSES } from "../../src/rumpuser/rumpuser.js";
import { ECHO, type EchoModel } from "../fakes/echo-model.js";

export interface ControllerRig {
  /** With the model plugged into root port 1; nothing has been reset. */
  readonly hc: HostController;
  readonly model: EchoModel;
  /** Pulls the device out. */
  readonly unplug: () => void;
  /** Lets what is under way happen until the promise settles. */
  readonly until: <T>(promise: Promise<T>) => Promise<T>;
  readonly dispose: () => Promise<void>;
}

const ADDRESS = 5;
const NOTHING = new Uint8Array(0);

type Control = { readonly type: number; readonly request: number; readonly value?: number; readonly index?: number };

const GET_DEVICE: Control = { type: 0x80, request: 6, value: 0x0100 };
const SET_HALT: Control = { type: 0x02, request: 3, index: ECHO.COUNT_IN };
const CLEAR_HALT: Control = { type: 0x02, request: 1, index: ECHO.COUNT_IN };

/** A control transfer; `data` is what is sent or the memory to fill. */
function control(request: Control, data = NOTHING, address = ADDRESS): HcTransfer {
  const setup = setupPacket.encode({
    bmRequestType: request.type,
    bRequest: request.request,
    wValue: request.value ?? 0,
    wIndex: request.index ?? 0,
    wLength: data.length,
  });
  return { address, endpointAddress: 0, type: "control", setup, data };
}

function bulk(endpointAddress: number, data: Uint8Array | number): HcTransfer {
  const type = endpointAddress === ECHO.SCRIPT_IN ? "interrupt" : "bulk";
  return { address: ADDRESS, endpointAddress, type, data: typeof data === "number" ? new Uint8Array(data) : data };
}

export function hostControllerContract(name: string, open: () => Promise<ControllerRig>): void {
  describe(`host controller contract: ${name}`, () => {
    let rig: ControllerRig;
    let broken: string[];

    /** Starts a transfer and watches the promises about `done`. */
    const start = (transfer: HcTransfer): { ended: Promise<HcCompletion>; cancel: () => void } => {
      let inside = true;
      let calls = 0;
      let cancel = (): void => undefined;
      const ended = new Promise<HcCompletion>((resolve) => {
        cancel = rig.hc.submit(transfer, (completion) => {
          if (inside) broken.push("done was called inside submit");
          if (++calls > 1) broken.push(`done was called ${calls} times`);
          resolve(completion);
        });
      });
      inside = false;
      return { ended, cancel };
    };
    const run = (transfer: HcTransfer): Promise<HcCompletion> => rig.until(start(transfer).ended);
    const all = (started: readonly { ended: Promise<HcCompletion> }[]): Promise<HcCompletion[]> =>
      rig.until(Promise.all(started.map(({ ended }) => ended)));

    const startChain = (steps: readonly ChainStep[]): { ended: Promise<ChainResult>; cancel: () => void } => {
      let inside = true;
      let calls = 0;
      let cancel = (): void => undefined;
      const ended = new Promise<ChainResult>((resolve) => {
        cancel = rig.hc.submitChain(steps, (result) => {
          if (inside) broken.push("done was called inside submitChain");
          if (++calls > 1) broken.push(`done of a chain was called ${calls} times`);
          resolve(result);
        });
      });
      inside = false;
      return { ended, cancel };
    };

    /** Default state, address, configured: USB 2.0 §9.1.2. */
    const bringUp = async (): Promise<void> => {
      await rig.until(rig.hc.ports.reset(1));
      expect(await run(control({ type: 0, request: 5, value: ADDRESS }, NOTHING, 0))).toMatchObject({ status: "ok" });
      expect(await run(control({ type: 0, request: 9, value: 1 }))).toMatchObject({ status: "ok" });
      await rig.until(rig.hc.claimInterface(ADDRESS, 0));
    };

    /** What was submitted before has reached the device when this has come back. */
    const barrier = (): Promise<HcCompletion> => run(control(GET_DEVICE, new Uint8Array(18)));

    beforeEach(async () => {
      rig = await open();
      broken = [];
    });
    afterEach(async () => {
      await rig.until(rig.hc.close());
      await rig.dispose();
      expect(broken).toEqual([]);
    });

    describe("root port", () => {
      test("reports the device, its speed, the changes, and forgets a change that was acknowledged", async () => {
        const { ports } = rig.hc;
        expect(ports.count).toBeGreaterThanOrEqual(1);
        expect(ports.status(1)).toMatchObject({ connected: true, enabled: false, connectChanged: true, speed: "high" });
        ports.acknowledge(1, "connect");
        expect(ports.status(1).connectChanged).toBe(false);
        await rig.until(ports.reset(1));
        expect(ports.status(1)).toMatchObject({ connected: true, enabled: true, resetChanged: true });
        ports.acknowledge(1, "reset");
        expect(ports.status(1)).toMatchObject({ connected: true, enabled: true, resetChanged: false });
      });

      test("the device answers at 0 after a reset, and at its address from SET_ADDRESS to the next (§9.4.6)", async () => {
        const descriptor = new Uint8Array(18);
        await rig.until(rig.hc.ports.reset(1));
        expect(await run(control(GET_DEVICE, descriptor, 0))).toEqual({ status: "ok", actualBytes: 18 });
        expect(descriptor).toEqual(rig.model.deviceDescriptor);
        await run(control({ type: 0, request: 5, value: ADDRESS }, NOTHING, 0));
        expect(await run(control(GET_DEVICE, descriptor))).toMatchObject({ status: "ok" });
        expect(await run(control(GET_DEVICE, descriptor, 0))).toMatchObject({ status: "disconnected" });
        expect(await run(control(GET_DEVICE, descriptor, 9))).toMatchObject({ status: "disconnected" });
        await rig.until(rig.hc.ports.reset(1));
        expect(await run(control(GET_DEVICE, descriptor))).toMatchObject({ status: "disconnected" });
        expect(await run(control(GET_DEVICE, descriptor, 0))).toMatchObject({ status: "ok" });
      });

      test("before the first reset nobody answers", async () => {
        expect(await run(control(GET_DEVICE, new Uint8Array(18), 0))).toEqual({
          status: "disconnected",
          actualBytes: 0,
        });
      });

      test("a reset ends what is in flight", async () => {
        await bringUp();
        const waiting = [1, 2, 3].map(() => start(bulk(ECHO.NAK_IN, 8)));
        await barrier();
        await rig.until(rig.hc.ports.reset(1));
        for (const { status } of await all(waiting)) expect(["cancelled", "disconnected"]).toContain(status);
      });

      test("a disabled port passes no traffic", async () => {
        await bringUp();
        const waiting = start(bulk(ECHO.NAK_IN, 8));
        await barrier();
        rig.hc.ports.disable(1);
        expect(["cancelled", "disconnected"]).toContain((await rig.until(waiting.ended)).status);
        expect(rig.hc.ports.status(1)).toMatchObject({ connected: true, enabled: false });
        expect(await run(control(GET_DEVICE, new Uint8Array(18)))).toMatchObject({ status: "disconnected" });
      });

      test("ports that are not there are empty, and resetting them is harmless", async () => {
        expect(rig.hc.ports.status(99)).toMatchObject({ connected: false, enabled: false });
        await rig.until(rig.hc.ports.reset(99));
        rig.hc.ports.disable(99);
        rig.hc.ports.acknowledge(99, "connect");
      });
    });

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

    describe("unplug", () => {
      test("ends everything in flight as disconnected, and says so at the port", async () => {
        await bringUp();
        rig.hc.ports.acknowledge(1, "connect");
        const changed = new Promise<void>((resolve) => {
          rig.hc.ports.onChange(() => {
            if (!rig.hc.ports.status(1).connected) resolve();
          });
        });
        const waiting = [ECHO.NAK_IN, ECHO.NAK_OUT, ECHO.LOOP_IN, ECHO.SCRIPT_IN].map((one) => start(bulk(one, 8)));
        await barrier();
        rig.unplug();
        for (const completion of await all(waiting))
          expect(completion).toEqual({ status: "disconnected", actualBytes: 0 });
        await rig.until(changed);
        expect(rig.hc.ports.status(1)).toMatchObject({ connected: false, enabled: false, connectChanged: true });
        for (const { cancel } of waiting) cancel();
        expect(await run(bulk(ECHO.COUNT_IN, 4))).toEqual({ status: "disconnected", actualBytes: 0 });
      });

      test("a reset of the empty port ends", async () => {
        rig.unplug();
        await rig.until(rig.hc.ports.reset(1));
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

    describe("close", () => {
      test("ends what is in flight, and later transfers, as disconnected; twice is once", async () => {
        await bringUp();
        const waiting = [ECHO.NAK_IN, ECHO.NAK_OUT].map((endpoint) => start(bulk(endpoint, 8)));
        await barrier();
        const closing = rig.hc.close();
        for (const completion of await all(waiting))
          expect(completion).toEqual({ status: "disconnected", actualBytes: 0 });
        await rig.until(closing);
        await rig.until(rig.hc.close());
        expect(await run(bulk(ECHO.COUNT_IN, 4))).toMatchObject({ status: "disconnected" });
      });
    });
  });
}
