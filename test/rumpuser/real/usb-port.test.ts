import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { NativePort, PortEvents } from "../../../src/rumpuser/real/addon.js";
import { openUsbPort, portResult, transferStatus } from "../../../src/rumpuser/real/usb-port.js";
import {
  PORT_RESULTS,
  type PortCompletion,
  type PortTransfer,
  TRANSFER_STATUSES,
} from "../../../src/rumpuser/rumpuser.js";

/** The native port, which gives slots as the real one does: the last that was freed first. */
class FakeNative implements NativePort {
  static last: FakeNative | undefined;
  static openResult = 0;
  readonly onEvents: PortEvents;
  readonly submitted: unknown[][] = [];
  /** Slots; a chain's is negative. */
  readonly cancelled: number[] = [];
  readonly chains: number[][] = [];
  chainResult: number | Int32Array = 0;
  readonly calls: string[] = [];
  submitResult: number | undefined;
  result = 0;
  closed = 0;
  #free: number[] = [];
  #next = 0;

  constructor(onEvents: PortEvents) {
    this.onEvents = onEvents;
    FakeNative.last = this;
  }

  open(): number {
    return FakeNative.openResult;
  }
  submit(...request: unknown[]): number {
    this.submitted.push(request);
    return this.submitResult ?? this.#free.pop() ?? this.#next++;
  }
  cancel(slot: number): number {
    this.cancelled.push(slot);
    return 0;
  }
  submitChain(plan: Int32Array, buffers: readonly Uint8Array[]): number | Int32Array {
    this.chains.push(Array.from(plan.subarray(0, buffers.length * 10)));
    return this.chainResult;
  }
  cancelChain(chain: number): number {
    this.cancelled.push(-1 - chain);
    return 0;
  }
  openReads(...request: unknown[]): number {
    this.submitted.push(request);
    return this.submitResult ?? 2;
  }
  startRead(...read: number[]): number {
    this.calls.push(`read ${read.join(" ")}`);
    return this.result;
  }
  tellRepeats(reads: number, on: boolean): number {
    this.calls.push(`repeats ${reads} ${on}`);
    return 0;
  }
  cancelReads(reads: number): number {
    this.calls.push(`cancel ${reads}`);
    return 0;
  }
  closeReads(reads: number): number {
    this.calls.push(`close ${reads}`);
    return 0;
  }
  speed(): number {
    return 3;
  }
  hold(on: boolean): void {
    this.calls.push(`hold ${on}`);
  }

  close(): void {
    this.closed++;
  }
  configuration = () => this.#call("configuration");
  setConfiguration = (value: number) => this.#call(`setConfiguration ${value}`);
  claimInterface = (n: number) => this.#call(`claimInterface ${n}`);
  releaseInterface = (n: number) => this.#call(`releaseInterface ${n}`);
  setInterface = (n: number, alternate: number) => this.#call(`setInterface ${n} ${alternate}`);
  clearHalt = (endpoint: number) => this.#call(`clearHalt ${endpoint}`);
  reset = () => this.#call("reset");
  allocStreams = (count: number, endpoints: Uint8Array) => this.#call(`allocStreams ${count} ${endpoints.join()}`);
  freeStreams = (endpoints: Uint8Array) => this.#call(`freeStreams ${endpoints.join()}`);

  /** One wake-up: slot, status, bytes of each. */
  deliver(ends: readonly (readonly [number, number, number])[], gone = false, iso?: (Int32Array | undefined)[]): void {
    for (const [slot] of ends) if (slot >= 0) this.#free.push(slot);
    this.onEvents(Int32Array.from(ends.flat()), iso, gone);
  }

  async #call(what: string): Promise<number> {
    this.calls.push(what);
    await new Promise((resolve) => setImmediate(resolve));
    this.calls.push(`${what} done`);
    return this.result;
  }
}

vi.mock("../../../src/rumpuser/real/addon.js", () => ({ loadAddon: () => ({ Port: FakeNative }) }));

const bulk = (bytes = 8): PortTransfer => ({ type: "bulk", endpointAddress: 0x81, data: new Uint8Array(bytes) });
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

function open(): { port: ReturnType<typeof openUsbPort>; native: FakeNative } {
  const port = openUsbPort(3);
  if (FakeNative.last === undefined) throw new Error("no native port was made");
  return { port, native: FakeNative.last };
}

beforeEach(() => {
  FakeNative.openResult = 0;
});

describe("words for libusb's numbers, as its header has them", () => {
  const header = readFileSync(
    createRequire(import.meta.url)
      .resolve("usb/package.json")
      .replace("package.json", "libusb/libusb/libusb.h"),
    "utf8",
  );
  const named = (pattern: RegExp) => [...header.matchAll(pattern)].map(([, name, value]) => [name, value] as const);

  test("every error has its own word", () => {
    const errors = named(/^\s*LIBUSB_(ERROR_\w+|SUCCESS) = (-?\d+)/gm);
    expect(errors).toHaveLength(14);
    expect(new Set(errors.map(([, value]) => portResult(Number(value)))).size).toBe(PORT_RESULTS.length);
    expect(Object.fromEntries(errors.map(([name, value]) => [name, portResult(Number(value))]))).toEqual({
      SUCCESS: "ok",
      ERROR_IO: "io",
      ERROR_INVALID_PARAM: "invalid",
      ERROR_ACCESS: "access",
      ERROR_NO_DEVICE: "disconnected",
      ERROR_NOT_FOUND: "notFound",
      ERROR_BUSY: "busy",
      ERROR_TIMEOUT: "timedOut",
      ERROR_OVERFLOW: "overflow",
      ERROR_PIPE: "stalled",
      ERROR_INTERRUPTED: "interrupted",
      ERROR_NO_MEM: "noMemory",
      ERROR_NOT_SUPPORTED: "unsupported",
      ERROR_OTHER: "other",
    });
  });

  test("every transfer status has its own word, in the header's order", () => {
    const body = /enum libusb_transfer_status \{([^}]*)\}/.exec(header)?.[1] ?? "";
    const names = [...body.matchAll(/LIBUSB_TRANSFER_(\w+)/g)].map(([, name]) => name);
    expect(names).toEqual(["COMPLETED", "ERROR", "TIMED_OUT", "CANCELLED", "STALL", "NO_DEVICE", "OVERFLOW"]);
    expect(names.map((_, status) => transferStatus(status))).toEqual([...TRANSFER_STATUSES]);
  });

  test("a number that is not in the header is an error, too", () => {
    expect([transferStatus(99), transferStatus(-1), portResult(-55)]).toEqual(["error", "error", "other"]);
  });
});

describe("reads", () => {
  const memory = new Uint8Array(64);
  const request = { endpointAddress: 0x81, type: "bulk", memory, slotBytes: 16, repeatBytes: 2 } as const;
  /** Of the reads with number 2, as native/port.h counts. */
  const slot = (index: number): number => (1 << 24) + 2 * 256 + index;

  test("what is handed to libusb, and what ended in one wake-up is told in one", () => {
    const { port, native } = open();
    const told: unknown[] = [];
    const ends: number[] = [];
    const reads = port.openReads?.(request, (all) => told.push(all));
    port.submit(bulk(), ({ actualBytes }) => ends.push(actualBytes));
    for (const index of [0, 1, 3]) reads?.start(index, 8);
    expect(native.submitted[0]).toEqual([2, 0x81, memory, 16, 2]);
    native.deliver([
      [slot(0), 0, 8],
      [0, 0, 5],
      [slot(3), 4, 0],
    ]);
    expect(told).toEqual([
      [
        { slot: 0, status: "ok", actualBytes: 8 },
        { slot: 3, status: "stalled", actualBytes: 0 },
      ],
    ]);
    expect(ends).toEqual([5]);
    reads?.cancel();
    native.deliver([[slot(1), 3, 0]]);
    expect(told[1]).toEqual([{ slot: 1, status: "cancelled", actualBytes: 0 }]);
    reads?.close();
    expect(native.calls).toEqual(["read 2 0 8", "read 2 1 8", "read 2 3 8", "cancel 2", "close 2"]);
    native.deliver([[slot(1), 0, 8]]);
    expect(told.length).toBe(2);
  });

  test.each([
    [-4, "disconnected"],
    [-11, "error"],
  ] as const)("a refusal %i ends as %s, never inside start", async (rc, status) => {
    for (const isOpen of [true, false]) {
      const { port, native } = open();
      const told: unknown[] = [];
      if (isOpen) native.result = rc;
      else native.submitResult = rc;
      const reads = port.openReads?.(request, (all) => told.push(...all));
      reads?.start(1, 8);
      expect(told).toEqual([]);
      await new Promise(setImmediate);
      expect(told).toEqual([{ slot: 1, status, actualBytes: 0 }]);
    }
  });

  test("the end of the device and of the port ends what is in flight", async () => {
    const { port, native } = open();
    const told: unknown[] = [];
    const reads = port.openReads?.(request, (all) => told.push(...all));
    reads?.start(0, 8);
    native.deliver([], true);
    expect(told).toEqual([{ slot: 0, status: "disconnected", actualBytes: 0 }]);
    reads?.start(2, 8);
    port.close();
    await new Promise(setImmediate);
    expect(told[1]).toEqual({ slot: 2, status: "cancelled", actualBytes: 0 });
  });
});

describe("transfers", () => {
  test("what is handed to libusb", () => {
    const { port, native } = open();
    const data = new Uint8Array(4);
    const setup = new Uint8Array(8);
    port.submit({ type: "control", endpointAddress: 0, setup, data }, () => {});
    port.submit({ type: "bulk", endpointAddress: 2, data, sendZlp: true }, () => {});
    port.submit({ type: "interrupt", endpointAddress: 0x83, data }, () => {});
    port.submit({ type: "isochronous", endpointAddress: 0x84, data, isoPacketBytes: [1, 3] }, () => {});
    port.submit({ type: "bulk", endpointAddress: 2, data, streamId: 5 }, () => {});
    expect(native.submitted).toEqual([
      [0, 0, setup, data, false, 0, undefined],
      [2, 2, undefined, data, true, 0, undefined],
      [3, 0x83, undefined, data, false, 0, undefined],
      [1, 0x84, undefined, data, false, 0, Uint32Array.of(1, 3)],
      [4, 2, undefined, data, false, 5, undefined],
    ]);
  });

  test("everything of one wake-up is delivered, and a completion that submits again gets its own end", () => {
    const { port, native } = open();
    const ends: string[] = [];
    port.submit(bulk(), ({ actualBytes }) => {
      ends.push(`a ${actualBytes}`);
      port.submit(bulk(), (again) => ends.push(`again ${again.actualBytes}`));
    });
    port.submit(bulk(), ({ actualBytes }) => ends.push(`b ${actualBytes}`));
    native.deliver([
      [0, 0, 1],
      [1, 4, 2],
    ]);
    expect(ends).toEqual(["a 1", "b 2"]);
    native.deliver([[1, 0, 3]]);
    expect(ends).toEqual(["a 1", "b 2", "again 3"]);
  });

  test("packets of an isochronous transfer", () => {
    const { port, native } = open();
    const ends: PortCompletion[] = [];
    port.submit(bulk(), (end) => ends.push(end));
    port.submit({ ...bulk(), type: "isochronous", isoPacketBytes: [4, 4] }, (end) => ends.push(end));
    native.deliver(
      [
        [0, 0, 8],
        [1, 0, 3],
      ],
      false,
      [undefined, Int32Array.of(0, 3, 1, 0)],
    );
    expect(ends).toEqual([
      { status: "ok", actualBytes: 8 },
      {
        status: "ok",
        actualBytes: 3,
        isoPackets: [
          { status: "ok", actualBytes: 3 },
          { status: "error", actualBytes: 0 },
        ],
      },
    ]);
  });

  test.each([
    [-4, "disconnected"],
    [-11, "error"],
    [-2, "error"],
    [-9, "stalled"],
  ] as const)("a refusal %i ends as %s, never inside submit", async (rc, status) => {
    const { port, native } = open();
    native.submitResult = rc;
    const ends: PortCompletion[] = [];
    const cancel = port.submit(bulk(), (end) => ends.push(end));
    cancel();
    await Promise.resolve();
    expect(ends).toEqual([]);
    await nextTurn();
    expect(ends).toEqual([{ status, actualBytes: 0 }]);
    expect(native.cancelled).toEqual([]);
  });

  test("cancel asks for this very transfer, not for the next in its slot", () => {
    const { port, native } = open();
    const cancel = port.submit(bulk(), () => {});
    cancel();
    expect(native.cancelled).toEqual([0]);
    native.deliver([[0, 3, 0]]);
    port.submit(bulk(), () => {});
    cancel();
    expect(native.cancelled).toEqual([0]);
  });
});

describe("chains", () => {
  const out = (bytes: number): PortTransfer => ({ type: "bulk", endpointAddress: 2, data: new Uint8Array(bytes) });
  const NONE = [-1, 0, 0x7fffffff];

  test("what is handed to libusb", () => {
    const { port, native } = open();
    port.submitChain(
      [
        { transfer: out(31) },
        { transfer: { ...bulk(), sendZlp: true, streamId: 3 }, with: { step: 0, minBytes: 31, maxBytes: 31 } },
        { transfer: bulk(13), after: { step: 1, minBytes: 8 } },
      ],
      () => {},
    );
    expect(native.chains).toEqual([
      [
        [2, 2, 0, 0, ...NONE, ...NONE],
        [4, 0x81, 1, 3, ...NONE, 0, 31, 31],
        [2, 0x81, 0, 0, 1, 8, 0x7fffffff, ...NONE],
      ].flat(),
    ]);
  });

  test("its entries among those of transfers, each with its own end; a number is used again at once", () => {
    const { port, native } = open();
    const ends: unknown[] = [];
    port.submit(bulk(), (end) => ends.push(end));
    native.chainResult = 4;
    const cancel = port.submitChain([{ transfer: out(2) }, { transfer: bulk() }, { transfer: bulk() }], (end) => {
      ends.push(end);
      port.submitChain([{ transfer: bulk() }], (again) => ends.push(again));
    });
    native.deliver([
      [-5, 0, 2],
      [-5, 99, 0],
      [-5, -4, 0],
      [0, 0, 7],
    ]);
    cancel();
    native.deliver([[-5, 4, 1]]);
    expect(ends).toEqual([
      [{ status: "ok", actualBytes: 2 }, undefined, { status: "disconnected", actualBytes: 0 }],
      { status: "ok", actualBytes: 7 },
      [{ status: "stalled", actualBytes: 1 }],
    ]);
    expect(native.cancelled).toEqual([]);
  });

  test("cancel asks for the chain that is in flight", () => {
    const { port, native } = open();
    native.chainResult = 2;
    port.submitChain([{ transfer: bulk() }], () => {})();
    expect(native.cancelled).toEqual([-3]);
  });

  test.each([
    [-4, [{ status: "disconnected", actualBytes: 0 }, undefined]],
    [-11, [{ status: "error", actualBytes: 0 }, undefined]],
    [Int32Array.of(-11, 0, 99, 0), [{ status: "error", actualBytes: 0 }, undefined]],
  ] as const)("what ends at once (%j) is told later, once", async (chainResult, expected) => {
    const { port, native } = open();
    native.chainResult = chainResult;
    const ends: unknown[] = [];
    const steps = [{ transfer: bulk() }, { transfer: bulk(), after: { step: 0, minBytes: 0 } }];
    const cancel = port.submitChain(steps, (end) => ends.push(end));
    cancel();
    expect(ends).toEqual([]);
    await nextTurn();
    expect(ends).toEqual([expected]);
    expect(native.cancelled).toEqual([]);
  });

  test("unplug and close end it once, as far as it is known to have started", async () => {
    const steps = [{ transfer: bulk() }, { transfer: bulk(), after: { step: 0, minBytes: 0 } }];
    for (const [end, status] of [
      [({ native }: ReturnType<typeof open>) => native.deliver([], true), "disconnected"],
      [({ port }: ReturnType<typeof open>) => port.close(), "cancelled"],
    ] as const) {
      const opened = open();
      const ends: unknown[] = [];
      opened.port.submitChain(steps, (result) => ends.push(result));
      end(opened);
      await nextTurn();
      expect(ends).toEqual([[{ status, actualBytes: 0 }, undefined]]);
    }
  });

  test.each([
    ["no step", []],
    ["nine steps", Array.from({ length: 9 }, () => ({ transfer: bulk() }))],
    ["a control transfer", [{ transfer: { ...bulk(), type: "control", setup: new Uint8Array(8) } as const }]],
  ])("%s: refused", (_, steps) => {
    expect(() => open().port.submitChain(steps, () => {})).toThrow(RangeError);
  });
});

describe("calls", () => {
  test("run one after another, in the order in which they were made", async () => {
    const { port, native } = open();
    await Promise.all([port.claimInterface(1), port.setInterface(1, 2), port.clearHalt(0x81), port.reset()]);
    const order = ["claimInterface 1", "setInterface 1 2", "clearHalt 129", "reset"];
    expect(native.calls).toEqual(order.flatMap((call) => [call, `${call} done`]));
  });

  test("answer in words; the configuration and streams in numbers", async () => {
    const { port, native } = open();
    native.result = 2;
    expect(await port.configuration()).toBe(2);
    expect(await port.allocStreams(8, [0x81, 2])).toBe(2);
    expect(await port.setConfiguration(1)).toBe("ok");
    native.result = -6;
    expect(await port.releaseInterface(0)).toBe("busy");
    expect(await port.allocStreams(8, [0x81])).toBe("busy");
    expect(await port.freeStreams([0x81])).toBe("busy");
    await expect(port.configuration()).rejects.toMatchObject({ code: "USB_PORT", result: "busy" });
  });
});

describe("the end", () => {
  test("unplug: what came in the same wake-up first, the rest as disconnected, told once", async () => {
    const { port, native } = open();
    const ends: string[] = [];
    port.onDisconnect(() => ends.push("gone"));
    port.submit(bulk(), ({ status }) => ends.push(status));
    port.submit(bulk(), ({ status }) => ends.push(status));
    native.deliver([[0, 5, 0]], true);
    await nextTurn();
    expect(ends).toEqual(["disconnected", "disconnected", "gone"]);
  });

  test("a listener that comes after the device went is told", async () => {
    const { port, native } = open();
    native.deliver([], true);
    let told = 0;
    port.onDisconnect(() => told++);
    expect(told).toBe(0);
    await nextTurn();
    expect(told).toBe(1);
  });

  test("close: the rest ends as cancelled, once, later; nothing starts any more", async () => {
    const { port, native } = open();
    const ends: string[] = [];
    port.submit(bulk(), ({ status }) => ends.push(status));
    port.close();
    port.close();
    expect([native.closed, ends]).toEqual([1, []]);
    native.deliver([[0, 0, 8]]);
    await nextTurn();
    port.submit(bulk(), ({ status }) => ends.push(status));
    await nextTurn();
    expect(ends).toEqual(["cancelled", "disconnected"]);
    expect(native.submitted).toHaveLength(1);
  });

  test("a close in the middle of a wake-up: the others of it end as they did", async () => {
    const { port, native } = open();
    const ends: string[] = [];
    port.submit(bulk(), ({ status }) => {
      ends.push(status);
      port.close();
    });
    port.submit(bulk(), ({ status }) => ends.push(status));
    native.deliver([
      [0, 0, 8],
      [1, 4, 0],
    ]);
    await nextTurn();
    expect(ends).toEqual(["ok", "stalled"]);
  });

  test("a descriptor that is not a device's", () => {
    FakeNative.openResult = -1;
    expect(() => openUsbPort(3)).toThrow(expect.objectContaining({ code: "USB_PORT", result: "io" }));
  });
});
