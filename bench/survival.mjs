/**
 * A driver's process is killed or stopped every second while programs use its disk.
 *
 *   node bench/survival.mjs [--seconds 60] [--signal SIGKILL|SIGSTOP] [--mode MODE] [--bs 4k] [--cache] [--no-shared-memory]
 *                          [--json | --write]
 *
 * fio writes blocks of --bs (from 16k up they go in memory that host and driver share) and verifies (crc32c) on a simulated stick over NBD; a reader of its own takes the time of every answer; the
 * same fio runs on a second stick, which is left alone. Reported: I/O errors, mismatches, and from each signal to the first
 * answer of the process after it, with the stages of the way: the death is seen, every node is served again, an answer.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSection } from "./page.mjs";
import { table } from "./tables.mjs";

const COMMAND = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
const EVERY_MS = 1000;
const READY_MS = 20_000;
const SIGNALS = ["SIGKILL", "SIGSTOP"];

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    signal: { type: "string", default: "SIGKILL" },
    mode: { type: "string", default: "auto" },
    bs: { type: "string", default: "4k" },
    cache: { type: "boolean", default: false },
    "no-shared-memory": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
if (!SIGNALS.includes(values.signal) || !(seconds > 0)) {
  process.stderr.write(`survival: --signal is ${SIGNALS.join(" or ")}, --seconds a number\n`);
  process.exit(2);
}

/** @returns the lines of a table, and of what became of both disks. */
function described({ mode, signal, signals, restarts, strayRestarts, readerErrors, killed, bystander, ...stages }) {
  const rows = [
    ["signal to seen", stages.seenMs],
    ["signal to served again", stages.servedMs],
    ["signal to next answer", stages.pauseMs],
  ].map(([name, { p50, p99 }]) => [name, p50.toFixed(0), p99.toFixed(0)]);
  const disk = ({ writes, verified, errors, mismatches }) =>
    `${writes} writes, ${verified} verified, ${errors} errors, ${mismatches} mismatches`;
  return [
    `Mode ${mode}, ${signals} times ${signal} in ${seconds} s, ${restarts} restarts of its process, ${strayRestarts} of the other.`,
    "",
    ...table([signal, "p50 ms", "p99 ms"], rows),
    "",
    `Its disk: ${disk(killed)}, and ${readerErrors} errors of the reader. The other: ${disk(bystander)}, longest answer ${bystander.maxMs.toFixed(0)} ms.`,
  ];
}

/** The host process with its events, and the process ids of the drivers as they change. */
function startHost(runtimeDir) {
  const stick = `sim:flash-drive,size=64M${values.cache ? ",cache" : ""}${values.mode === "uas" ? ",uas" : ""}`;
  const options = ["--json", "--runtime-dir", runtimeDir, "--mode", values.mode];
  if (values["no-shared-memory"]) options.push("--no-shared-memory");
  const child = spawn(process.execPath, [COMMAND, "run", ...options, stick, stick], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const events = [];
  const pids = new Map();
  const waiting = new Set();
  let stderr = "";
  child.stderr.on("data", (chunk) => (stderr += chunk));
  createInterface({ input: child.stdout }).on("line", (line) => {
    const event = JSON.parse(line);
    events.push({ ...event, atMs: performance.now() });
    if (event.pid !== undefined) pids.set(event.device, event.pid);
    for (const wake of waiting) wake();
  });
  const until = (what, found) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${what} in ${READY_MS} ms: ${stderr}`)), READY_MS);
      const look = () => {
        const event = events.find(found);
        if (event === undefined) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(event);
      };
      waiting.add(look);
      look();
    });
  const end = () =>
    new Promise((resolve) => {
      child.once("exit", resolve);
      child.kill("SIGINT");
    });
  return { events, pids, until, end };
}

/** Writes blocks at random over `megabytes`, reads each batch back and compares. @returns its exit code and summary. */
function fio(uri, name) {
  const args = [
    `--name=${name}`,
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--rw=randwrite",
    `--bs=${values.bs}`,
    "--iodepth=16",
    "--offset=8M",
    "--size=48M",
    "--verify=crc32c",
    "--verify_backlog=256",
    "--verify_fatal=1",
    "--verify_state_save=0",
    "--time_based",
    `--runtime=${seconds}`,
    "--output-format=json",
  ];
  const child = spawn("fio", args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      const { jobs: [job] = [] } = JSON.parse(output.slice(Math.max(0, output.indexOf("{"))) || "{}");
      resolve({
        exitCode: code ?? -1,
        errors: (job?.error ?? 1) + (job?.total_err ?? 0),
        mismatches: (stderr.match(/verify:/g) ?? []).length,
        writes: job?.write?.total_ios ?? 0,
        verified: job?.read?.total_ios ?? 0,
        maxMs: Math.max(job?.write?.clat_ns?.max ?? 0, job?.read?.clat_ns?.max ?? 0) / 1e6,
      });
    });
  });
}

/** Reads block after block and notes when each answer came (NBD protocol, "Fixed newstyle negotiation", "Simple reply"). */
async function startReader(socketPath, exportName) {
  const socket = net.connect(socketPath);
  const answers = [];
  let errors = 0;
  let buffered = Buffer.alloc(0);
  let wake = () => {};
  socket.on("data", (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    wake();
  });
  let closed = false;
  socket.on("error", () => {}); // "close" follows
  socket.on("close", () => {
    closed = true;
    wake();
  });
  const take = async (bytes) => {
    while (buffered.length < bytes) {
      if (closed) throw new Error("the server has closed the connection");
      await new Promise((resolve) => (wake = resolve));
    }
    const taken = buffered.subarray(0, bytes);
    buffered = buffered.subarray(bytes);
    return taken;
  };
  await take(18); // NBDMAGIC, IHAVEOPT, handshake flags
  const name = Buffer.from(exportName);
  const option = Buffer.alloc(4 + 16);
  option.writeUInt32BE(3, 0); // fixed newstyle, no zeroes
  option.write("IHAVEOPT", 4, "latin1");
  option.writeUInt32BE(1, 12); // NBD_OPT_EXPORT_NAME
  option.writeUInt32BE(name.length, 16);
  socket.write(Buffer.concat([option, name]));
  await take(10); // size, transmission flags
  let stop = false;
  const run = async () => {
    for (let block = 0; !stop; block = (block + 1) % 64) {
      const request = Buffer.alloc(28);
      request.writeUInt32BE(0x25609513, 0);
      request.writeBigUInt64BE(BigInt(block), 8);
      request.writeBigUInt64BE(BigInt(block * 4096), 16);
      request.writeUInt32BE(4096, 24);
      socket.write(request);
      const header = await take(16);
      if (header.readUInt32BE(4) === 0) await take(4096);
      else errors++;
      answers.push(performance.now());
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    socket.destroy();
  };
  const done = run();
  done.catch(() => {}); // thrown again by `end`
  return {
    answers,
    get errors() {
      return errors;
    },
    end: async () => {
      stop = true;
      await done;
    },
  };
}

/**
 * From each signal to the first answer of the next process, in stages. What comes before the death was seen was under way
 * already. A signal that no restart followed is left out.
 */
function stagesOf(signals, restarts, answers) {
  return signals.flatMap((signalMs) => {
    const restart = restarts.find(({ atMs }) => atMs > signalMs);
    if (restart === undefined) return [];
    const seenMs = Math.max(signalMs, restart.atMs - restart.downMs);
    const answerMs = answers.find((atMs) => atMs > seenMs);
    if (answerMs === undefined) return [];
    return [{ seen: seenMs - signalMs, served: restart.atMs - signalMs, answered: answerMs - signalMs }];
  });
}

function tellEvents(events) {
  for (const event of events) process.stderr.write(`${JSON.stringify(event)}\n`);
}

function quantile(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)] ?? Number.NaN;
}

const runtimeDir = mkdtempSync(join(tmpdir(), "rumpusb-sv-"));
const host = startHost(runtimeDir);
try {
  await host.until("ready", (event) => event.event === "ready");
  const [first, second] = host.events.filter((event) => event.event === "link").map((event) => event.uri);
  const victim = host.events.find((event) => event.event === "node").device;
  const node = host.events.find((event) => event.event === "node").node;
  const reader = await startReader(join(runtimeDir, `${node}.nbd.sock`), node);
  const streams = Promise.all([fio(first, "victim"), fio(second, "bystander")]);
  const signals = [];
  const timer = setInterval(() => {
    const pid = host.pids.get(victim);
    try {
      process.kill(pid, values.signal);
      signals.push(performance.now());
    } catch (error) {
      process.stderr.write(`process ${pid}: ${error.code}\n`);
    }
  }, EVERY_MS);
  const [killed, bystander] = await streams;
  clearInterval(timer);
  await reader.end();
  const restarts = host.events.filter((event) => event.event === "restart");
  const own = restarts.filter((event) => event.device === victim);
  const stages = stagesOf(signals, own, reader.answers);
  const figures = (stage) => {
    const sorted = stages.map((one) => one[stage]).sort((a, b) => a - b);
    return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
  };
  if (killed.errors > 0 || bystander.errors > 0) tellEvents(host.events);
  const result = {
    signal: values.signal,
    mode: host.events.find((event) => event.event === "device").mode,
    demotions: host.events.filter((event) => event.event === "demotion").length,
    seconds,
    signals: signals.length,
    restarts: own.length,
    strayRestarts: restarts.length - own.length,
    readerErrors: reader.errors,
    killed,
    bystander,
    seenMs: figures("seen"),
    servedMs: figures("served"),
    pauseMs: figures("answered"),
  };
  const lines = values.json ? [JSON.stringify(result)] : described(result);
  console.log(lines.join("\n"));
  if (values.write) writeSection(`survival ${values.signal}`, lines);
} catch (error) {
  process.stderr.write(`survival: ${error.message}\n`);
  tellEvents(host.events);
  process.exitCode = 1;
} finally {
  await host.end();
  rmSync(runtimeDir, { recursive: true, force: true });
}
