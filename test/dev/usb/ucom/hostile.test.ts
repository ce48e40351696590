/** Devices that flood, lie, stall and vanish: bounded work, the right errors, nothing left behind. */
import { describe, expect, test } from "vitest";
import { TransferError } from "../../../../src/dev/usb/errors.js";
import type { Attachment, EndpointNeed, InPipe, OutPipe, PipesFor } from "../../../../src/dev/usb/usbdi.js";
import type { Device, Tty } from "../../../../src/rump/devsw.js";
import { createSeededRandom, createVirtualClock } from "../../../../src/rumpuser/simulated.js";
import { FtdiModel } from "../../../../src/vdev/serial-ftdi.js";
import { makeRig, plugIn, treeNames } from "../rig.js";
import { pattern } from "../../../vdev/bus.js";
import { attachSerial, CHIPS, Collector, DRIVERS, PLENTY, SETTINGS, UP, until } from "./rig.js";

const FAMILIES = ["acm", "ft232r", "cp2102", "ch340", "ch343", "pl2303-hx"] as const;

function makeOf(name: string) {
  const found = CHIPS.find((one) => one.name === name)?.make;
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

describe("unplug at every transfer", () => {
  test.each(FAMILIES)("%s: of attach and of use; everything ends, the node goes", async (name) => {
    const scenario = async (rig: ReturnType<typeof makeRig>): Promise<void> => {
      const tty = rig.device("ttyU0")?.device;
      if (tty?.kind !== "tty") return;
      const collector = new Collector();
      const outcome = await rig.sim.run(async () => {
        try {
          const port = await tty.open({ settings: SETTINGS, outputs: UP }, collector);
          port.grant(PLENTY);
          await port.write(pattern(300, 1));
          await port.status();
          await port.drain();
          await port.setOutputs({ dtr: false });
          await port.flush("both");
          await port.close();
          return "good";
        } catch (error) {
          return error;
        }
      });
      if (outcome !== "good") expect(outcome).toMatchObject({ code: "ENODEV" });
    };
    const run = async (nth: number | undefined): Promise<number> => {
      const rig = makeRig(DRIVERS);
      if (nth !== undefined) rig.vhc.fault(nth, "unplug");
      await rig.boot();
      await plugIn(rig, 1, makeOf(name)({ clock: rig.sim.clock }));
      await scenario(rig);
      const transfers = rig.vhc.transferCount;
      if (nth === undefined) return transfers;
      await rig.settle();
      expect(rig.kernel.devices, `after transfer ${nth}`).toEqual([]);
      expect(treeNames(rig).filter((one) => /^u(modem|ftdi|slsa|chcom|plcom)/.test(one))).toEqual([]);
      expect(rig.log().filter((line) => /^error u(modem|ftdi|slsa|chcom|plcom)/.test(line))).toEqual([]);
      expect(rig.sim.clock.pendingTimers).toBe(0);
      return transfers;
    };
    const transfers = await run(undefined);
    for (let nth = 1; nth <= transfers; nth++) await run(nth);
  });
});

describe("every request stalled, or never answered", () => {
  test.each(FAMILIES)(
    "%s: each transfer in turn ends as an error; the open ends, and a later one works",
    async (name) => {
      for (const action of ["stalled", "error", "nak"] as const) {
        const clean = await attachSerial(makeOf(name));
        const atRest = clean.vhc.transferCount;
        const { port } = await clean.openPort();
        await clean.sim.run(() => port.close());
        const count = clean.vhc.transferCount - atRest;
        for (let nth = 1; nth <= count; nth++) {
          const rig = await attachSerial(makeOf(name));
          rig.vhc.fault(rig.vhc.transferCount + nth, action);
          const first = await rig.openPort().catch((error: unknown) => error);
          if (first instanceof Error) expect(first).toMatchObject({ name: "DeviceError" });
          else await rig.sim.run(() => (first as Awaited<ReturnType<typeof rig.openPort>>).port.close());
          await rig.sim.clock.advance(30_000);
          const again = await rig.openPort();
          await rig.sim.run(() => again.port.close());
        }
      }
    },
  );
});

describe("storms", () => {
  test.each(FAMILIES)("%s: empty packets without an end cost few transfers, and data still comes", async (name) => {
    const rig = await attachSerial((options) => makeOf(name)({ ...options, wiring: "open" }));
    const { collector } = await rig.openPort();
    const model = rig.model.port(0);
    model.faults.add({ kind: "zlp", count: 1_000_000_000, afterBytes: 0 });
    await rig.sim.clock.advance(1_000);
    const before = rig.vhc.transferCount;
    await rig.sim.clock.advance(10_000);
    expect(rig.vhc.transferCount - before).toBeLessThan(10 * 150);
    model.faults.clear();
    model.uart.feed(Uint8Array.of(1, 2, 3));
    await until(rig, () => collector.bytes === 3, 200);
    expect([...collector.data]).toEqual([1, 2, 3]);
  });

  const NOTIFYING = ["acm", "ch340", "ch343", "pl2303-hx"];
  test.each(NOTIFYING)("%s: the same notification again and again is asked for more and more rarely", async (name) => {
    const rig = await attachSerial((options) => makeOf(name)({ ...options, wiring: "open" }));
    const { collector } = await rig.openPort();
    rig.model.port(0).faults.add({ kind: "notify", count: 1_000_000_000, afterBytes: 0 });
    rig.model.port(0).uart.setRing(true);
    await rig.sim.clock.advance(1_000);
    const before = rig.vhc.transferCount;
    await rig.sim.clock.advance(10_000);
    expect(rig.vhc.transferCount - before).toBeLessThan(10 * 40);
    expect(collector.statuses.length).toBeLessThan(5);
  });

  test("FTDI packets of one byte have no status: nothing is received, nothing underflows", async () => {
    const rig = await attachSerial((options) => new FtdiModel("ft232r", { ...options, wiring: "open" }));
    const { collector } = await rig.openPort();
    rig.model.port(0).faults.add({ kind: "shortStatus", count: 20, afterBytes: 0 });
    await rig.sim.clock.advance(1_000);
    expect(collector.bytes).toBe(0);
    rig.model.port(0).uart.feed(Uint8Array.of(5));
    await rig.sim.clock.advance(100);
    expect([...collector.data]).toEqual([5]);
  });

  test("an endpoint that halts is cleared; one that halts for ever ends the port with EIO", async () => {
    const rig = await attachSerial((options) => makeOf("ft232r")({ ...options, wiring: "open" }));
    const { collector } = await rig.openPort();
    await rig.sim.clock.advance(20);
    const { bulkIn, uart } = rig.model.port(0);
    bulkIn.halt();
    await rig.sim.clock.advance(100);
    uart.feed(Uint8Array.of(1));
    await rig.sim.clock.advance(100);
    expect([...collector.data]).toEqual([1]);
    for (let nth = 1; nth < 500; nth++) rig.vhc.fault(rig.vhc.transferCount + nth, "stalled");
    await rig.sim.clock.advance(10_000);
    expect(collector.closedWith?.code).toBe("EIO");
  });
});

/** An attachment whose device answers requests with zeroes and reads with whatever `fill` puts there. */
function fakeAttachment(fill: (data: Uint8Array) => Uint8Array): { at: Attachment<never>; tty: () => Tty } {
  const clock = createVirtualClock();
  let nowMs = 0;
  const published: Device[] = [];
  const pipe = {
    endpointAddress: 0x81,
    maxPacketBytes: 64,
    maxStreams: 0,
    clearHalt: () => Promise.resolve(),
  };
  const bulkIn: InPipe = {
    ...pipe,
    direction: "in",
    transfer: (maxBytes, { signal } = {}) =>
      signal?.aborted === true
        ? Promise.resolve({ status: "ok", data: new Uint8Array(0) })
        : Promise.resolve({ status: "ok", data: fill(new Uint8Array(maxBytes)) }),
    openReads: (_options, told) => {
      let isCancelled = false;
      const end = (bytes: number): void => {
        if (isCancelled) told([{ status: new TransferError("USB_CANCELLED", "cancelled"), data: new Uint8Array(0) }]);
        else told([{ status: "ok", data: fill(new Uint8Array(bytes)) }]);
      };
      return {
        start: (count, bytes) => {
          for (let n = 0; n < count; n++) void Promise.resolve().then(() => end(bytes));
        },
        tellRepeats: () => undefined,
        cancel: () => {
          isCancelled = true;
        },
        close: () => undefined,
      };
    },
  };
  const interruptIn: InPipe = { ...bulkIn, endpointAddress: 0x82 };
  const bulkOut: OutPipe = {
    ...pipe,
    direction: "out",
    transfer: (data) => Promise.resolve({ status: "ok", bytesSent: data.length }),
  };
  const pipes: Record<string, InPipe | OutPipe> = { bulkIn, bulkOut, interruptIn };
  const at: Attachment<PipesFor<Record<string, EndpointNeed>>> = {
    name: "fake0",
    identity: {
      vendor: 1,
      product: 1,
      revision: 0x0600,
      deviceClass: 0,
      deviceSubClass: 0,
      deviceProtocol: 0,
      manufacturer: "",
      productName: "",
      serial: "1",
      speed: "full",
    },
    interfaceNumber: 0,
    interfaceProtocols: [0],
    interrupted: false,
    extraDescriptors: [],
    options: {},
    siblings: [],
    takeSibling: () => Promise.reject(new Error("no sibling")),
    useAlternate: () => Promise.reject(new Error("no other alternate setting")),
    allocStreams: () => Promise.resolve(0),
    pipes: pipes as PipesFor<Record<string, EndpointNeed>>,
    control: {
      in: (_request, maxBytes) => Promise.resolve({ status: "ok", data: deviceBytes(maxBytes) }),
      out: (_request, data) => Promise.resolve({ status: "ok", bytesSent: data?.length ?? 0 }),
    },
    // A millisecond for each look: reads are never so close together that they count as a storm.
    clock: { nowMs: () => ++nowMs, startTimer: (_ms, fire) => clock.startTimer(0, fire) },
    signal: new AbortController().signal,
    runChain: (steps) => Promise.resolve(steps.map(() => ({ status: "ok", actualBytes: 1 }))),
    publish: (_className, device) => {
      published.push(device);
      return { name: "ttyU0", remove: () => undefined };
    },
    onDetach: () => undefined,
    log: () => undefined,
    tellMode: () => undefined,
    tellDemotion: () => undefined,
    random32: () => 0,
    rest: () => undefined,
    resetDevice: () => Promise.resolve(),
  };
  return {
    at: at as Attachment<never>,
    tty: () => {
      const [device] = published;
      if (device?.kind !== "tty") throw new Error("nothing was published");
      return device;
    },
  };
}

/** A device descriptor for the one that asks for it; otherwise just bytes. */
function deviceBytes(maxBytes: number): Uint8Array {
  const bytes = new Uint8Array(maxBytes);
  if (maxBytes === 18) bytes.set([18, 1, 0x10, 0x01, 0, 0, 0, 64]);
  return bytes;
}

describe("10^6 packets of noise", () => {
  const PACKETS = 1_000_000;

  test.each(DRIVERS.map((driver) => [driver.name, driver] as const))(
    "%s",
    async (name, driver) => {
      const random = createSeededRandom(name.length);
      const noise = new Uint8Array(1 << 20);
      random.fill(noise);
      let packets = 0;
      let at = 0;
      const rig = fakeAttachment((data) => {
        at = (at + 61) % (noise.length - data.length - 1);
        // Whole transfers, short ones, and empty ones.
        const bytes = (noise[at] ?? 0) < 200 ? data.length : (noise[at + 1] ?? 0) % (data.length + 1);
        packets += Math.max(1, Math.ceil(bytes / 64));
        return noise.subarray(at, at + bytes);
      });
      await driver.attach(rig.at);
      let received = 0;
      let changes = 0;
      const port = await rig
        .tty()
        .open(
          { settings: SETTINGS, outputs: UP },
          { received: (data) => (received += data.length), changed: () => changes++, closed: () => undefined },
        );
      const heapBefore = process.memoryUsage().heapUsed;
      port.grant(Number.MAX_SAFE_INTEGER);
      // The readers run in promise jobs alone: they are stopped from within one.
      while (packets < PACKETS) await Promise.resolve();
      await port.close();
      expect(received).toBeGreaterThan(0);
      expect(changes).toBeGreaterThanOrEqual(0);
      expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(64 << 20);
    },
    60_000,
  );
});
