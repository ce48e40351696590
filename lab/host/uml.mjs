/**
 * A User Mode Linux kernel: the guest is an ordinary process of this machine, at its speed, up in half a second.
 *
 * $RUMPUSB_UML names the kernel's executable, or the same compressed with xz. What it needs built in: README.md.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, closeSync } from "node:fs";
import { basename, join } from "node:path";
import { serveChannel } from "./channel.mjs";
import { CannotRun, requireTools } from "./errors.mjs";
import { runGuest, writeSettings } from "./guest-process.mjs";

/** Of the sparse memory file; the guest's tmpfs, where the images live, is part of it. */
const MEMORY = "3G";

/** What $RUMPUSB_UML says; undefined when it is not set. */
export function umlKernel() {
  return process.env.RUMPUSB_UML || undefined;
}

/** Boots and runs to the end; see runGuest for the result. @throws CannotRun without a kernel. */
export async function bootUml(run) {
  const kernel = executableKernel(run.cache);
  copyFileSync(join(run.root, "lab/guest/init-uml.sh"), join(run.runFolder, "init"));
  chmodSync(join(run.runFolder, "init"), 0o755);
  writeSettings(run.runFolder, { ...run.settings, LAB_CHANNEL: "/dev/ttyS0", LAB_SLOW: "1", LAB_MODULES: "" });
  const args = [
    `mem=${MEMORY}`,
    "rootfstype=hostfs",
    "rootflags=/",
    "ro",
    `init=${run.runFolder}/init`,
    `LAB_RUN=${run.runFolder}`,
    `uml_dir=${run.runFolder}/uml`,
    "con0=fd:0,fd:1",
    "con=null",
    "ssl0=fd:3,fd:4",
    "quiet",
    "seccomp=on",
    "dummy_hcd.num=3",
    "usb_storage.delay_use=0",
  ];
  const pinned = pinToOneProcessor([kernel, ...args], run.processor);
  return runGuest({
    command: pinned[0],
    args: pinned.slice(1),
    seconds: run.seconds,
    env: { PATH: process.env.PATH, HOME: run.runFolder },
    extraStdio: ["pipe", "pipe"],
    started: (child) =>
      serveChannel(child.stdio[4], child.stdio[3], {
        report: run.report,
        request: async (verb) => {
          throw new Error(`${verb}: this kernel has no devices that the host plugs; use a gadget`);
        },
      }),
  });
}

/** Unpacks an .xz once per content, into the cache folder. */
function executableKernel(cache) {
  const named = umlKernel();
  if (named === undefined) throw new CannotRun("RUMPUSB_UML is not set: it names a User Mode Linux kernel");
  if (!existsSync(named)) throw new CannotRun(`RUMPUSB_UML=${named}: no such file`);
  if (!named.endsWith(".xz")) return named;
  const digest = createHash("sha256").update(readFileSync(named)).digest("hex").slice(0, 16);
  const unpacked = join(cache, `${basename(named, ".xz")}-${digest}`);
  if (existsSync(unpacked)) return unpacked;
  requireTools("xz");
  mkdirSync(cache, { recursive: true });
  const partial = `${unpacked}.${process.pid}`;
  const fd = openSync(partial, "wx", 0o755);
  try {
    execFileSync("xz", ["-dc", named], { stdio: ["ignore", fd, "inherit"] });
  } finally {
    closeSync(fd);
  }
  renameSync(partial, unpacked);
  return unpacked;
}

/**
 * One processor for the whole guest: waking another one costs it more than it gains.
 *
 * @param fromLast which of those that this process may use; where there are not so many, it begins again at the last.
 */
function pinToOneProcessor(command, fromLast) {
  try {
    requireTools("taskset");
  } catch (error) {
    if (error instanceof CannotRun) return command;
    throw error;
  }
  const allowed = allowedProcessors();
  return ["taskset", "-c", String(allowed[allowed.length - 1 - (fromLast % allowed.length)]), ...command];
}

/** Numbers, ascending; the list in proc(5) is like "0-3,8". */
function allowedProcessors() {
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}
