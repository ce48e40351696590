/**
 * Serial lines, by link: numbered words each way at the same time, with hardware flow control, and what became of them.
 *
 *   node bench/serial-links.mjs [--mb 100] [--device sim:serial,chip=ftdi]
 *
 * The device hears itself: what is sent comes back, so every byte goes both ways. A word is its own position, four bytes;
 * lost, doubled, moved and changed bytes all show as a word that is not.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { rfc2217Tty } from "../dist/pud/links/rfc2217/client.js";

const CHUNK_BYTES = 64 * 1024;
const WINDOW_BYTES = 256 * 1024;
const SETTINGS = { baud: 3_000_000, dataBits: 8, parity: "none", stopBits: 1, flowControl: "rtsCts" };

const { values } = parseArgs({
  options: { mb: { type: "string", default: "100" }, device: { type: "string", default: "sim:serial,chip=ftdi" } },
});
const totalBytes = Math.round(Number(values.mb) * 1e6);

/** Links by name: how `run` is told, and the line as a client sees it. */
const LINKS = { rfc2217: (socketPath) => rfc2217Tty({ unix: socketPath }, "rfc2217") };

class Checker {
  bytes = 0;
  wrong = 0;
  /** Where the first wrong word stands, and which one stands there. */
  first = undefined;
  #word = new DataView(new ArrayBuffer(4));

  check(data) {
    for (const byte of data) {
      this.#word.setUint8(this.bytes % 4, byte);
      this.bytes++;
      if (this.bytes % 4 !== 0 || this.#word.getUint32(0, true) === this.bytes / 4 - 1) continue;
      this.first ??= { word: this.bytes / 4 - 1, is: this.#word.getUint32(0, true) };
      this.wrong++;
    }
  }
}

let failed = false;
for (const [link, connect] of Object.entries(LINKS)) {
  const result = await measure(link, connect);
  failed ||= result.wrongWords > 0 || result.receivedBytes !== totalBytes;
  console.log(JSON.stringify({ link, device: values.device, sentBytes: totalBytes, ...result }));
}
process.exitCode = failed ? 1 : 0;

async function measure(link, connect) {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-bench-"));
  const socketPath = join(folder, "line.sock");
  const command = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
  const options = ["run", "--json", "--runtime-dir", folder, "--link", `${link}=unix:${socketPath}`, values.device];
  const host = spawn(process.execPath, [command, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(host, "exit");
  try {
    await ready(host);
    return await transfer(connect(socketPath));
  } finally {
    host.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true });
  }
}

async function ready(host) {
  for await (const line of createInterface({ input: host.stdout })) {
    const event = JSON.parse(line);
    if (event.event === "error") throw new Error(event.message);
    if (event.event === "ready") break;
  }
  host.stdout.on("data", (chunk) => process.stderr.write(chunk));
}

async function transfer(tty) {
  const checker = new Checker();

  let tellEnd;
  const ended = new Promise((resolve) => {
    tellEnd = resolve;
  });
  const port = await tty.open(
    { settings: SETTINGS, outputs: { dtr: true, rts: true } },
    {
      received(data) {
        checker.check(data);
        port.grant(data.length);
        if (checker.bytes >= totalBytes) tellEnd();
      },
      changed() {},
      closed: tellEnd,
    },
  );
  port.grant(WINDOW_BYTES);
  const begin = performance.now();
  for (let at = 0; at < totalBytes; at += CHUNK_BYTES)
    await port.write(words(at, Math.min(CHUNK_BYTES, totalBytes - at)));
  await ended;
  const seconds = (performance.now() - begin) / 1000;
  await port.close();
  const megabytesPerSecond = Number((checker.bytes / 1e6 / seconds).toFixed(2));
  return {
    receivedBytes: checker.bytes,
    wrongWords: checker.wrong,
    ...(checker.first === undefined ? {} : { firstWrong: checker.first }),
    seconds: Number(seconds.toFixed(1)),
    megabytesPerSecond,
  };
}

/** The part of the numbered stream from `at`, a multiple of four. */
function words(at, length) {
  const part = new Uint32Array(Math.ceil(length / 4));
  for (let index = 0; index < part.length; index++) part[index] = at / 4 + index;
  return new Uint8Array(part.buffer, 0, length);
}
