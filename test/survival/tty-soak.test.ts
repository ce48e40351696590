/**
 * What becomes of bytes when the driver is killed every so often, in each direction: the promises of docs/usage.md#serial-lines-when-a-driver-dies,
 * byte by byte. `RUMPUSB_SOAK_MB=100` makes it long, with a kill every second.
 */
import { expect, test } from "vitest";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import { describe as inWords, soak } from "./tty-soak.js";

const { RUMPUSB_SOAK_MB } = process.env;
const BYTES = Number(RUMPUSB_SOAK_MB ?? 10) * 1e6;
const KILL_MS = RUMPUSB_SOAK_MB === undefined ? 400 : 1000;
const TIMEOUT_MS = 120_000 + BYTES / 100;

/** Two chunks (pud/host-tty-writes.ts). */
const MAX_TWICE_BYTES = 32 * 1024;
/** What the link had granted (64 KiB), and reads that were in flight. */
const MAX_LOST_BYTES = 80 * 1024;

test.each(["rfc2217", "pty"] as const)(
  "%s: what is written arrives whole and in order, what is received misses what a dead driver had read",
  async (link) => {
    const makeModel = (): FtdiModel => new FtdiModel("ft232h", { clock: realClock, wiring: "open" });
    const result = await soak({ link, bytes: BYTES, killMs: KILL_MS, baud: 3_000_000, makeModel });
    console.log(`${link}: ${inWords(result, BYTES)}`);
    const { kills, sent, received } = result;
    expect(kills.length).toBeGreaterThan(2);
    for (const { from, to } of sent.jumps) expect(from - to).toSatisfy((back) => back > 0 && back <= MAX_TWICE_BYTES);
    for (const { from, to } of received.jumps)
      expect(to - from).toSatisfy((lost) => lost > 0 && lost <= MAX_LOST_BYTES);
    // Each jump is one kill's.
    for (const { jumps } of [sent, received])
      for (const [n, { atMs }] of jumps.entries()) expect(atMs).toBeGreaterThan(kills[n] ?? Infinity);
    expect([sent.position, received.position]).toEqual([BYTES, BYTES]);
  },
  TIMEOUT_MS,
);
