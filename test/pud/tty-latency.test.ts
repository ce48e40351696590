/** A line that is opened with a bound on latency: set at each open, and no reason to have no line. */
import { expect, test, vi } from "vitest";
import { ttyWithLatency } from "../../src/pud/tty-latency.js";
import { DeviceError, type TtyOpen, type TtyPort } from "../../src/rump/devsw.js";
import { MemoryTty } from "../fakes/memory-tty.js";
import { Collector } from "../fakes/tty-collector.js";

const HOW: TtyOpen = {
  settings: { baud: 9600, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
  outputs: { dtr: true, rts: true },
};

/** A tty whose ports refuse a latency in this way. */
function refusing(tty: MemoryTty, error: DeviceError): { closed: () => boolean } {
  const open = tty.open.bind(tty);
  let port: TtyPort | undefined;
  let isClosed = false;
  vi.spyOn(tty, "open").mockImplementation(async (...args) => {
    port = await open(...args);
    const close = port.close.bind(port);
    vi.spyOn(port, "setLatency").mockRejectedValue(error);
    vi.spyOn(port, "close").mockImplementation(async () => {
      isClosed = true;
      await close();
    });
    return port;
  });
  return { closed: () => isClosed };
}

test("each open sets it", async () => {
  const tty = new MemoryTty();
  const bound = ttyWithLatency(tty, 5);
  expect([bound.kind, bound.info]).toEqual(["tty", tty.info]);
  for (let n = 0; n < 2; n++) {
    const port = await bound.open(HOW, new Collector());
    await port.close();
  }
  expect(tty.calls.filter((call) => call === "latency 5").length).toBe(2);
});

test("a line where nothing can be bounded is opened as it is", async () => {
  const tty = new MemoryTty();
  refusing(tty, new DeviceError("EOPNOTSUPP", "no latency"));
  const port = await ttyWithLatency(tty, 5).open(HOW, new Collector());
  await port.write(Uint8Array.of(1));
  await port.close();
});

test("a device that fails meanwhile is not open", async () => {
  const tty = new MemoryTty();
  const { closed } = refusing(tty, new DeviceError("EIO", "broken"));
  await expect(ttyWithLatency(tty, 5).open(HOW, new Collector())).rejects.toThrow("broken");
  expect(closed()).toBe(true);
});
