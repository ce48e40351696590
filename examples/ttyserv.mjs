/**
 * Serves a serial adapter to the host: other programs open `ttyU0` in the runtime directory like any terminal, and RFC 2217
 * clients find it on a socket beside it. (NetBSD's ttyserv did it with a device node of its kernel.)
 *
 *   node examples/ttyserv.mjs [DEVICE] [RUNTIME-DIR]      default: a simulated FTDI adapter that hears itself
 *
 * Ends with Ctrl-C, or when standard input ends.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [device = "sim:serial,chip=ftdi", runtimeDir] = process.argv.slice(2);
const command = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
const where = runtimeDir === undefined ? [] : ["--runtime-dir", runtimeDir];
const options = ["run", "--json", "--link", "pty", "--link", "rfc2217", ...where, device];
const host = spawn(process.execPath, [command, ...options], { stdio: ["ignore", "pipe", "inherit"] });
const ended = new Promise((resolve) => host.once("exit", resolve));

process.on("SIGINT", () => host.kill("SIGTERM"));
process.stdin.once("end", () => host.kill("SIGTERM")).resume();

for await (const line of createInterface({ input: host.stdout })) {
  const event = JSON.parse(line);
  if (event.event === "node") console.log(`${event.node}: ${event.model} on ${event.device}`);
  if (event.event === "link") console.log(`${event.node}: ${event.link} at ${event.path ?? event.uri}`);
  if (event.event === "unplug") console.log(`${event.device}: unplugged; who has the line open sees a pause`);
  if (event.event === "node-gone") console.log(`${event.node}: gone, ${event.reason}`);
  if (event.event === "error") console.log(`failed: ${event.message}`);
  if (event.event === "ready") console.log("ready");
}
process.stdin.destroy();
process.exitCode = await ended;
