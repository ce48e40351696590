import { describe, expect, test } from "vitest";
import { TransferError, UnsupportedError } from "../../../src/dev/usb/errors.js";
import { REQUEST, setupPacket } from "../../../src/dev/usb/usb.js";
import { type Attachment, defineDriver, type Driver, type InPipe, type OutPipe } from "../../../src/dev/usb/usbdi.js";
import type { FunctionDescription } from "../../../src/vdev/descriptor-set.js";
import { UsbFunction } from "../../../src/vdev/function.js";
import { makeRig, plugIn, treeNames } from "./rig.js";

const ECHO: FunctionDescription = {
  speed: "high",
  vendor: 0x1209,
  product: 0x0001,
  revision: 0x0100,
  manufacturer: "ACME",
  productName: "Echo",
  serial: "42",
  interfaces: [
    {
      interfaceNumber: 0,
      interfaceClass: 0xff,
      interfaceSubClass: 1,
      interfaceProtocol: 0,
      endpoints: [
        { endpointAddress: 0x81, type: "bulk" },
        { endpointAddress: 0x02, type: "bulk" },
      ],
    },
  ],
};

const TRIPLE_ECHO: FunctionDescription = {
  ...ECHO,
  interfaces: [0, 1, 2].map((interfaceNumber) => ({
    interfaceNumber,
    interfaceClass: 0xff,
    interfaceSubClass: 1,
    interfaceProtocol: 0,
    endpoints: [
      { endpointAddress: 0x81 + interfaceNumber, type: "bulk" as const },
      { endpointAddress: 0x01 + interfaceNumber, type: "bulk" as const },
    ],
  })),
};

type EchoPipes = { readonly bulkIn: InPipe; readonly bulkOut: OutPipe };

/** A driver that hands its attachment to the test. */
function echoDriver(attach: (at: Attachment<EchoPipes>) => Promise<void> | void = () => {}): Driver {
  return defineDriver({
    name: "echo",
    match: [{ interfaceClass: 0xff, interfaceSubClass: 1 }],
    endpoints: { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } },
    attach: async (at) => attach(at),
  }) as Driver;
}

describe("explore", () => {
  test("a device is addressed, named from its strings, configured and given to the driver that matches", async () => {
    const rig = makeRig([echoDriver()]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(rig.notices).toMatchObject([
      { driver: "echo0", identity: { vendor: 0x1209, product: 1, manufacturer: "ACME", serial: "42", speed: "high" } },
    ]);
    expect(treeNames(rig)).toEqual(["vhc0", "usb0", "uhub0", "usbdev0", "echo0"]);
  });

  test("a composite device gets a driver for each interface, and the one that fails costs only itself", async () => {
    const rig = makeRig([
      echoDriver((at) => {
        if (at.interfaceNumber === 1) throw new Error("does not answer");
      }),
    ]);
    rig.vhc.plug(1, new UsbFunction(TRIPLE_ECHO));
    await rig.boot();
    expect(treeNames(rig).filter((name) => name.startsWith("echo"))).toEqual(["echo0", "echo1"]);
    expect(rig.log().join("\n")).toContain("interface 1: attach failed: does not answer");
  });

  test("of a composite device that is served in parts, only the interfaces listed are attached, claimed and shown", async () => {
    const siblings: number[][] = [];
    const refusals: unknown[] = [];
    const rig = makeRig(
      [
        echoDriver(async (at) => {
          siblings.push(at.siblings.map((one) => one.interfaceNumber));
          await at.takeSibling(1, {}).catch((error: unknown) => refusals.push(error));
        }),
      ],
      { interfaces: [0, 2] },
    );
    const claimed: number[] = [];
    const claim = rig.vhc.claimInterface.bind(rig.vhc);
    rig.vhc.claimInterface = async (address, interfaceNumber) => {
      claimed.push(interfaceNumber);
      await claim(address, interfaceNumber);
    };
    rig.vhc.plug(1, new UsbFunction(TRIPLE_ECHO));
    await rig.boot();
    expect(rig.notices.map((notice) => notice.interfaceNumber)).toEqual([0, 2]);
    expect(claimed).toEqual([0, 2]);
    expect(siblings).toEqual([[2], [0]]);
    expect(refusals).toEqual([expect.any(UnsupportedError), expect.any(UnsupportedError)]);
  });

  test("a device that has none of the interfaces listed is left alone", async () => {
    const rig = makeRig([echoDriver()], { interfaces: [7] });
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(rig.notices).toEqual([]);
    expect(rig.log().join("\n")).not.toContain("no driver for");
  });

  test("a driver that leaves the device lets the next best one have it; its endpoints decide too", async () => {
    const tried: string[] = [];
    const picky: Driver = {
      name: "picky",
      match: [{ vendor: 0x1209, product: 1 }],
      endpoints: {},
      attach: async () => {
        tried.push("picky");
        throw new UnsupportedError("not today");
      },
    };
    const needy: Driver = {
      name: "needy",
      match: [{ vendor: 0x1209 }],
      endpoints: { status: { type: "interrupt", dir: "in" } },
      attach: async () => void tried.push("needy"),
    };
    const rig = makeRig([echoDriver(() => void tried.push("echo")), needy, picky]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(tried).toEqual(["picky", "echo"]);
    expect(rig.log().join("\n")).toContain("no interrupt in endpoint for status");
  });

  test("an alternate setting with the better driver is selected (USB 2.0 §9.4.10)", async () => {
    const [first] = ECHO.interfaces;
    if (first === undefined) throw new Error("no interface");
    const model = new UsbFunction({
      ...ECHO,
      interfaces: [
        { ...first, interfaceSubClass: 7, endpoints: [] },
        { ...first, alternateSetting: 1 },
      ],
    });
    const rig = makeRig([echoDriver()]);
    const selected: number[][] = [];
    rig.vhc.trace(({ transfer }) => {
      const setup = setupPacket.decode(transfer.setup ?? new Uint8Array(8));
      if (setup.bRequest === REQUEST.SET_INTERFACE) selected.push([setup.wIndex, setup.wValue]);
    });
    rig.vhc.plug(1, model);
    await rig.boot();
    expect(rig.notices).toHaveLength(1);
    expect(selected).toEqual([[0, 1]]);
  });

  test("nothing that matches: said with the class, and nothing is left", async () => {
    const rig = makeRig([]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(rig.log().join("\n")).toContain("no driver for class ff/01/00");
    expect(treeNames(rig)).toContain("usbdev0");
  });
});

describe("plug and unplug while running", () => {
  test("a device that comes later is attached, one that goes is detached, the next one is attached again", async () => {
    const rig = makeRig([echoDriver()]);
    await rig.boot();
    expect(rig.notices).toEqual([]);
    for (let round = 1; round <= 3; round++) {
      await plugIn(rig, 1, new UsbFunction(ECHO));
      expect(rig.notices).toHaveLength(round);
      expect(treeNames(rig)).toContain("echo0");
      rig.vhc.unplug(1);
      await rig.settle();
      expect(treeNames(rig)).toEqual(["vhc0", "usb0", "uhub0"]);
    }
  });

  test("transfers in flight end as disconnected at once, and the driver's signal is aborted", async () => {
    const seen: unknown[] = [];
    let signal: AbortSignal | undefined;
    const rig = makeRig([
      echoDriver((at) => {
        signal = at.signal;
        void at.pipes.bulkIn.transfer(64, { timeoutMs: 0 }).catch((error: unknown) => seen.push(error));
      }),
    ]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    rig.vhc.unplug(1);
    await rig.settle();
    expect(seen).toMatchObject([{ code: "USB_DISCONNECTED" }]);
    expect(signal?.aborted).toBe(true);
  });

  test("unplugged at every transfer of boot and re-plugged: nothing hangs, nothing is left, it works again", async () => {
    const transfers = await countTransfers();
    expect(transfers).toBeGreaterThan(8);
    for (let nth = 1; nth <= transfers; nth++) {
      const rig = makeRig([echoDriver()]);
      rig.vhc.plug(1, new UsbFunction(ECHO));
      rig.vhc.fault(nth, "unplug");
      await rig.boot();
      expect(rig.unplugged).toHaveLength(1); // told by then: what is there is known
      await rig.settle();
      expect(treeNames(rig)).toEqual(["vhc0", "usb0", "uhub0"]);
      await plugIn(rig, 1, new UsbFunction(ECHO));
      expect(treeNames(rig)).toContain("echo0");
    }
  });

  test.each(["nak", "stalled", "error", "timedOut", "overflow"] as const)(
    "a transfer that ends %s anywhere in boot costs at most a retry or the device, never a hang",
    async (action) => {
      const transfers = await countTransfers();
      for (let nth = 1; nth <= transfers; nth++) {
        const rig = makeRig([echoDriver()]);
        rig.vhc.plug(1, new UsbFunction(ECHO));
        rig.vhc.fault(nth, action);
        await rig.boot();
        await rig.settle();
        expect(treeNames(rig).slice(0, 3)).toEqual(["vhc0", "usb0", "uhub0"]);
      }
    },
  );
});

describe("transfers", () => {
  test("a deadline ends a transfer that the device never answers", async () => {
    let failure: unknown;
    const rig = makeRig([
      echoDriver(async (at) => {
        failure = await at.pipes.bulkIn.transfer(64, { timeoutMs: 250 }).catch((error: unknown) => error);
      }),
    ]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(failure).toBeInstanceOf(TransferError);
    expect(failure).toMatchObject({ code: "USB_TIMED_OUT", message: expect.stringContaining("bulk in 81h, 64 bytes") });
  });

  test("a caller's abort ends it as cancelled, also when it came before", async () => {
    const failures: unknown[] = [];
    const rig = makeRig([
      echoDriver(async (at) => {
        const abort = new AbortController();
        const waiting = at.pipes.bulkIn.transfer(64, { signal: abort.signal });
        at.clock.startTimer(5, () => abort.abort());
        failures.push(await waiting.catch((error: unknown) => error));
        failures.push(await at.pipes.bulkIn.transfer(64, { signal: abort.signal }).catch((error: unknown) => error));
      }),
    ]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(failures).toMatchObject([{ code: "USB_CANCELLED" }, { code: "USB_CANCELLED" }]);
  });

  test("a chain that times out says so for every step, and a step that never started says that", async () => {
    const results: unknown[] = [];
    const rig = makeRig([
      echoDriver(async (at) => {
        const { bulkIn, bulkOut } = at.pipes;
        const hung = [
          { pipe: bulkIn, into: new Uint8Array(8) },
          { pipe: bulkOut, data: new Uint8Array(8), after: { step: 0, minBytes: 8 } },
        ] as const;
        results.push(await at.runChain(hung, { timeoutMs: 100 }));
      }),
    ]);
    rig.vhc.plug(1, new UsbFunction(ECHO));
    await rig.boot();
    expect(results).toMatchObject([[{ status: "timedOut" }, { status: "timedOut" }]]);
  });
});

test("shutdown detaches everything, undos run with the bus still alive, and the controller is closed", async () => {
  const events: string[] = [];
  const rig = makeRig([
    echoDriver((at) => {
      at.onDetach(async () => {
        const { status } = await at.control.in(
          { type: "standard", recipient: "device", request: 0, value: 0, index: 0 },
          2,
        );
        events.push(`status ${status}`);
      });
    }),
  ]);
  rig.vhc.plug(1, new UsbFunction(ECHO));
  await rig.boot();
  await rig.sim.run(() => rig.kernel.shutdown());
  expect(events).toEqual(["status ok"]);
  expect(rig.kernel.mainbus.children).toEqual([]);
});

async function countTransfers(): Promise<number> {
  const rig = makeRig([echoDriver()]);
  rig.vhc.plug(1, new UsbFunction(ECHO));
  await rig.boot();
  return rig.vhc.transferCount;
}

test("who carries the bus is told when what hung on the controller has gone, after it was detached", async () => {
  const rig = makeRig([echoDriver()]);
  rig.vhc.plug(1, new UsbFunction(ECHO));
  await rig.boot();
  expect(rig.unplugged).toEqual([]);
  rig.vhc.unplug(1);
  await rig.settle();
  expect(rig.unplugged).toEqual([{ rootPort: 1, left: ["vhc0", "usb0", "uhub0"] }]);
});

test("a shutdown while a device is explored: it is not tried again, and nothing is warned of", async () => {
  let ended: Promise<void> | undefined;
  const rig = makeRig([
    echoDriver(() => {
      ended = rig.kernel.shutdown();
    }),
  ]);
  rig.vhc.plug(1, new UsbFunction(ECHO));
  await rig.boot().catch((error: unknown) => expect(error).toMatchObject({ name: "AbortError" }));
  await rig.settle();
  await ended;
  expect(rig.log().filter((line) => /^(warn|error)/.test(line))).toEqual([]);
  expect(treeNames(rig)).toEqual([]);
});
