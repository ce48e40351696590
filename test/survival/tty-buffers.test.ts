/**
 * The driver dies while the buffers of the device are full and flow control holds both directions: what the device has is
 * the line's, and the next driver leaves it where it is.
 */
import { describe, expect, test } from "vitest";
import type { TtyPort } from "../../src/rump/devsw.js";
import { CHIPS, DRIVERS, SETTINGS, UP } from "../dev/usb/ucom/rig.js";
import { Collector } from "../fakes/tty-collector.js";
import { TtyMachine } from "./tty-machine.js";
import { randomBytes } from "./tty-oracle.js";

const KILLS = 3;
const MAX_RUN_MS = 60_000;

interface Held {
  readonly machine: TtyMachine;
  readonly port: TtyPort;
  readonly collector: Collector;
  readonly delay: (ms: number) => Promise<void>;
  /** The next process has the line open. */
  readonly dieAndReturn: () => Promise<void>;
}

/** A line with RTS/CTS, in the hands of `use`. */
async function withLine(name: string, use: (held: Held) => Promise<void>): Promise<void> {
  const chip = CHIPS.find((one) => one.name === name);
  const driver = DRIVERS.find((one) => one.name === chip?.driver);
  if (chip === undefined || driver === undefined) throw new Error(`no chip ${name}`);
  const machine = new TtyMachine(1, { driver, make: chip.make });
  const { clock } = machine.sim;
  const delay = (ms: number): Promise<void> => new Promise((resolve) => clock.startTimer(ms, resolve));
  const deadline = new Promise<never>((_resolve, reject) => {
    clock.startTimer(MAX_RUN_MS, () => reject(new Error(`not over after ${MAX_RUN_MS} ms; ${machine.story()}`)));
  });
  const run = async (): Promise<void> => {
    const collector = new Collector();
    const tty = await machine.tty();
    const port = await tty.open({ settings: { ...SETTINGS, flowControl: "rtsCts" }, outputs: UP }, collector);
    const dieAndReturn = async (): Promise<void> => {
      machine.kill();
      await port.status();
    };
    await use({ machine, port, collector, delay, dieAndReturn });
    expect(collector.closedWith).toBeUndefined();
  };
  try {
    await clock.runUntil(Promise.race([run(), deadline]));
  } finally {
    machine.end();
  }
}

const WITH_FLOW = CHIPS.map(({ name }) => name).filter((name) => !name.startsWith("acm") && name !== "ch343");

describe.each(WITH_FLOW)("%s", (name) => {
  test("what the far end has not taken is sent when it takes it", async () => {
    await withLine(name, async ({ machine, port, delay, dieAndReturn }) => {
      machine.far.setOutputs({ rts: false });
      const data = randomBytes(8 * 1024, 3);
      const written = port.write(data);
      await delay(500);
      const { uart } = machine.adapter.port(0);
      const heldBytes = uart.transmit.length;
      expect(heldBytes).toBeGreaterThan(0);
      for (let kill = 0; kill < KILLS; kill++) {
        await dieAndReturn();
        expect(uart.settings.flow).toBe("rtsCts");
      }
      expect(machine.stream().length).toBe(0);
      machine.far.setOutputs({ rts: true });
      await written;
      await port.drain();
      await delay(100);
      const arrived = machine.stream();
      // Everything, and what was in flight at a kill twice: the line was held, so that it was no more than the device holds.
      expect(Buffer.compare(arrived.subarray(0, heldBytes), data.subarray(0, heldBytes))).toBe(0);
      expect(Buffer.compare(arrived.subarray(-1024), data.subarray(-1024))).toBe(0);
      expect(arrived.length - data.length).toBeGreaterThanOrEqual(0);
      expect(arrived.length - data.length).toBeLessThanOrEqual(heldBytes);
    });
  });

  test("what nobody has granted is received when it is", async () => {
    await withLine(name, async ({ machine, port, collector, delay, dieAndReturn }) => {
      const data = randomBytes(8 * 1024, 4);
      machine.sendFromFar(data);
      await delay(500);
      const { uart } = machine.adapter.port(0);
      expect(uart.receive.length).toBeGreaterThan(0);
      for (let kill = 0; kill < KILLS; kill++) await dieAndReturn();
      port.grant(data.length);
      await delay(2000);
      expect(Buffer.compare(collector.data, data)).toBe(0);
    });
  });

  test("DTR and RTS stay as they are", async () => {
    await withLine(name, async ({ machine, port, dieAndReturn }) => {
      const { uart } = machine.adapter.port(0);
      const seen = new Set<string>();
      const note = (): void => void seen.add(JSON.stringify([uart.outputs.dtr, uart.outputs.rts]));
      const stop = machine.adapter.observe(note);
      for (let kill = 0; kill < KILLS; kill++) await dieAndReturn();
      stop();
      expect([...seen]).toEqual([JSON.stringify([true, true])]);
      await port.close();
      expect([uart.outputs.dtr, uart.outputs.rts]).toEqual([false, false]);
    });
  });
});
