/** A serial line in real processes: what is written comes back, also when the driver is killed meanwhile. */
import { expect, test, vi } from "vitest";
import { startSerialHost } from "../fakes/serial-host.js";
import { Collector } from "../fakes/tty-collector.js";
import { pattern } from "../vdev/bus.js";
import { randomBytes, wrongStream } from "./tty-oracle.js";

const HOW = {
  settings: { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
  outputs: { dtr: true, rts: true },
} as const;
const TIMEOUT_MS = 60_000;
const PIECE_BYTES = 256 * 1024;
const PIECES = 6;
const KILL_AFTER_MS = 20;

async function bytesArrive(collector: Collector, bytes: number): Promise<void> {
  await new Promise<void>((resolve) => {
    collector.onData = () => collector.bytes >= bytes && resolve();
    collector.onData(new Uint8Array(0));
  });
}

test.each(["ftdi", "acm"])("%s: 1 MiB comes back as it was sent", { timeout: TIMEOUT_MS }, async (chip) => {
  const host = await startSerialHost(`sim:serial,chip=${chip}`);
  try {
    const collector = new Collector();
    const port = await host.tty().open(HOW, collector);
    port.grant(1 << 30);
    const data = pattern(1 << 20, 3);
    await port.write(data);
    await bytesArrive(collector, data.length);
    expect(Buffer.compare(collector.data, data)).toBe(0);
    await port.close();
  } finally {
    await host.stop();
  }
});

test("the driver is killed again and again: the program sees pauses, and bytes in their order", {
  timeout: TIMEOUT_MS,
}, async () => {
  const host = await startSerialHost("sim:serial,chip=ftdi");
  try {
    const collector = new Collector();
    const settings = { ...HOW.settings, flowControl: "rtsCts" } as const;
    const port = await host.tty().open({ ...HOW, settings }, collector);
    port.grant(1 << 30);
    const data = randomBytes(PIECE_BYTES * PIECES, 5);
    let kills = 0;
    const kill = (): void => {
      try {
        process.kill(host.rumpPid(), "SIGKILL");
        kills++;
      } catch {
        // it is dead already, and the next one is on its way
      }
    };
    // In the middle of each piece, however fast the machine is.
    for (let at = 0; at < data.length; at += PIECE_BYTES) {
      const timer = setTimeout(kill, KILL_AFTER_MS);
      await port.write(data.subarray(at, at + PIECE_BYTES)).finally(() => clearTimeout(timer));
    }
    await port.drain();
    await quiet(collector);
    expect(kills).toBeGreaterThan(1);
    // Twice: what was in flight to the device. Missing: what was on its way back.
    const allowed = { jumps: 2 * kills, backBytes: 64 * 1024, aheadBytes: 32 * 1024 };
    expect(wrongStream(data, collector.data, allowed)).toBeUndefined();
    expect(collector.closedWith).toBeUndefined();
    await port.close();
  } finally {
    await host.stop();
  }
});

test("pulled out for good while it is open: the program is told", { timeout: TIMEOUT_MS }, async () => {
  const host = await startSerialHost("sim:serial,chip=cp210x", 0);
  try {
    const collector = new Collector();
    const port = await host.tty().open(HOW, collector);
    host.simulator.kill();
    await vi.waitFor(() => expect(collector.closedWith?.code).toBe("ENODEV"), { timeout: 10_000 });
    await expect(port.write(Uint8Array.of(1))).rejects.toMatchObject({ code: "ENODEV" });
  } finally {
    await host.stop();
  }
});

/** Resolves when nothing has come for a while. */
async function quiet(collector: Collector): Promise<void> {
  for (let before = -1; before !== collector.bytes; ) {
    before = collector.bytes;
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
}
