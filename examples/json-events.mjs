/**
 * Drives a device from a program: starts `rumpusb run --json`, follows its events, and ends it.
 *
 *   node examples/json-events.mjs [DEVICE]      default: a simulated flash drive of 1 MiB
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const device = process.argv[2] ?? "sim:flash-drive,size=1M";
const command = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
const host = spawn(process.execPath, [command, "run", "--json", device], { stdio: ["ignore", "pipe", "inherit"] });
const ended = new Promise((resolve) => host.once("exit", resolve));

for await (const line of createInterface({ input: host.stdout })) {
  const event = JSON.parse(line);
  if (event.event === "node") console.log(`${event.node}: ${event.kind} of ${event.size} bytes on ${event.device}`);
  if (event.event === "link") console.log(`${event.node}: reachable by ${event.link}`);
  if (event.event === "error") console.log(`failed: ${event.code}`);
  if (event.event === "ready") host.kill("SIGTERM"); // a real program would use the device now
  if (event.event === "detach") console.log(`${event.device}: detached`);
}
console.log(`exit status ${await ended}`);
