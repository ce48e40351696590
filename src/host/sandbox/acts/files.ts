/** Files, by Node's own means. */
import { once } from "node:events";
import fs from "node:fs";
import { createRequire } from "node:module";
import v8 from "node:v8";
import { type Act, act } from "./act.js";

const OWN = import.meta.filename;
const SCRATCH = `/tmp/rumpusb-act-${process.pid}`;
/** The first node of another bus: some device of this machine, where it has any. */
const OTHER_DEVICE = "/dev/bus/usb/001/001";

/** Reading what exists on every Linux, and what must not be there for a driver. */
const READS = [
  "/etc/passwd",
  "/etc/hostname",
  "/proc/self/status",
  "/proc/self/environ",
  "/proc/1/environ",
  "/proc/1/maps",
  "/proc/cpuinfo",
  "/proc/kcore",
  "/sys/kernel/notes",
  "/dev/zero",
  "/dev/kmsg",
  "/proc/self/fd/3",
  OWN,
  process.execPath,
];

/** Opening for writing. */
const WRITES = [
  SCRATCH,
  "/proc/self/mem",
  "/proc/self/oom_score_adj",
  "/dev/tty",
  "/dev/ptmx",
  "/dev/uinput",
  "/dev/fuse",
  "/dev/net/tun",
];

function remove(path: string): void {
  fs.rmSync(path, { recursive: true, force: true });
}

export const FILE_ACTS: readonly Act[] = [
  ...READS.map((path) => act("files", `read ${path === OWN ? "a module of ours" : path}`, () => readSome(path))),
  ...WRITES.map((path) => act("files", `open ${path} for writing`, () => fs.closeSync(fs.openSync(path, "a")))),
  act("device", `open another device's node, ${OTHER_DEVICE}`, () => fs.openSync(OTHER_DEVICE, "r+")),
  act("files", "read on a pool thread", async () => await fs.promises.readFile("/etc/passwd")),
  act("files", "read as a stream", async () => await once(fs.createReadStream("/etc/passwd"), "data")),
  act("files", "list the root folder", () => fs.readdirSync("/")),
  act("files", "list /proc", () => fs.readdirSync("/proc")),
  act("files", "list the device nodes", () => fs.readdirSync("/dev/bus/usb")),
  act("files", "list on a pool thread", async () => await fs.promises.readdir("/")),
  act("files", "stat", () => fs.statSync("/etc")),
  act("files", "access", () => fs.accessSync("/etc/passwd")),
  act("files", "statfs", () => fs.statfsSync("/")),
  act("files", "resolve a path", () => fs.realpathSync.native("/etc/..")),
  act("files", "read a link", () => fs.readlinkSync("/proc/self/exe")),
  act("files", "make a folder", () => {
    fs.mkdirSync(SCRATCH);
    remove(SCRATCH);
  }),
  act("files", "make a temporary folder", () => remove(fs.mkdtempSync(SCRATCH))),
  act("files", "make a symbolic link", () => {
    fs.symlinkSync("/", SCRATCH);
    remove(SCRATCH);
  }),
  act("files", "make a hard link", () => {
    fs.linkSync(OWN, SCRATCH);
    remove(SCRATCH);
  }),
  act("files", "rename", () => fs.renameSync(`${SCRATCH}.none`, SCRATCH)),
  act("files", "unlink", () => fs.unlinkSync(`${SCRATCH}.none`)),
  act("files", "change a mode", () => fs.chmodSync(OWN, 0o777)),
  act("files", "change an owner", () => fs.chownSync(OWN, 0, 0)),
  act("files", "change times", () => fs.utimesSync(OWN, 0, 0)),
  act("files", "truncate", () => fs.truncateSync(OWN, 0)),
  act("files", "copy a file", () => fs.copyFileSync(OWN, SCRATCH)),
  act("files", "watch a folder", () => fs.watch("/").close()),
  act("files", "change the working folder", () => process.chdir("/")),
  act("files", "load a module by require", () => createRequire(import.meta.url)("../../../../package.json")),
  act("files", "load a module by import", async () => await import("../../discovery.js")),
  act("files", "load a shared library", () => process.dlopen({ exports: {} }, "/lib/x86_64-linux-gnu/libm.so.6")),
  act("files", "write a heap snapshot", () => remove(v8.writeHeapSnapshot(SCRATCH))),
  act("files", "write a diagnostic report", () => {
    const path = process.report.writeReport(SCRATCH); // answers also where it could not write
    fs.accessSync(path);
    remove(path);
  }),
];

function readSome(path: string): void {
  const fd = fs.openSync(path, "r");
  fs.readSync(fd, new Uint8Array(1));
  fs.closeSync(fd);
}
