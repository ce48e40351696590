/** Host controller contract: the root port, a device that goes, and the end. */
import { describe, expect, test } from "vitest";
import { ECHO } from "../fakes/echo-model.js";
import { ADDRESS, type Bench, bulk, control, GET_DEVICE, NOTHING } from "./host-controller-bench.js";

export function portContract(rig: Bench): void {
  const { start, run, all, bringUp, barrier } = rig;

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
}
