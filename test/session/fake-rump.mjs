/**
 * Stands for the rump process in tests of the host: speaks pud on descriptor 3 as the real server does, and behaves as
 * the name of its only driver says. It asks for its device on descriptor 4 and leaves it there.
 */
import { writeSync } from "node:fs";
import { createPudServer } from "../../dist/pud/server.js";
import { streamOfFd } from "../../dist/rumpuser/real/byte-stream.js";
import { realClock } from "../../dist/rumpuser/real/clock.js";

writeSync(4, new Uint8Array(1));
const { drivers, interrupted = false, driverOptions = {} } = JSON.parse(process.argv[2]);
const behaviour = drivers[0].name;
const log = { write: ({ message }) => process.stderr.write(`${message}\n`) };
const server = createPudServer(streamOfFd(3), { clock: realClock, log, onLost: () => process.exit(0) });
server.onShutdown(async () => {
  process.stdout.write("shut down in order\n");
  setImmediate(() => process.exit(0));
});

const memory = new Uint8Array(64 * 512);
const disk = {
  kind: "disk",
  info: {
    blockBytes: 512,
    blockCount: 64,
    readOnly: false,
    removable: false,
    volatileCache: true,
    canTrim: false,
    canWriteZeroes: false,
    maxTransferBytes: 1 << 20,
    model: "fake",
  },
  read: async (first, count) => memory.slice(first * 512, (first + count) * 512),
  write: async (first, data) => memory.set(data, first * 512),
  flush: async () => {},
  trim: async () => {},
  writeZeroes: async () => {},
};
const identity = { vendor: 0x0951, product: 0x1666, revision: 0x0100, manufacturer: "", productName: "", serial: "" };

const BEHAVIOURS = {
  attach: () => {
    server.announceDevice({ ...identity, driver: "umass0", interfaceNumber: 0 });
    server.publish("sd", disk);
    server.ready();
  },
  /** Each read brings it one step down; one of block 63 ends it. */
  demote: () => {
    const { phases = "together", because = "default" } = driverOptions.umass ?? {};
    server.announceDevice({ ...identity, driver: "umass0", interfaceNumber: 0, mode: `${phases} (${because})` });
    server.publish("sd", disk);
    server.ready();
    const steps = ["overlap", "sequence"];
    const { read } = disk;
    disk.read = async (first, count) => {
      if (first === 63 && !interrupted) process.kill(process.pid, "SIGSEGV");
      const mode = steps.shift();
      if (mode !== undefined) server.announceDemotion({ mode, reason: `block ${first}` });
      return read(first, count);
    };
  },
  lie: () => {
    BEHAVIOURS.attach();
    for (const mode of ["auto", "uas", "fast", "together", "constructor", "sequence", "overlap", "bot", "sequence"])
      server.announceDemotion({ mode, reason: "a lie" });
  },
  crash: () => {
    BEHAVIOURS.attach();
    process.stderr.write("last words\u001b[2J\n");
    setTimeout(() => process.kill(process.pid, "SIGSEGV"), 100);
  },
  crashOnce: () => {
    BEHAVIOURS.attach();
    if (!interrupted) disk.read = async () => process.kill(process.pid, "SIGSEGV");
  },
  hangOnce: () => {
    BEHAVIOURS.attach();
    if (!interrupted)
      disk.read = async () => {
        for (;;);
      };
  },
  poison: () => {
    BEHAVIOURS.attach();
    const { read } = disk;
    disk.read = async (first, count) => (first === 13 ? process.kill(process.pid, "SIGSEGV") : read(first, count));
  },
  goneOnce: () => {
    BEHAVIOURS.attach();
    if (!interrupted) setTimeout(() => process.exit(0), 100);
  },
  gone: () => {
    BEHAVIOURS.attach();
    setTimeout(() => process.exit(0), 100);
  },
  refuse: () => {
    server.error("USB_UNSUPPORTED", "nothing for umass here");
    server.ready();
  },
  nothing: () => server.ready(),
  silent: () => setInterval(() => {}, 1000),
  early: () => process.exit(3),
};
BEHAVIOURS[behaviour]();
