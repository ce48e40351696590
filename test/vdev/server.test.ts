import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createUsbip } from "../../src/dev/usbip/usbip.js";
import type { HostController } from "../../src/dev/usb/usbdivar.js";
import { streamOfSocket } from "../../src/rumpuser/real/byte-stream.js";
import { type ModelServer, type ServeOptions, serveModels } from "../../src/vdev/server.js";
import { ECHO, EchoModel } from "../fakes/echo-model.js";
import { testClock } from "../fakes/test-clock.js";

let folder: string;
let path: string;
let undo: (() => Promise<unknown>)[];
let log: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-"));
  path = join(folder, "usbip");
  undo = [];
  log = [];
});
afterEach(async () => {
  for (const step of undo.toReversed()) await step();
  rmSync(folder, { recursive: true });
});

async function serve(options: Partial<ServeOptions> = {}): Promise<ModelServer> {
  const server = await serveModels({
    listen: { unix: path },
    exports: [],
    log: { write: ({ message }) => void log.push(message) },
    ...options,
  });
  undo.push(() => server.close());
  return server;
}

async function connect(address: string | net.NetConnectOpts = path): Promise<net.Socket> {
  const socket = typeof address === "string" ? net.connect(address) : net.connect(address);
  await once(socket, "connect");
  undo.push(async () => socket.destroy());
  return socket;
}

async function attach(busId = "1-1", address?: net.NetConnectOpts): Promise<HostController> {
  const stream = streamOfSocket(await connect(address));
  const hc = await createUsbip(stream, { name: "usbip0", clock: testClock, busId });
  undo.push(() => hc.close());
  await hc.ports.reset(1);
  return hc;
}

const read = (hc: HostController, endpointAddress: number, bytes = 4) =>
  new Promise<string>((resolve) => {
    hc.submit({ address: 0, endpointAddress, type: "bulk", data: new Uint8Array(bytes) }, ({ status }) =>
      resolve(status),
    );
  });

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition())
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
};

describe("clients", () => {
  test("a device outlives its client, whose URBs are taken back; the next one finds it reset", async () => {
    const model = new EchoModel();
    await serve({ exports: [{ busId: "1-1", model }] });
    const first = await attach();
    const waiting = read(first, ECHO.NAK_IN);
    await until(() => model.pending.length === 1);
    await first.close();
    expect(await waiting).toBe("disconnected");
    await until(() => model.pending.length === 0);
    const second = await attach();
    expect(await read(second, ECHO.COUNT_IN)).toBe("ok");
    expect(model.resets).toBe(2);
    expect(model.closed).toBe(false);
  });

  test("one importer at a time; the others are told so", async () => {
    await serve({ exports: [{ busId: "1-1", model: new EchoModel() }] });
    const first = await attach();
    await expect(attach()).rejects.toMatchObject({ code: "USBIP_BUSY" });
    await expect(attach("1-2")).rejects.toMatchObject({ code: "USBIP_NO_DEVICE" });
    expect(await read(first, ECHO.COUNT_IN)).toBe("ok");
  });

  test("several exports do not hear of each other", async () => {
    const models = [new EchoModel(), new EchoModel()];
    await serve({ exports: models.map((model, n) => ({ busId: `1-${n + 1}`, model })) });
    const [one, two] = [await attach("1-1"), await attach("1-2")];
    models[0]?.unplug();
    await until(() => !one.ports.status(1).connected);
    expect(await read(two, ECHO.COUNT_IN)).toBe("ok");
  });

  test("a device that was unplugged is gone from the list until it is plugged again", async () => {
    const model = new EchoModel();
    const server = await serve({ exports: [{ busId: "1-1", model }] });
    const hc = await attach();
    const waiting = read(hc, ECHO.NAK_IN);
    await until(() => model.pending.length === 1);
    expect(server.unplug("1-1")).toBe(true);
    expect(server.unplug("1-1")).toBe(false);
    expect(await waiting).toBe("disconnected");
    await expect(attach()).rejects.toMatchObject({ code: "USBIP_NO_DEVICE" });
    server.plug("1-1", model);
    expect(await read(await attach(), ECHO.COUNT_IN)).toBe("ok");
  });

  test("garbage is dropped with a line in the log, and others go on", async () => {
    const server = await serve({ exports: [{ busId: "1-1", model: new EchoModel() }] });
    const hc = await attach();
    const vandal = await connect();
    vandal.resume();
    vandal.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(vandal, "close");
    expect(log.join("\n")).toContain("client 2: client dropped: it starts with 47 45 54");
    expect(await read(hc, ECHO.COUNT_IN)).toBe("ok");
    expect(server.clients).toBe(1);
  });

  test("more than 64 connections are closed at once", async () => {
    const server = await serve();
    for (let n = 0; n < 64; n++) await connect();
    await until(() => server.clients === 64);
    const extra = await connect();
    extra.resume();
    await once(extra, "close");
    expect(server.clients).toBe(64);
  });

  test("closing the server ends its connections", async () => {
    const server = await serve({ exports: [{ busId: "1-1", model: new EchoModel() }] });
    const hc = await attach();
    const waiting = read(hc, ECHO.NAK_IN);
    await server.close();
    expect(await waiting).toBe("disconnected");
    expect(existsSync(path)).toBe(false);
  });
});

describe("listening", () => {
  test("a Unix socket is its owner's alone", async () => {
    await serve();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("the socket of a dead server is replaced", async () => {
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    await promisify(execFile)(process.execPath, ["-e", script]).catch((error: unknown) => error);
    expect(statSync(path).isSocket()).toBe(true);
    await serve();
    await connect();
  });

  test("the socket of a live server is in use", async () => {
    await serve();
    await expect(serve()).rejects.toMatchObject({ code: "LISTEN_IN_USE", message: expect.stringContaining(path) });
    await connect();
  });

  test("a file that is no socket is left alone", async () => {
    writeFileSync(path, "precious");
    await expect(serve()).rejects.toMatchObject({ code: "LISTEN_NOT_A_SOCKET" });
    expect(existsSync(path)).toBe(true);
  });

  test("a path of 108 bytes is too long, and the message says how long it may be", async () => {
    const long = join(folder, "x".repeat(107 - folder.length));
    expect(Buffer.byteLength(long)).toBe(108);
    await expect(serve({ listen: { unix: long } })).rejects.toMatchObject({
      code: "LISTEN_PATH",
      message: expect.stringContaining("has 108 bytes, Linux takes 1 to 107"),
    });
    await serve({ listen: { unix: long.slice(0, 107) } });
  });

  test("a folder that is not there is a clear error", async () => {
    await expect(serve({ listen: { unix: join(folder, "no", "such") } })).rejects.toMatchObject({
      code: "LISTEN_FAILED",
    });
  });

  test.each(["0.0.0.0", "192.0.2.1", "::", "example.org"])("%s needs to be asked for", async (host) => {
    await expect(serve({ listen: { host, port: 0 } })).rejects.toMatchObject({ code: "LISTEN_REMOTE" });
  });

  test("TCP on loopback, with the port that was given", async () => {
    const server = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      exports: [{ busId: "1-1", model: new EchoModel() }],
    });
    const { address } = server;
    const port = "port" in address ? (address.port ?? 0) : 0;
    expect(port).toBeGreaterThan(0);
    expect(await read(await attach("1-1", { host: "127.0.0.1", port }), ECHO.COUNT_IN)).toBe("ok");
  });
});

const usbipTool = ["/usr/sbin/usbip", "/usr/bin/usbip", "/sbin/usbip"].find((tool) => existsSync(tool));

test.skipIf(usbipTool === undefined)(
  "Linux's usbip tool lists the exports (skipped where it is not installed)",
  async () => {
    const server = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      exports: [
        { busId: "1-1", model: new EchoModel() },
        { busId: "1-2.3", model: new EchoModel() },
      ],
    });
    const port = "port" in server.address ? String(server.address.port) : "";
    const { stdout } = await promisify(execFile)(usbipTool ?? "usbip", ["--tcp-port", port, "list", "-r", "127.0.0.1"]);
    expect(stdout).toMatch(/1-1: .*1209:0001/);
    expect(stdout).toMatch(/1-2\.3: .*1209:0001/);
    expect(stdout).toContain("Vendor Specific Class");
  },
);
