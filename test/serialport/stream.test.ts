/** Programs written for node-serialport, on lines of ours. */
import { once } from "node:events";
import { ReadlineParser } from "@serialport/parser-readline";
import { SerialPortStream } from "@serialport/stream";
import { describe, expect, test } from "vitest";
import { openLink, parseLink } from "../../src/pud/links/links.js";
import { bindTtys, createBinding } from "../../src/serialport.js";
import type { BindingInterface, OpenOptions } from "../../src/serialport/interface.js";
import { linkContext } from "../fakes/link-context.js";
import { MemoryTty } from "../fakes/memory-tty.js";
import { temporaryFolder } from "../pud/links/nbd/rig.js";
import { until } from "../pud/links/serial/rig.js";

interface Rig extends AsyncDisposable {
  readonly tty: MemoryTty;
  readonly binding: BindingInterface;
}

function inProcess(tty: MemoryTty): Promise<Rig> {
  const binding = bindTtys(new Map([["ttyU0", tty]]));
  return Promise.resolve({ tty, binding, [Symbol.asyncDispose]: () => Promise.resolve() });
}

async function overSocket(tty: MemoryTty): Promise<Rig> {
  const folder = await temporaryFolder();
  const link = await openLink(parseLink("rfc2217"), linkContext(folder.path));
  await link.serve("ttyU0", tty);
  return {
    tty,
    binding: createBinding({ runtimeDir: folder.path }),
    [Symbol.asyncDispose]: async () => {
      await link.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function openStream(binding: BindingInterface, options: Partial<OpenOptions> = {}): Promise<SerialPortStream> {
  const stream = new SerialPortStream({ binding, path: "ttyU0", baudRate: 115_200, ...options } as never);
  await once(stream, "open");
  return stream;
}

/** A method of the stream that has a callback. */
function done(call: (callback: (error: Error | null) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    call((error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

function echoing(): MemoryTty {
  const tty = new MemoryTty();
  tty.loopback = true;
  return tty;
}

describe.each([
  ["in the process", inProcess],
  ["over RFC 2217", overSocket],
])("%s", (_where, start) => {
  test("lists what can be opened", async () => {
    await using rig = await start(new MemoryTty());
    expect((await rig.binding.list()).map(({ path }) => path)).toEqual(["ttyU0"]);
  });

  test("the readline parser gets its lines", async () => {
    await using rig = await start(echoing());
    const stream = await openStream(rig.binding);
    const lines: string[] = [];
    stream.pipe(new ReadlineParser({ delimiter: "\r\n" })).on("data", (line: string) => lines.push(line));
    stream.write("first\r\nsec");
    stream.write("ond\r\nthi");
    await until(() => lines.length === 2);
    expect(lines).toEqual(["first", "second"]);
    await done((callback) => stream.close(callback));
  });

  test("a mebibyte comes back", async () => {
    await using rig = await start(echoing());
    const stream = await openStream(rig.binding);
    const data = Buffer.from(Array.from({ length: 1 << 20 }, (_, at) => (at * 7) % 256));
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(Buffer.from(part)));
    stream.write(data);
    await until(() => parts.reduce((sum, { length }) => sum + length, 0) === data.length);
    expect(Buffer.concat(parts).equals(data)).toBe(true);
    await done((callback) => stream.close(callback));
  });

  test("a reader that does not read holds the device", async () => {
    await using rig = await start(new MemoryTty());
    const stream = await openStream(rig.binding);
    stream.pause();
    rig.tty.arrive(Buffer.alloc(8 << 20));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(rig.tty.waitingBytes).toBeGreaterThan(1 << 20);
    await done((callback) => stream.close(callback));
  });

  test("opens with every setting, and changes the rate", async () => {
    await using rig = await start(new MemoryTty());
    const stream = await openStream(rig.binding, { dataBits: 7, parity: "even", stopBits: 2, rtscts: true });
    const settings = { dataBits: 7, parity: "even", stopBits: 2, flowControl: "rtsCts" };
    expect(rig.tty.port?.settings).toEqual({ ...settings, baud: 115_200 });
    await done((callback) => stream.update({ baudRate: 9600 }, callback));
    expect(rig.tty.port?.settings).toEqual({ ...settings, baud: 9600 });
    expect(await stream.port?.getBaudRate()).toEqual({ baudRate: 9600 });
    await expect(done((callback) => stream.update({ baudRate: 4_000_000 }, callback))).rejects.toThrow(/4000000/);
    expect(rig.tty.port?.settings.baud).toBe(9600);
    await done((callback) => stream.close(callback));
  });

  test("sets DTR, RTS and break, and reads CTS, DSR and DCD", async () => {
    await using rig = await start(new MemoryTty());
    rig.tty.setLines({ cts: true, dcd: true });
    const stream = await openStream(rig.binding);
    await done((callback) => stream.set({ dtr: false, brk: true }, callback));
    await done((callback) => stream.set({ rts: false, brk: true }, callback));
    await done((callback) => stream.set({}, callback));
    expect(rig.tty.calls.filter((call) => call.startsWith("break"))).toEqual(["break on", "break off"]);
    expect(rig.tty.calls).toContain("outputs dtr=false rts=true");
    expect(rig.tty.port?.outputs).toEqual({ dtr: true, rts: true });
    expect(await stream.port?.get()).toEqual({ cts: true, dsr: false, dcd: true });
    await done((callback) => stream.close(callback));
  });

  test("drains and flushes", async () => {
    await using rig = await start(new MemoryTty());
    const stream = await openStream(rig.binding);
    rig.tty.hold(true);
    let drained = false;
    stream.write("slow");
    const draining = done((callback) => stream.drain(callback)).then(() => {
      drained = true;
    });
    await stream.port?.get();
    expect(drained).toBe(false);
    rig.tty.hold(false);
    await draining;
    expect(rig.tty.sentBytes.toString()).toBe("slow");
    await done((callback) => stream.flush(callback));
    expect(rig.tty.calls.at(-1)).toBe("flush both");
    await done((callback) => stream.close(callback));
  });

  test("closes with a read under way, and may be opened again", async () => {
    await using rig = await start(echoing());
    const stream = await openStream(rig.binding);
    const parts: Buffer[] = [];
    const errors: Error[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("error", (error: Error) => errors.push(error));
    await done((callback) => stream.close(callback));
    await until(() => rig.tty.port === undefined);
    stream.open();
    await once(stream, "open");
    stream.write("again");
    await until(() => Buffer.concat(parts).toString() === "again");
    await done((callback) => stream.close(callback));
    expect(errors).toEqual([]);
  });

  test("a device that goes closes the stream, after what it said", async () => {
    await using rig = await start(new MemoryTty());
    const stream = await openStream(rig.binding);
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    rig.tty.arrive("last words");
    const closed = once(stream, "close");
    rig.tty.fail();
    expect(await closed).toEqual([expect.objectContaining({ disconnected: true })]);
    expect(Buffer.concat(parts).toString()).toBe("last words");
    expect(stream.isOpen).toBe(false);
  });

  test.each<[string, Partial<OpenOptions>, RegExp]>([
    ["a path that is not there", { path: "ttyU9" }, /ttyU9/],
    ["a parity that is none", { parity: "some" }, /parity "some"/],
    ["two flow controls", { rtscts: true, xon: true }, /one flow control/],
    ["a rate that cannot be", { baudRate: 4_000_000 }, /4000000/],
  ])("%s is an error, and leaves the line closed", async (_what, options, message) => {
    await using rig = await start(new MemoryTty());
    const how = { path: "ttyU0", baudRate: 9600, ...options };
    await expect(rig.binding.open(how)).rejects.toThrow(message);
    await until(() => rig.tty.port === undefined);
  });

  test("a second opener is refused", async () => {
    await using rig = await start(new MemoryTty());
    const stream = await openStream(rig.binding);
    await expect(rig.binding.open({ path: "ttyU0", baudRate: 9600 })).rejects.toThrow(
      expect.objectContaining({ code: "EBUSY" }),
    );
    await done((callback) => stream.close(callback));
  });
});
