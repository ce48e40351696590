/** A serial line through both halves of pud. */
import { expect, test } from "vitest";
import type { LineSettings } from "../../src/rump/devsw.js";
import { MemoryTty } from "../fakes/memory-tty.js";
import { connectRump, type HostRig, hostRig, until } from "../fakes/pud-pair.js";
import { Collector } from "../fakes/tty-collector.js";

const SETTINGS: LineSettings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
const HOW = { settings: SETTINGS, outputs: { dtr: true, rts: true } };

async function serve(tty: MemoryTty, rig: HostRig = hostRig("hold")): Promise<HostRig> {
  connectRump(rig).server.publish("ttyU", tty);
  await until("a node", () => rig.ttys.length === 1);
  return rig;
}

test("opened, written to, read from, closed", async () => {
  const tty = new MemoryTty();
  const rig = await serve(tty);
  expect(rig.tty().info).toEqual(tty.info);
  const collector = new Collector();
  const port = await rig.tty().open(HOW, collector);
  await port.write(Buffer.from("hello"));
  expect(tty.sentBytes.toString()).toBe("hello");
  tty.arrive("world and more");
  expect(collector.bytes).toBe(0);
  port.grant(5);
  await until("what was granted", () => collector.bytes === 5);
  port.grant(100);
  await until("the rest", () => collector.data.toString() === "world and more");
  await port.close();
  await port.close();
  expect(tty.port).toBeUndefined();
  expect(collector.closedWith).toBeUndefined();
  await expect(port.write(Uint8Array.of(1))).rejects.toMatchObject({ code: "ENODEV" });
});
