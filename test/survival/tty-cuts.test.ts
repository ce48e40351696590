/** A line in use, cut at each of its transfers and at each of its frames: bytes stay in their order, and states come back. */
import { beforeAll, describe, expect, test } from "vitest";
import type { TtyPort } from "../../src/rump/devsw.js";
import { Collector } from "../fakes/tty-collector.js";
import type { Cut, CutKind } from "./mortal-machine.js";
import { TtyMachine } from "./tty-machine.js";
import { randomBytes, wrongStream } from "./tty-oracle.js";

const TIMEOUT_MS = 120_000;
/** Virtual time after which a run hangs. */
const MAX_RUN_MS = 60_000;
const WINDOW_BYTES = 1024;
/** The device's buffers, and what the driver had read. */
const READ_AHEAD_BYTES = 8192;
const FIFO_BYTES = 512;

interface Result {
  readonly wrong: readonly string[];
  /** Transfers and frames before the line was used, and after. */
  readonly from: { readonly transfer: number; readonly frame: number };
  readonly to: { readonly transfer: number; readonly frame: number };
  readonly made: number;
}

/** Writes, reads and settings at once. */
async function use(machine: TtyMachine, port: TtyPort, collector: Collector, sent: Uint8Array): Promise<void> {
  port.grant(WINDOW_BYTES);
  collector.onData = (data) => port.grant(data.length);
  const writes: Promise<void>[] = [];
  for (let at = 0, size = 1; at < sent.length; at += size, size = (size * 7 + 3) % 331) {
    writes.push(port.write(sent.subarray(at, at + size)));
    if (writes.length === 5) {
      await port.setOutputs({ dtr: false });
      await port.setLatency(3);
    }
    if (writes.length === 10) await port.configure({ ...port.settings, baud: 115_200, stopBits: 2 });
    if (writes.length === 15) await port.status();
    if (writes.length % 8 === 0) await Promise.all(writes);
  }
  await port.drain();
  await Promise.all(writes);
  machine.endStream();
  await port.setBreak(true);
  await delay(machine, 1);
  await port.status();
  await port.setBreak(false);
}

async function runOnce(cuts: readonly Cut[]): Promise<Result> {
  const machine = new TtyMachine(1);
  const { clock } = machine.sim;
  const sent = randomBytes(3000, 7);
  const received = randomBytes(2500, 8);
  const wrong: string[] = [];
  let from = { transfer: 0, frame: 0 };
  let to = from;
  const collector = new Collector();
  const check = (what: string, so: boolean): void => {
    if (!so) wrong.push(what);
  };
  const scenario = async (): Promise<void> => {
    const tty = await machine.tty();
    from = { ...machine.counts };
    machine.cut(cuts);
    const settings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "rtsCts" } as const;
    const port = await tty.open({ settings, outputs: { dtr: true, rts: true } }, collector);
    machine.sendFromFar(received);
    await use(machine, port, collector, sent);
    to = { ...machine.counts };
    const { uart } = machine.adapter.port(0);
    const isDone = (): boolean =>
      machine.isPlugged && machine.far.transmit.length === 0 && uart.settings.stopBits === 2 && uart.outputs.rts;
    for (let ms = 0; ms < 4000 && !isDone(); ms++) await delay(machine, 1);
    await delay(machine, 50);
    check(`stop bits ${uart.settings.stopBits}`, uart.settings.stopBits === 2);
    check(`flow ${uart.settings.flow}`, uart.settings.flow === "rtsCts");
    check("DTR is high", !uart.outputs.dtr);
    check("the break goes on", !uart.outputs.breaking);
    await port.close();
    check("RTS is high after close", !uart.outputs.rts);
    check(`closed with ${collector.closedWith?.message}`, collector.closedWith === undefined);
  };
  const deadline = new Promise<never>((_resolve, reject) => {
    clock.startTimer(MAX_RUN_MS, () => reject(new Error(`hangs: not over after ${MAX_RUN_MS} ms of virtual time`)));
  });
  try {
    await clock.runUntil(Promise.race([scenario(), deadline]));
  } catch (error) {
    wrong.push(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}; ${machine.story()}`);
  }
  const jumps = cuts.length;
  const power = cuts.filter(({ kind }) => kind === "power").length;
  const written = wrongStream(sent, machine.stream(), {
    jumps: jumps + power,
    backBytes: 2048,
    aheadBytes: power > 0 ? FIFO_BYTES : 0,
  });
  if (written !== undefined) wrong.push(`written: ${written}`);
  const read = wrongStream(received, collector.data, { jumps, backBytes: 0, aheadBytes: READ_AHEAD_BYTES });
  if (read !== undefined) wrong.push(`read: ${read}`);
  const result = { wrong, to, from, made: machine.made };
  machine.end();
  return result;
}

async function delay(machine: TtyMachine, ms: number): Promise<void> {
  await new Promise<void>((resolve) => machine.sim.clock.startTimer(ms, resolve));
}

let whole: Result;
beforeAll(async () => {
  whole = await runOnce([]);
  expect(whole.wrong).toEqual([]);
});

describe.each(["transfer", "frame"] as const)("at the n-th %s, for every n", (on) => {
  test.each(["kill", "freeze", "throw", "power"] as const satisfies readonly CutKind[])(
    "%s",
    async (kind) => {
      const last = whole.to[on];
      expect(last - whole.from[on]).toBeGreaterThan(30);
      const wrong: string[] = [];
      for (let at = whole.from[on] + 1; at <= last; at++) {
        const cut: Cut = { on, at, kind, awayMs: (at * 37) % 1500 };
        const result = await runOnce([cut]);
        wrong.push(...result.wrong.map((one) => `${kind} at ${on} ${at}: ${one}`));
        expect(result.made).toBe(1);
      }
      expect(wrong).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
