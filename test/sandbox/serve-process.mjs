/**
 * Does under the lock what a process does that serves clients: it echoes what comes over sockets that it was given, and over the master of
 * a pseudo terminal, counts file events, and shares memory.
 *
 * argv: JSON { profile }. Descriptor 3: lines of JSON, of which each begins one request or answers one; 4: the way of descriptors. All
 * come after the lock: a Unix socket that listens, a TCP socket that listens, a master, an inotify descriptor, a memory file, a connected
 * socket.
 */
import { closeSync } from "node:fs";
import net from "node:net";
import { createInterface } from "node:readline";
import { loadAddon, mapMemory } from "../../dist/rumpuser/real/addon.js";
import { admit } from "../../dist/rumpuser/real/admission.js";
import { streamOfFd } from "../../dist/rumpuser/real/byte-stream.js";
import { lockProcess } from "../../dist/rumpuser/real/lock.js";
import { receiveFd } from "../../dist/rumpuser/real/locked-calls.js";

const PASS_FD = 4;
const MEMORY_BYTES = 1 << 20;
const TCGETS2 = 0x802c542a;
const TCSETS2 = 0x402c542b;
const TIOCPKT = 0x5420;
const READABLE = 1;
const TICK_MS = 5;

const { profile } = JSON.parse(process.argv[2]);
const counts = { served: 0, sentAway: 0, acceptErrors: 0, fileEvents: 0, ticks: 0 };
const control = new net.Socket({ fd: 3 });
const answer = (object) => control.write(`${JSON.stringify(object)}\n`);

await lockProcess({ purpose: "serve", profile, passFd: PASS_FD });
answer({ locked: true });

const requests = {
  take() {
    const [unix, tcp, master, events, memory, peer] = Array.from({ length: 6 }, () => receiveFd(PASS_FD, -1));
    for (const fd of [unix, tcp]) serve(fd);
    serveTerminal(master);
    countEvents(events);
    const bytes = new Uint8Array(mapMemory(memory, MEMORY_BYTES));
    closeSync(memory);
    bytes[bytes.length - 1] = bytes[0] + 1;
    const stream = streamOfFd(peer);
    stream.onData((chunk) => stream.write([chunk.slice()]));
    return { taken: true };
  },
  more() {
    try {
      closeSync(receiveFd(PASS_FD, -1));
      return { code: "" };
    } catch (error) {
      return { code: error.code };
    }
  },
  counts: () => counts,
  end: () => process.exit(0),
};

createInterface({ input: control }).on("line", (line) => answer(requests[line]()));
setInterval(() => (counts.ticks += 1), TICK_MS);

function serve(fd) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    if (!admit(socket)) {
      counts.sentAway += 1;
      return;
    }
    counts.served += 1;
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  server.on("error", () => (counts.acceptErrors += 1));
  server.listen({ fd });
}

function serveTerminal(fd) {
  const bytes = new Uint8Array(4097);
  const settings = new Uint8Array(44);
  const master = new (loadAddon().DeviceFile)(() => {
    const count = master.read(bytes);
    // The first byte of a packet says what it is; 0: data (TIOCPKT in ioctl_tty(2)).
    if (count > 0 && bytes[0] === 0) master.write(bytes.subarray(1, count));
  });
  const results = [
    master.open(fd),
    master.ioctl(TIOCPKT, new Uint8Array([1, 0, 0, 0])),
    master.ioctl(TCGETS2 | 0, settings),
    master.ioctl(TCSETS2, settings),
  ];
  if (results.some((rc) => rc !== 0)) throw new Error(`terminal: ${results.join(" ")}`);
  master.watch(READABLE);
}

function countEvents(fd) {
  const bytes = new Uint8Array(4096);
  const file = new (loadAddon().DeviceFile)(() => {
    while (file.read(bytes) > 0) counts.fileEvents += 1;
  });
  if (file.open(fd) !== 0) throw new Error("inotify");
  file.watch(READABLE);
}
