/** A high rate with hardware flow control, and a reader that is slower than the line: nothing lost, nothing reordered. */
import { describe, expect, test } from "vitest";
import { pattern } from "../../../vdev/bus.js";
import { attachSerial, CHIPS, Collector, SETTINGS, UP } from "./rig.js";

const BAUD = 3_000_000;
const BYTES = 128 * 1024;
/** What the reader takes each time: 170 bytes in a millisecond, where the line brings 300. */
const GRANT_BYTES = 512;
const GRANT_MS = 3;

/** Chips that make 3 Mbaud and obey RTS/CTS. */
const FAST = ["ft232r", "ft232h", "ftx", "cp2102n", "ch340", "pl2303-hx", "pl2303-hxn"];

describe.each(CHIPS.filter(({ name }) => FAST.includes(name)))("$name", ({ make }) => {
  test("3 Mbaud with RTS/CTS, a slow reader", async () => {
    const rig = await attachSerial((options) => make({ ...options, paced: true }));
    const collector = new Collector();
    const settings = { ...SETTINGS, baud: BAUD, flowControl: "rtsCts" } as const;
    const port = await rig.sim.run(() => rig.tty().open({ settings, outputs: UP }, collector));
    const data = pattern(BYTES, 9);
    let written = false;
    void port.write(data).then(() => {
      written = true;
    });
    const startMs = rig.sim.clock.nowMs();
    while (collector.bytes < BYTES && rig.sim.clock.nowMs() < startMs + 20_000) {
      port.grant(GRANT_BYTES);
      await rig.sim.clock.advance(GRANT_MS);
    }
    expect(written).toBe(true);
    expect(Buffer.compare(collector.data, data)).toBe(0);
    // The line was held: it would have needed 437 ms.
    expect(rig.sim.clock.nowMs() - startMs).toBeGreaterThan(600);
    const { errors } = await rig.sim.run(() => port.status());
    expect(errors).toEqual({ framing: 0, parity: 0, overrun: 0, break: 0 });
  });
});
