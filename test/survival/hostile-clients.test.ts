/** Real processes: clients that flood, never read and vanish on one stick, while another one is read and written. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RunningCommand } from "../cli/command.js";
import { CMD, OPT, option, request } from "../pud/links/nbd/client.js";
import { requireTool, runTool } from "../tools.js";

const TIMEOUT_MS = 100_000;
const AFTERMATH_MS = 50_000;
const STICK_BYTES = 4 << 20;
const CONNECTIONS = 2_000;
/** Of 1 MiB each: what is read for them and not fetched would be 2 GiB. */
const DEAF_CLIENTS = 32;
const DEAF_READS = 64;
const PAGE_BYTES = 4096;
/** The host may hold a window of answers for each client (docs/security.md). */
const MAX_GROWTH_BYTES = 256 << 20;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-hc-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Connected, and indifferent to how that ends. */
async function connectTo(path: string): Promise<net.Socket> {
  const socket = net.connect(path);
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.once("connect", resolve).once("close", () => resolve()));
  return socket;
}

/** A client that asks for much and reads nothing. */
async function deafClient(path: string): Promise<net.Socket> {
  const socket = await connectTo(path);
  const flags = Buffer.from([0, 0, 0, 3]);
  socket.pause();
  socket.write(Buffer.concat([flags, option(OPT.EXPORT_NAME, Buffer.from(""))]));
  for (let read = 0; read < DEAF_READS; read++)
    socket.write(request({ type: CMD.READ, cookie: BigInt(read), offset: 0, length: 1 << 20 }));
  return socket;
}

function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
}

test(
  "a flood of connections, deaf clients, cut-off writes, and the driver killed in between: the other stick never notices",
  async (context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    const stick = `sim:flash-drive,size=${STICK_BYTES}`;
    await using host = new RunningCommand("run", "--json", "--runtime-dir", folder, stick, stick);
    await host.event("ready");
    const [victim, bystander] = host.events.filter(({ event }) => event === "link");
    const driver = host.events.find(({ event, device }) => event === "device" && device === deviceOf(victim?.["node"]));
    const path = join(folder, `${String(victim?.["node"])}.nbd.sock`);
    const uri = String(bystander?.["uri"]);
    const before = residentBytes(host.pid);

    let isOver = false;
    const stream = (async () => {
      let rounds = 0;
      for (; !isOver || rounds < 2; rounds++) {
        const data = randomBytes(STICK_BYTES);
        writeFileSync(join(folder, "source"), data);
        expect(await runTool(nbdcopy, ["--flush", join(folder, "source"), uri])).toMatchObject({ exitCode: 0 });
        expect(await runTool(nbdcopy, [uri, join(folder, "copy")])).toMatchObject({ exitCode: 0 });
        expect(readFileSync(join(folder, "copy")).equals(data)).toBe(true);
      }
      return rounds;
    })();

    const deaf = await Promise.all(Array.from({ length: DEAF_CLIENTS }, async () => await deafClient(path)));
    process.kill(Number(driver?.["pid"]), "SIGKILL");
    for (let made = 0; made < CONNECTIONS; made += 100) {
      const some = await Promise.all(Array.from({ length: 100 }, async () => await connectTo(path)));
      // Some say half a write and go, others say nothing and go.
      for (const socket of some.slice(0, 50)) socket.write(request({ type: CMD.WRITE, length: 1 << 20 }));
      for (const socket of some) socket.destroy();
    }
    await host.event("restart");
    expect(residentBytes(host.pid) - before).toBeLessThan(MAX_GROWTH_BYTES);
    for (const socket of deaf) socket.destroy();
    isOver = true;
    expect(await stream).toBeGreaterThanOrEqual(2);

    // A client that closed its half may still read: what each of them asked first is still read for it.
    const after = await runTool(nbdcopy, [String(victim?.["uri"]), "null:"], AFTERMATH_MS);
    expect(after, after.stderr).toMatchObject({ exitCode: 0 });
    const told = host.events.filter(({ event }) => event === "restart" || event === "error" || event === "node-gone");
    expect(told.map(({ device }) => device)).toEqual([driver?.["device"]]);
    expect(host.events.filter(({ event }) => event === "log").length).toBeLessThan(CONNECTIONS / 10);
    expect(await host.end()).toBe(0);

    function deviceOf(node: unknown): unknown {
      return host.events.find((event) => event.event === "node" && event["node"] === node)?.["device"];
    }
  },
  TIMEOUT_MS,
);
