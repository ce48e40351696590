import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLink, parseLink } from "../../../../src/pud/links/links.js";
import { rfc2217Tty } from "../../../../src/pud/links/rfc2217/client.js";
import { DEFAULT_SETTINGS } from "../../../../src/pud/links/wheres.js";
import {
  type DeviceError,
  LineSettingsError,
  type TtyOpen,
  type TtyPort,
  type TtyStatus,
} from "../../../../src/rump/devsw.js";
import { linkContext } from "../../../fakes/link-context.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { temporaryFolder } from "../nbd/rig.js";
import { serveOnTcp, until } from "../serial/rig.js";

const HOW: TtyOpen = { settings: DEFAULT_SETTINGS, outputs: { dtr: true, rts: false } };

class Receiver {
  readonly parts: Buffer[] = [];
  readonly statuses: TtyStatus[] = [];
  end: DeviceError | undefined;

  received(data: Uint8Array): void {
    this.parts.push(Buffer.from(data));
  }
  changed(status: TtyStatus): void {
    this.statuses.push(status);
  }
  closed(error: DeviceError): void {
    this.end = error;
  }
  get bytes(): Buffer {
    return Buffer.concat(this.parts);
  }
}

interface ClientRig extends AsyncDisposable {
  readonly tty: MemoryTty;
  readonly port: TtyPort;
  readonly receiver: Receiver;
  readonly address: { readonly host: string; readonly port: number };
}

async function openOnTcp(tty = new MemoryTty(), how = HOW): Promise<ClientRig> {
  const rig = await serveOnTcp("rfc2217=tcp:0", tty);
  const receiver = new Receiver();
  const address = { host: "127.0.0.1", port: rig.port };
  const port = await rfc2217Tty(address, "far line").open(how, receiver);
  const dispose = async (): Promise<void> => {
    await port.close();
    await rig[Symbol.asyncDispose]();
  };
  return { tty, port, receiver, address, [Symbol.asyncDispose]: dispose };
}

describe("a line over RFC 2217", () => {
  test("is opened as was asked for, and closed", async () => {
    const settings = { ...DEFAULT_SETTINGS, baud: 9600, parity: "even", flowControl: "rtsCts" } as const;
    const rig = await openOnTcp(new MemoryTty(), { ...HOW, settings });
    expect(rig.tty.port?.settings).toEqual(settings);
    expect(rig.tty.port?.outputs).toEqual(HOW.outputs);
    expect(rig.port.settings).toEqual(settings);
    await rig.port.close();
    await rig.port.close();
    await until(() => rig.tty.port === undefined);
    expect(rig.receiver.end).toBeUndefined();
    await expect(rig.port.drain()).rejects.toThrow(expect.objectContaining({ code: "ENODEV" }));
    await rig[Symbol.asyncDispose]();
  });

  test("brings bytes there and back, also on a Unix socket", async () => {
    await using folder = await temporaryFolder();
    const tty = new MemoryTty();
    tty.loopback = true;
    const link = await openLink(parseLink("rfc2217"), linkContext(folder.path));
    await link.serve("ttyU0", tty);
    const receiver = new Receiver();
    const port = await rfc2217Tty({ unix: join(folder.path, "ttyU0.rfc2217.sock") }, "far line").open(HOW, receiver);
    port.grant(1e9);
    const data = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at % 256));
    await port.write(data);
    await until(() => receiver.bytes.length === data.length);
    expect(receiver.bytes.equals(data)).toBe(true);
    await port.close();
    await link.close();
  });

  test("receives no more than was granted", async () => {
    await using rig = await openOnTcp();
    rig.port.grant(3);
    rig.tty.arrive("abcdef");
    await until(() => rig.receiver.bytes.length === 3);
    expect((await rig.port.status()).lines.cts).toBe(false);
    expect(rig.receiver.bytes.toString()).toBe("abc");
    rig.port.grant(10);
    expect(rig.receiver.bytes.toString()).toBe("abcdef");
  });

  test("holds the device when nothing is granted, and answers all the same", async () => {
    await using rig = await openOnTcp();
    const data = Buffer.alloc(8 * 1024 * 1024, "z");
    rig.tty.arrive(data);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(rig.tty.waitingBytes).toBeGreaterThan(0);
    await rig.port.configure({ ...DEFAULT_SETTINGS, baud: 9600 });
    rig.port.grant(data.length);
    await until(() => rig.receiver.bytes.length === data.length);
  });

  test("changes settings, lines and break, and purges", async () => {
    await using rig = await openOnTcp();
    const before = rig.tty.calls.length;
    await rig.port.configure({ ...DEFAULT_SETTINGS, stopBits: 2 });
    await rig.port.setOutputs({ dtr: false });
    await rig.port.setBreak(true);
    await rig.port.setBreak(false);
    await rig.port.flush("both");
    await rig.port.drain();
    expect(rig.tty.calls.slice(before).filter((call) => !call.startsWith("configure"))).toEqual([
      "outputs dtr=false rts=false",
      "break on",
      "break off",
      "flush both",
      "drain",
    ]);
    expect(rig.tty.port?.settings.stopBits).toBe(2);
    expect(rig.port.outputs).toEqual({ dtr: false, rts: false });
    await expect(rig.port.setLatency(1)).rejects.toThrow(expect.objectContaining({ code: "EOPNOTSUPP" }));
  });

  test("says what the device cannot make, and keeps the rest", async () => {
    await using rig = await openOnTcp();
    await expect(rig.port.configure({ ...DEFAULT_SETTINGS, baud: 4_000_000 })).rejects.toThrow(
      expect.objectContaining({ code: "EINVAL", nearest: DEFAULT_SETTINGS }),
    );
    expect(rig.port.settings).toEqual(DEFAULT_SETTINGS);
  });

  test("says what the device cannot make at the opening, too", async () => {
    const rig = await serveOnTcp("rfc2217=tcp:0");
    const tty = rfc2217Tty({ host: "127.0.0.1", port: rig.port }, "far line");
    const refuse = rig.tty.checkSettings.bind(rig.tty);
    rig.tty.checkSettings = (settings) => {
      refuse(settings);
      if (settings.flowControl === "rtsCts")
        throw new LineSettingsError("no rtsCts", { ...settings, flowControl: "none" });
    };
    const settings = { ...DEFAULT_SETTINGS, parity: "odd", flowControl: "rtsCts" } as const;
    await expect(tty.open({ ...HOW, settings }, new Receiver())).rejects.toThrow(
      expect.objectContaining({ code: "EINVAL", nearest: { ...settings, flowControl: "none" } }),
    );
    const port = await tty.open(HOW, new Receiver());
    await expect(port.configure(settings)).rejects.toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(rig.tty.port?.settings).toEqual(DEFAULT_SETTINGS);
    await port.close();
    await rig.link.close();
  });

  test("of a device that cannot make the rate with which lines begin is opened all the same", async () => {
    await using rig = await openOnTcp(new MemoryTty({ maxBaud: 19_200 }), {
      ...HOW,
      settings: { ...DEFAULT_SETTINGS, baud: 9600 },
    });
    expect(rig.tty.calls[0]).toBe("open 19200");
    expect(rig.tty.port?.settings.baud).toBe(9600);
  });

  test("8 MB of numbered words go both ways while the line is held now and then", { timeout: 60_000 }, async () => {
    const tty = new MemoryTty();
    tty.loopback = true;
    await using rig = await openOnTcp(tty, { ...HOW, settings: { ...DEFAULT_SETTINGS, flowControl: "rtsCts" } });
    const words = Uint32Array.from({ length: 2_000_000 }, (_, at) => at);
    const data = Buffer.from(words.buffer);
    const holding = setInterval(() => {
      tty.hold(true);
      setTimeout(() => tty.hold(false), 5);
    }, 20);
    rig.port.grant(256 * 1024);
    const take = rig.receiver.received.bind(rig.receiver);
    let receivedBytes = 0;
    rig.receiver.received = (part) => {
      take(part);
      receivedBytes += part.length;
      rig.port.grant(part.length);
    };
    for (let at = 0; at < data.length; at += 100_000) await rig.port.write(data.subarray(at, at + 100_000));
    await until(() => receivedBytes === data.length);
    clearInterval(holding);
    expect(rig.receiver.bytes.equals(data)).toBe(true);
    expect(tty.sentBytes.equals(data)).toBe(true);
  });

  test("tells lines and errors as they change", async () => {
    await using rig = await openOnTcp();
    rig.tty.setLines({ cts: true, ri: true });
    rig.tty.countError("parity");
    rig.tty.countError("parity");
    await until(() => rig.receiver.statuses.length === 3);
    expect(rig.receiver.statuses.at(-1)).toEqual({
      lines: { cts: true, dsr: false, dcd: false, ri: true },
      errors: { framing: 0, parity: 2, overrun: 0, break: 0 },
    });
    expect(await rig.port.status()).toEqual(rig.receiver.statuses.at(-1));
  });

  test("drains when the device has sent everything", async () => {
    await using rig = await openOnTcp();
    rig.tty.hold(true);
    await rig.port.write(Buffer.from("slow"));
    let drained = false;
    const draining = rig.port.drain().then(() => {
      drained = true;
    });
    await rig.port.status();
    expect(drained).toBe(false);
    rig.tty.hold(false);
    await draining;
    expect(rig.tty.sentBytes.toString()).toBe("slow");
  });

  test("ends when the device goes", async () => {
    await using rig = await openOnTcp();
    rig.tty.hold(true);
    const draining = rig.port.write(Buffer.from("x")).then(() => rig.port.drain());
    await until(() => rig.tty.port !== undefined);
    rig.tty.fail();
    await expect(draining).rejects.toThrow(expect.objectContaining({ code: "ENODEV" }));
    await until(() => rig.receiver.end !== undefined);
    await expect(rig.port.write(Buffer.from("y"))).rejects.toThrow(expect.objectContaining({ code: "ENODEV" }));
  });

  test("that is in use is EBUSY, with the server's word", async () => {
    await using rig = await openOnTcp();
    await expect(rfc2217Tty(rig.address, "far line").open(HOW, new Receiver())).rejects.toThrow(
      expect.objectContaining({ code: "EBUSY", message: "ttyU0 is in use" }),
    );
  });

  test("that is not there is ENODEV", async () => {
    await expect(rfc2217Tty({ unix: "/nowhere/tty.sock" }, "far line").open(HOW, new Receiver())).rejects.toThrow(
      expect.objectContaining({ code: "ENODEV", message: expect.stringMatching(/ENOENT/) }),
    );
  });

  test("of a server that says nothing can be given up", async () => {
    const server = createServer((socket) => socket.on("error", () => undefined).resume()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const bound = server.address();
    const port = bound !== null && typeof bound === "object" ? bound.port : 0;
    const giveUp = new AbortController();
    const opening = rfc2217Tty({ host: "127.0.0.1", port }, "far line").open(HOW, new Receiver(), {
      signal: giveUp.signal,
    });
    await once(server, "connection");
    giveUp.abort();
    await expect(opening).rejects.toThrow(expect.objectContaining({ code: "ECANCELED" }));
    await new Promise((resolve) => server.close(resolve));
  });
});
