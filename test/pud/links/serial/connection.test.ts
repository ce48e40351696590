import { describe, expect, test } from "vitest";
import {
  DRAIN_MS,
  LINGER_MS,
  PROBE_MS,
  SHUTDOWN_DRAIN_MS,
  STALE_MS,
  type StartProtocol,
} from "../../../../src/pud/links/serial/connection.js";
import { WINDOW_BYTES } from "../../../../src/pud/links/serial/line.js";
import { DeviceError } from "../../../../src/rump/devsw.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { connectInMemory, settled } from "./rig.js";

/** Bytes as they are, with something to ask whether the client is there. */
const plain: StartProtocol = ({ line }) => ({
  start: () => undefined,
  receive: (chunk) => line.write(chunk),
  encode: (data) => new Uint8Array(data),
  changed: () => undefined,
  busy: false,
  probe: Buffer.from("?"),
});

describe("bytes", () => {
  test("go both ways", async () => {
    const rig = await connectInMemory(plain);
    rig.client.write("to the line");
    rig.tty.arrive("from the line");
    await settled();
    expect(rig.tty.sentBytes.toString()).toBe("to the line");
    expect(rig.received().toString()).toBe("from the line");
  });

  test("of a client are held when the line is held, and nothing is lost", async () => {
    const rig = await connectInMemory(plain);
    rig.tty.hold(true);
    const data = Buffer.alloc(20 * WINDOW_BYTES, "x");
    for (let at = 0; at < data.length; at += 4096) rig.client.write(data.subarray(at, at + 4096));
    await settled();
    // A window waits for the line, and what streams keep by themselves; the rest has not been read.
    expect(rig.client.writableLength).toBeGreaterThan(data.length - 2 * WINDOW_BYTES);
    rig.tty.hold(false);
    await settled();
    expect(rig.tty.sentBytes.equals(data)).toBe(true);
  });

  test("of the line are held when the client does not read, and nothing is lost", async () => {
    const rig = await connectInMemory(plain, new MemoryTty(), { deaf: true });
    const data = Buffer.alloc(10 * WINDOW_BYTES, "y");
    rig.tty.arrive(data);
    await settled();
    expect(rig.tty.waitingBytes).toBeGreaterThanOrEqual(data.length - 2 * WINDOW_BYTES);
    const parts: Buffer[] = [];
    rig.client.on("data", (chunk: Buffer) => parts.push(chunk));
    await settled();
    await settled();
    expect(Buffer.concat(parts).equals(data)).toBe(true);
  });
});

describe("the end", () => {
  test("a client that ends leaves its last bytes to the line", async () => {
    const rig = await connectInMemory(plain);
    rig.tty.hold(true);
    rig.client.end("last words");
    await settled();
    expect(rig.tty.calls).not.toContain("close");
    rig.tty.arrive("an answer");
    rig.tty.hold(false);
    await settled();
    expect(rig.tty.sentBytes.toString()).toBe("last words");
    expect(rig.tty.calls.slice(-2)).toEqual(["drain", "close"]);
    expect(rig.received().toString()).toBe("an answer");
    expect(rig.isClosed()).toBe(true);
    expect(rig.clock.armed).toBe(0);
  });

  test("what a client left behind is given up after a time", async () => {
    const rig = await connectInMemory(plain);
    rig.tty.hold(true);
    rig.client.write("stuck");
    await settled();
    rig.vanish();
    await settled();
    rig.clock.advance(DRAIN_MS - 1);
    await settled();
    expect(rig.tty.port).toBeDefined();
    rig.clock.advance(1);
    await settled();
    expect(rig.tty.port).toBeUndefined();
    expect(rig.isClosed()).toBe(true);
    expect(rig.clock.armed).toBe(0);
  });

  test("a line that is taken away has a moment, also when its client has gone before", async () => {
    const rig = await connectInMemory(plain);
    rig.tty.hold(true);
    rig.client.write("stuck");
    await settled();
    rig.vanish();
    await settled();
    rig.connection.shutDown("the host ends");
    rig.clock.advance(SHUTDOWN_DRAIN_MS);
    await settled();
    expect(rig.tty.port).toBeUndefined();
    expect(rig.isClosed()).toBe(true);
  });

  test("a device that goes ends its client, after what it said", async () => {
    const rig = await connectInMemory(plain);
    rig.tty.arrive("last words");
    rig.tty.fail();
    await settled();
    expect(rig.received().toString()).toBe("last words");
    expect(rig.client.readableEnded).toBe(true);
    rig.client.end();
    await settled();
    expect(rig.isClosed()).toBe(true);
  });

  test("a client that does not end after that is dropped", async () => {
    const rig = await connectInMemory(plain);
    rig.client.on("error", () => undefined);
    rig.tty.fail();
    await settled();
    expect(rig.isClosed()).toBe(false);
    rig.clock.advance(LINGER_MS);
    await settled();
    expect(rig.isClosed()).toBe(true);
  });

  test("a write that fails ends the client, and the log says why", async () => {
    const tty = new MemoryTty();
    const rig = await connectInMemory(plain, tty);
    const { port } = tty;
    if (port !== undefined) port.write = () => Promise.reject(new DeviceError("EIO", "the pipe is broken"));
    rig.client.write("x");
    await settled();
    expect(rig.log.entries).toContain("error test: the pipe is broken");
    expect(tty.port).toBeUndefined();
    expect(rig.client.readableEnded).toBe(true);
  });

  test("a line that cannot be opened is told to the client", async () => {
    const tty = new MemoryTty();
    const first = await connectInMemory(plain, tty);
    const second = await connectInMemory(plain, tty);
    expect(second.received().toString()).toBe("EBUSY: open: memory line is open already\r\n");
    expect(second.client.readableEnded).toBe(true);
    first.client.write("still here");
    await settled();
    expect(tty.sentBytes.toString()).toBe("still here");
  });

  test("a client that goes while the line is being opened leaves it closed", async () => {
    const tty = new MemoryTty();
    const open = tty.open.bind(tty);
    let goOn = (): void => undefined;
    tty.open = async (...how) => {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return await open(...how);
    };
    const rig = await connectInMemory(plain, tty);
    rig.vanish();
    await settled();
    expect(rig.isClosed()).toBe(false);
    goOn();
    await settled();
    expect(tty.calls.at(-1)).toBe("close");
    expect(rig.isClosed()).toBe(true);
  });
});

test("a client that is held is asked whether it is there", async () => {
  const rig = await connectInMemory(plain);
  rig.tty.hold(true);
  for (let sent = 0; sent < 4 * WINDOW_BYTES; sent += 4096) rig.client.write(Buffer.alloc(4096));
  await settled();
  rig.clock.advance(PROBE_MS);
  await settled();
  rig.clock.advance(PROBE_MS);
  await settled();
  expect(rig.received().toString()).toBe("??");
  rig.tty.hold(false);
  await settled();
  rig.clock.advance(PROBE_MS);
  await settled();
  expect(rig.received().toString()).toBe("??");
  expect(rig.clock.armed).toBe(0);
});

test("a client that is held for long and cannot be asked is stale, until it goes on", async () => {
  const rig = await connectInMemory((conversation) => {
    const { probe: _, ...mute } = plain(conversation);
    return mute;
  });
  rig.tty.hold(true);
  for (let sent = 0; sent < 4 * WINDOW_BYTES; sent += 4096) rig.client.write(Buffer.alloc(4096));
  await settled();
  rig.clock.advance(STALE_MS - 1);
  expect(rig.connection.stale).toBe(false);
  rig.clock.advance(1);
  expect(rig.connection.stale).toBe(true);
  rig.tty.hold(false);
  await settled();
  expect(rig.connection.stale).toBe(false);
  expect(rig.clock.armed).toBe(0);
});
