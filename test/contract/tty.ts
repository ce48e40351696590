/**
 * What every `Tty` must do (src/rump/devsw.ts), whoever stands behind it.
 */
import { describe, expect, test } from "vitest";
import {
  DeviceError,
  type DeviceErrorCode,
  LineSettingsError,
  type LineSettings,
  type Tty,
  type TtyPort,
  WriteError,
} from "../../src/rump/devsw.js";
import { Collector } from "../fakes/tty-collector.js";

/** A serial line to run the contract on, its output joined to its input. */
export interface TtyRig {
  readonly tty: Tty;
  /** Lets a little time pass, or a turn of the event loop. */
  step(): Promise<void>;
  /** Holds the line by flow control until the returned function is called, where the rig can do that. */
  readonly hold?: () => () => void;
  /** Takes the device away, where the rig can do that. */
  readonly unplug?: () => void;
  close(): Promise<void>;
}

const SETTINGS: LineSettings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
const UP = { dtr: true, rts: true };
const PLENTY = 1 << 30;
const MAX_STEPS = 20_000;

function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + seed * 13 + (at >> 8)) & 0xff);
}

interface Use extends TtyRig {
  /** Steps until the promise has settled. */
  run<T>(work: Promise<T>): Promise<T>;
  until(so: () => boolean): Promise<void>;
  /** How it ended: "ok" or the code of a DeviceError. */
  outcome(work: Promise<unknown>): Promise<string>;
  open(settings?: Partial<LineSettings>): Promise<{ port: TtyPort; collector: Collector }>;
}

function use(rig: TtyRig): Use {
  const until = async (so: () => boolean): Promise<void> => {
    for (let steps = 0; !so(); steps++) {
      if (steps >= MAX_STEPS) throw new Error(`not so after ${MAX_STEPS} steps`);
      await rig.step();
    }
  };
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    await until(() => isOver);
    return await work;
  };
  return {
    ...rig,
    run,
    until,
    outcome: async (work) =>
      await run(
        work.then(
          () => "ok",
          (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
        ),
      ),
    open: async (settings = {}) => {
      const collector = new Collector();
      const how = { settings: { ...SETTINGS, ...settings }, outputs: UP };
      return { port: await run(rig.tty.open(how, collector)), collector };
    },
  };
}

/** @param make  A fresh rig for each test. */
export function ttyContract(name: string, make: () => Promise<TtyRig>): void {
  async function using(body: (rig: Use) => Promise<void>): Promise<void> {
    const rig = await make();
    try {
      await body(use(rig));
    } finally {
      await rig.close();
    }
  }

  describe(`tty contract: ${name}`, () => {
    test("info describes a line that can be", () =>
      using(async ({ tty: { kind, info } }) => {
        expect(kind).toBe("tty");
        expect(info.minBaud).toBeGreaterThan(0);
        expect(info.maxBaud).toBeGreaterThanOrEqual(info.minBaud);
        for (const key of ["dataBits", "parities", "stopBits", "flowControls"] as const)
          expect(info[key].length, key).toBeGreaterThan(0);
      }));

    test("one has it open; the next one after it is closed", () =>
      using(async (rig) => {
        const { port } = await rig.open();
        expect(Math.abs(port.settings.baud - 115_200) / 115_200).toBeLessThan(0.03);
        expect(port.outputs).toEqual(UP);
        expect(await rig.outcome(rig.tty.open({ settings: SETTINGS, outputs: UP }, new Collector()))).toBe("EBUSY");
        await rig.run(port.close());
        await rig.run(port.close());
        const again = await rig.open();
        await rig.run(again.port.close());
      }));

    test("impossible settings are answered with the nearest, and nothing changes", () =>
      using(async (rig) => {
        const baud = rig.tty.info.maxBaud * 4;
        for (const wrong of [baud, Number.NaN, -1]) {
          const error = await rig.run(rig.open({ baud: wrong }).catch((one: unknown) => one));
          expect(error, String(wrong)).toBeInstanceOf(LineSettingsError);
        }
        const { port } = await rig.open();
        const before = port.settings;
        const error = await rig.run(port.configure({ ...SETTINGS, baud }).catch((one: unknown) => one));
        expect(error).toBeInstanceOf(LineSettingsError);
        expect((error as LineSettingsError).nearest.baud).toBeLessThanOrEqual(rig.tty.info.maxBaud);
        expect(port.settings).toEqual(before);
        const made = await rig.run(port.configure({ ...SETTINGS, baud: 9600 }));
        expect(port.settings).toEqual(made);
        expect(Math.abs(made.baud - 9600) / 9600).toBeLessThan(0.03);
      }));

    test("what is written without waiting is sent in the order of the calls", () =>
      using(async (rig) => {
        const { port, collector } = await rig.open();
        port.grant(PLENTY);
        const data = pattern(20_000, 1);
        const ended: number[] = [];
        const writes: Promise<void>[] = [];
        for (let at = 0, size = 0; at < data.length; at += size, size = (size * 7 + 3) % 1531)
          writes.push(port.write(data.subarray(at, at + size)).then(() => void ended.push(at)));
        await rig.run(Promise.all(writes));
        await rig.until(() => collector.bytes >= data.length);
        expect(Buffer.compare(collector.data, data)).toBe(0);
        expect(ended).toEqual(ended.toSorted((a, b) => a - b));
      }));

    test("nothing is received that was not granted", () =>
      using(async (rig) => {
        const { port, collector } = await rig.open();
        await rig.run(port.write(pattern(200, 2)));
        for (let steps = 0; steps < 100; steps++) await rig.step();
        expect(collector.bytes).toBe(0);
        port.grant(0);
        port.grant(7);
        await rig.until(() => collector.bytes >= 7);
        for (let steps = 0; steps < 100; steps++) await rig.step();
        expect(collector.bytes).toBe(7);
        for (let one = 0; one < 100; one++) port.grant(1);
        await rig.until(() => collector.bytes >= 107);
        port.grant(PLENTY);
        await rig.until(() => collector.bytes >= 200);
        expect(Buffer.compare(collector.data, pattern(200, 2))).toBe(0);
        for (const wrong of [-1, 0.5, Number.NaN]) expect(() => port.grant(wrong)).toThrow(RangeError);
      }));

    test("lines are driven one by one", () =>
      using(async (rig) => {
        const { port } = await rig.open();
        await rig.run(port.setOutputs({ rts: false }));
        expect(port.outputs).toEqual({ dtr: true, rts: false });
        await rig.run(port.setOutputs({ dtr: false, rts: true }));
        expect(port.outputs).toEqual({ dtr: false, rts: true });
      }));

    test("the status has every line and every count", () =>
      using(async (rig) => {
        const { port } = await rig.open();
        const { lines, errors } = await rig.run(port.status());
        expect(Object.keys(lines).toSorted()).toEqual(["cts", "dcd", "dsr", "ri"]);
        expect(errors).toEqual({ framing: 0, parity: 0, overrun: 0, break: 0 });
      }));

    test("break and latency are there, or refused", () =>
      using(async (rig) => {
        const { port } = await rig.open();
        const { canBreak, hasLatency } = rig.tty.info;
        expect(await rig.outcome(port.setBreak(true))).toBe(canBreak ? "ok" : "EOPNOTSUPP");
        expect(await rig.outcome(port.setBreak(false))).toBe(canBreak ? "ok" : "EOPNOTSUPP");
        const outcomes = hasLatency ? ["ok"] : ["ok", "EOPNOTSUPP"];
        const outcome = await rig.outcome(port.setLatency(5));
        expect(outcomes).toContain(outcome);
        if (outcome === "ok") expect(await rig.run(port.setLatency(5))).toBe(5);
      }));

    test("drain waits for what was written, and flush for nothing", () =>
      using(async (rig) => {
        const { port, collector } = await rig.open();
        port.grant(PLENTY);
        let isWritten = false;
        const write = port.write(pattern(3000, 3)).then(() => {
          isWritten = true;
        });
        await rig.run(port.drain());
        expect(isWritten).toBe(true);
        await write;
        await rig.run(port.flush("out"));
        await rig.run(port.write(pattern(10, 4)));
        await rig.until(() => collector.bytes >= 3010);
        for (const queue of ["in", "out", "both"] as const) await rig.run(port.flush(queue));
      }));

    test("a signal that has fired ends what it is given to", () =>
      using(async (rig) => {
        const signal = AbortSignal.abort();
        const how = { settings: SETTINGS, outputs: UP };
        expect(await rig.outcome(rig.tty.open(how, new Collector(), { signal }))).toBe("ECANCELED");
        const { port } = await rig.open();
        for (const ask of [
          () => port.status({ signal }),
          () => port.drain({ signal }),
          () => port.setOutputs({}, { signal }),
        ])
          expect(await rig.outcome(ask())).toBe("ECANCELED");
        const error = await rig.run(port.write(pattern(10, 5), { signal }).catch((one: unknown) => one));
        expect(error).toBeInstanceOf(WriteError);
        expect(error).toMatchObject({ code: "ECANCELED", bytesTaken: 0 });
      }));

    test("held writes end by a signal, by flush and by close, each saying what was taken", () =>
      using(async (rig) => {
        if (rig.hold === undefined) return;
        const { port, collector } = await rig.open({ flowControl: "rtsCts" });
        port.grant(PLENTY);
        const release = rig.hold();
        const controller = new AbortController();
        const ends = async (write: Promise<void>): Promise<number> => {
          const error = await rig.run(write.catch((one: unknown) => one));
          expect(error).toBeInstanceOf(WriteError);
          expect((error as WriteError).code).toBe("ECANCELED");
          return (error as WriteError).bytesTaken;
        };
        const data = pattern(100_000, 6);
        const first = port.write(data, { signal: controller.signal });
        const second = port.write(data);
        first.catch(() => undefined);
        second.catch(() => undefined);
        for (let steps = 0; steps < 200; steps++) await rig.step();
        controller.abort();
        const taken = [await ends(first)];
        await rig.run(port.flush("out"));
        taken.push(await ends(second));
        release();
        await rig.run(port.write(pattern(5, 7)));
        await rig.until(() => collector.bytes >= 5);
        for (let steps = 0; steps < 200; steps++) await rig.step();
        // What the device had, flush may have thrown away.
        const [a = 0, b = 0] = taken;
        expect(collector.bytes).toBeLessThanOrEqual(a + b + 5);
        expect(collector.data.subarray(-5).equals(pattern(5, 7))).toBe(true);
        rig.hold();
        const third = port.write(data);
        third.catch(() => undefined);
        for (let steps = 0; steps < 200; steps++) await rig.step();
        await rig.run(port.close());
        await ends(third);
      }));

    test("after close everything answers ENODEV, and nobody is told", () =>
      using(async (rig) => {
        const { port, collector } = await rig.open();
        await rig.run(port.close());
        await expectAllEnodev(rig, port);
        port.grant(10);
        expect(collector.closedWith).toBeUndefined();
      }));

    test("a device that goes is told once, and everything answers ENODEV", () =>
      using(async (rig) => {
        if (rig.unplug === undefined) return;
        const { port, collector } = await rig.open();
        rig.unplug();
        await rig.until(() => collector.closedWith !== undefined);
        expect(collector.closedWith?.code).toBe("ENODEV");
        await expectAllEnodev(rig, port);
        await rig.run(port.close());
        expect(await rig.outcome(rig.tty.open({ settings: SETTINGS, outputs: UP }, new Collector()))).toBe("ENODEV");
      }));
  });
}

async function expectAllEnodev(rig: Use, port: TtyPort): Promise<void> {
  const code: DeviceErrorCode = "ENODEV";
  for (const ask of [
    () => port.write(Uint8Array.of(1)),
    () => port.configure(SETTINGS),
    () => port.setOutputs({ dtr: true }),
    () => port.status(),
    () => port.drain(),
    () => port.flush("both"),
  ])
    expect(await rig.outcome(ask())).toBe(code);
}
