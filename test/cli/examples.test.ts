import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { createBinding } from "../../src/serialport.js";
import { until } from "../pud/links/serial/rig.js";
import { runTool } from "../tools.js";

const example = (name: string): string => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

test("json-events: follows a device from a program", async () => {
  const { exitCode, stdout } = await runTool(process.execPath, [example("json-events.mjs")]);
  expect(stdout.replaceAll(/sd[0-9]+/g, "sdN").split("\n")).toEqual([
    "sdN: disk of 1048576 bytes on sim:flash-drive",
    "sdN: reachable by nbd",
    "sim:flash-drive: detached",
    "exit status 0",
    "",
  ]);
  expect(exitCode).toBe(0);
});

test("json-events: a device that is not there", async () => {
  const { stdout } = await runTool(process.execPath, [example("json-events.mjs"), "ffff:ffff"]);
  expect(stdout).toBe("failed: NO_SUCH_DEVICE\nexit status 3\n");
});

/** An example that reads its standard input. */
function start(name: string, args: readonly string[] = []) {
  const child = spawn(process.execPath, [example(name), ...args]);
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said.err += chunk.toString()));
  return { child, said, ended: once(child, "close") };
}

test("tipsy: a terminal on a simulated adapter", async () => {
  const { child, said, ended } = start("tipsy.mjs", ["sim:serial,chip=ftdi", "9600"]);
  child.stdin.end("hello\n~s~~ is a tilde, ~~ too\n~d~?last line\n");
  expect(await ended).toEqual([0, null]);
  expect(said.out).toBe("hello\n~ is a tilde, ~~ too\nlast line\n");
  expect(said.err.replace(/at \d+ baud/, "at N baud").split("\r\n")).toEqual([
    "[connected to FT232R at N baud]",
    "[CTS on, DSR on, DCD on, RI off]",
    "[DTR off]",
    "[~. ends, ~b break, ~d DTR, ~r RTS, ~s modem lines, ~~ is a ~]",
    "[disconnected]",
    "",
  ]);
});

test("tipsy: ~. ends, and what was typed before has been sent", async () => {
  const { child, said, ended } = start("tipsy.mjs");
  child.stdin.write("hello\n");
  await until(() => said.out === "hello\n");
  child.stdin.write("~.");
  expect(await ended).toEqual([0, null]);
});

test("ttyserv: other programs open the adapter", async () => {
  const runtimeDir = await mkdtemp(join(tmpdir(), "rumpusb-ttyserv-"));
  const { child, said, ended } = start("ttyserv.mjs", ["sim:serial,chip=ftdi", runtimeDir]);
  await until(() => said.out.includes("ready\n"));
  expect(said.out.split("\n")).toEqual([
    "ttyU0: FT232R on sim:serial",
    `ttyU0: pty at ${runtimeDir}/ttyU0`,
    `ttyU0: rfc2217 at rfc2217+unix://${runtimeDir}/ttyU0.rfc2217.sock`,
    "ready",
    "",
  ]);
  const port = await createBinding({ runtimeDir }).open({ path: "ttyU0", baudRate: 9600 });
  await port.write(Buffer.from("there and back"));
  const { buffer, bytesRead } = await port.read(Buffer.alloc(100), 0, 100);
  expect(buffer.toString("latin1", 0, bytesRead)).toBe("there and back".slice(0, bytesRead));
  await port.close();
  child.stdin.end();
  expect(await ended).toEqual([0, null]);
  expect(said.err).toBe("");
  await rm(runtimeDir, { recursive: true });
});
