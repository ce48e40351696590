/**
 * The stock Debian kernel for QEMU: fetched as a package, unpacked into the cache folder, never installed.
 *
 * In the cache folder: `kernel-VERSION/` (the package's /boot and /lib/modules, with a module index) and `initrd-HASH.gz`.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { CannotRun, requireTools } from "./errors.mjs";

const META_PACKAGE = "linux-image-amd64";
/** What it takes to reach the root file system; everything else is loaded from there. */
const BOOT_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
const FOLDER_PREFIX = "kernel-";

/**
 * Finds the unpacked kernel, or fetches it unless `offline`.
 * @returns `{version, image, folder}`: folder is the root for `modprobe -d`.
 * @throws CannotRun when it is not there and cannot be fetched.
 */
export async function prepareKernel({ cache, offline }) {
  const found = newestUnpacked(cache);
  if (found !== undefined) return found;
  if (offline) throw new CannotRun("missing kernel package: run `lab/run --prepare` once, with a network");
  requireTools("apt-get", "apt-cache", "dpkg", "depmod");
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "unpack-"));
  try {
    const name = packageName();
    console.error(`lab: fetching ${name}`);
    attempt("apt-get download", () =>
      execFileSync("apt-get", ["-q", "download", name], { cwd: work, stdio: ["ignore", 2, 2] }),
    );
    const file = readdirSync(work).find((entry) => entry.endsWith(".deb"));
    if (file === undefined) throw new CannotRun(`apt-get download ${name} left no package`);
    execFileSync("dpkg", ["-x", join(work, file), join(work, "root")]);
    const version = kernelVersion(join(work, "root"));
    execFileSync("depmod", ["-b", join(work, "root"), version]);
    renameSync(join(work, "root"), join(cache, `${FOLDER_PREFIX}${version}`));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return newestUnpacked(cache);
}

function newestUnpacked(cache) {
  if (!existsSync(cache)) return undefined;
  const folders = readdirSync(cache).filter((entry) => entry.startsWith(FOLDER_PREFIX));
  const newest = folders.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).pop();
  if (newest === undefined) return undefined;
  const folder = join(cache, newest);
  const version = kernelVersion(folder);
  return { version, folder, image: join(folder, "boot", `vmlinuz-${version}`) };
}

/** The one kernel that the meta package depends on; a pattern would fetch every kernel there is. */
function packageName() {
  const text = attempt("apt-cache depends", () =>
    execFileSync("apt-cache", ["depends", META_PACKAGE], { encoding: "utf8" }),
  );
  const name = /Depends: (linux-image-\S+)/.exec(text)?.[1];
  if (name === undefined)
    throw new CannotRun(`apt-cache knows no kernel behind ${META_PACKAGE}: apt-get update has not run`);
  return name;
}

function attempt(what, call) {
  try {
    return call();
  } catch (cause) {
    throw new CannotRun(`missing kernel package: ${what} failed (${cause.message.split("\n", 1)[0]})`, { cause });
  }
}

function kernelVersion(root) {
  const image = readdirSync(join(root, "boot")).find((entry) => entry.startsWith("vmlinuz-"));
  if (image === undefined) throw new CannotRun(`${root}/boot holds no kernel`);
  return image.slice("vmlinuz-".length);
}

/** Builds the initial RAM disk (busybox, the modules, guest/init-qemu.sh) once per content; returns its path. */
export function prepareInitrd({ cache, kernel, initScript }) {
  requireTools("busybox", "cpio", "modprobe");
  const hash = createHash("sha256").update(readFileSync(initScript)).update(kernel.version).digest("hex").slice(0, 16);
  const target = join(cache, `initrd-${hash}.gz`);
  if (existsSync(target)) return target;
  const stage = mkdtempSync(join(cache, "initrd-"));
  try {
    for (const folder of ["bin", "dev", "proc", "sys", "lower", "memory", "root", "modules"])
      mkdirSync(join(stage, folder));
    cpSync(busyboxPath(), join(stage, "bin/busybox"));
    cpSync(initScript, join(stage, "init"));
    chmodSync(join(stage, "init"), 0o755);
    const modules = bootModuleFiles(kernel);
    for (const file of modules) copyModule(file, join(stage, "modules"));
    writeFileSync(join(stage, "modules/order"), modules.map((file) => `${moduleName(file)}\n`).join(""));
    const names = execFileSync("find", ["."], { cwd: stage });
    const archive = execFileSync("cpio", ["--quiet", "-o", "-H", "newc"], {
      cwd: stage,
      input: names,
      maxBuffer: 2 ** 28,
    });
    writeFileSync(`${target}.${process.pid}`, gzipSync(archive, { level: 1 }));
    renameSync(`${target}.${process.pid}`, target);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
  return target;
}

/** Absolute paths, each after what it depends on. */
function bootModuleFiles(kernel) {
  const files = BOOT_MODULES.flatMap((name) => {
    const text = execFileSync("modprobe", ["-d", kernel.folder, "-S", kernel.version, "--show-depends", name], {
      encoding: "utf8",
    });
    return [...text.matchAll(/^insmod (\S+)/gm)].map((match) => match[1]);
  });
  return [...new Set(files)];
}

/** Newer kernel packages compress their modules, which busybox's insmod does not read. */
function copyModule(file, folder) {
  const target = join(folder, moduleName(file));
  if (file.endsWith(".xz")) writeFileSync(target, execFileSync("xz", ["-dc", file], { maxBuffer: 2 ** 28 }));
  else cpSync(file, target);
}

function moduleName(file) {
  return basename(file).replace(/\.xz$/, "");
}

function busyboxPath() {
  const path = ["/bin/busybox", "/usr/bin/busybox"].find((candidate) => existsSync(candidate));
  if (path === undefined) throw new CannotRun("missing tool: busybox (the static one)");
  return path;
}
