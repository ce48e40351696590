/**
 * Counts the code that the host process loads, by kind of run: the code that runs with the rights of the user
 * (docs/security.md).
 *
 *   node tools/host-lines.mjs [--json | --modules RUN]
 *
 * A line is a line of compiled JavaScript that is neither blank nor comment: src/ is compiled anew without comments, so that
 * types count nothing and no comment is mistaken for code. What a module imports statically is loaded with it. What is behind
 * `import()` is loaded when it is needed: PARTS says for each such module in which runs that is. One that is not in the
 * table is an error, so that nothing is left out by forgetting it.
 *
 * Modules that hold vendor and product ids and hardly anything else are counted apart. How many of the lines are brackets and
 * nothing else is said besides: the compiler puts them on lines of their own.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What every run loads. */
const ALWAYS = ["cli/main.js", "cli/run-command.js", "host/apart.js"];

/** A USB device of this machine, taken from its kernel driver (--take). */
const USB = ["host/local-usb.js", "host/kernel-driver.js"];
const SIMULATED = ["host/stream-devices.js", "host/sources/simulator.js"];
const USBIP = ["host/stream-devices.js", "host/sources/usbip.js"];
const KERNEL_NBD = ["pud/links/rights/kernel-nbd.js"];
const PTY = ["pud/links/rights/local-terminal.js"];
const GROUP = ["host/rump-group.js"];

/** What each kind of run loads besides, once clients have used its devices. */
const RUNS = {
  "usb-disk": { what: "a USB disk over NBD", parts: USB },
  "usb-disk-group": { what: "the same, with --group", parts: [...USB, ...GROUP] },
  "usb-disk-kernel": { what: "a USB disk as /dev/nbdN", parts: [...USB, ...KERNEL_NBD] },
  "usb-line": { what: "a USB serial line as a pseudo terminal", parts: [...USB, ...PTY] },
  "usb-both": { what: "both", parts: [...USB, ...PTY] },
  "sim-disk": { what: "a simulated disk over NBD", parts: SIMULATED },
  "sim-line": { what: "a simulated serial line as a pseudo terminal", parts: [...SIMULATED, ...PTY] },
  "usbip-disk": { what: "a disk of a USB/IP server over NBD", parts: USBIP },
};

/** What the pud process loads, which has no rights. */
const LOCKED = [
  "pud-process.js",
  "pud/links/nbd-link.js",
  "pud/links/pty-link.js",
  "pud/links/raw-link.js",
  "pud/links/rfc2217-link.js",
  "pud/links/tty-cuse-link.js",
  "pud/host-tty-line.js",
];

/** What is loaded in none of these runs, and when it is. */
const ELSEWHERE = {
  "host/inside.js": "programs that serve a device themselves",
  "cli/list-command.js": "another command",
  "cli/vdev-command.js": "another command",
  "cli/sandbox-command.js": "another command",
  "cli/demo-command.js": "another command",
  "host/driver-file.js": "--driver",
  "host/udev-advice.js": "a device that may not be opened",
  "host/functions.js": "--split",
  "host/sandbox/help.js": "a machine that refuses namespaces",
  "pud/links/rights/cuse-device.js": "--link tty-cuse",
};

const ID_TABLES = /^dev\/usb\/(ucom|umass|uas)\/([a-z0-9]+-)?(match|ids)\.js$/;

/** Roles by the first prefix that fits. */
const ROLES = [
  ["command line", ["cli/"]],
  ["sockets, terminals and devices for links", ["pud/links/rights/"]],
  ["links, as far as the command line reads them", ["pud/links/", "pud/"]],
  [
    "conversation with the pud process",
    ["pud-process/", "host/apart", "host/pud-", "host/told-", "host/link-", "host/numbered"],
  ],
  [
    "sandbox and start of rump processes",
    ["host/sandbox/", "host/spawn", "host/rump-", "host/log-lines", "rump-process/"],
  ],
  [
    "USB devices: list, hot-plug, opening",
    [
      "host/local-usb",
      "host/usb-devices",
      "host/sysfs",
      "host/hotplug",
      "host/discovery",
      "host/parts",
      "host/confine",
      "host/kernel-driver",
      "host/sources/",
      "dev/",
      "rumpuser/real/uevents",
    ],
  ],
  ["sessions, restarts, nodes, events", ["host/"]],
  ["addon, streams, records", [""]],
];

const folder = mkdtempSync(join(tmpdir(), "rumpusb-lines-"));
try {
  compile(folder);
  main(process.argv.slice(2));
} finally {
  rmSync(folder, { recursive: true });
}

function main(args) {
  checkParts();
  if (args[0] === "--modules") return printModules(args[1]);
  const counts = Object.entries(RUNS).map(([run, { what, parts }]) => ({
    run,
    what,
    ...sums(reach([...ALWAYS, ...parts])),
  }));
  if (args[0] === "--json") return console.log(JSON.stringify(counts));
  console.log(" lines  brackets  + ids  modules");
  for (const { run, what, lines, bracketLines, idLines, modules } of counts) {
    const numbers = [lines, bracketLines, idLines, modules.length].map((number, at) =>
      String(number).padStart([6, 10, 7, 9][at]),
    );
    console.log(`${numbers.join("")}  ${what} (${run})`);
  }
  const locked = sums(reach(LOCKED));
  console.log(`\nwithout rights: ${locked.lines} lines in the pud process, with every kind of link`);
  console.log("\nusb-disk by role:");
  for (const [role, lines] of byRole(reach([...ALWAYS, ...RUNS["usb-disk"].parts])))
    console.log(`${String(lines).padStart(6)} ${role}`);
}

function printModules(run) {
  for (const [file, lines] of [...reach([...ALWAYS, ...RUNS[run].parts])].sort((a, b) => b[1] - a[1]))
    console.log(`${lines}\t${file}`);
}

function compile(outDir) {
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
  const options = ["--removeComments", "--declaration", "false", "--sourceMap", "false", "--outDir", outDir];
  execFileSync(process.execPath, [tsc, "-p", ROOT, ...options], { stdio: "inherit" });
}

/** Every `import()` of what runs load leads to a module of the tables. */
function checkParts() {
  const known = new Set([
    ...ALWAYS,
    ...LOCKED,
    ...Object.keys(ELSEWHERE),
    ...Object.values(RUNS).flatMap(({ parts }) => parts),
  ]);
  for (const file of reach([...known].filter((one) => !(one in ELSEWHERE) || one.startsWith("pud/"))).keys())
    for (const target of importsOf(file, /\bimport\("([^"]+)"\)/g))
      if (!known.has(target))
        throw new Error(`${file} imports ${target} when it needs it: which runs do? (tools/host-lines.mjs)`);
}

/** @returns lines by module, of these and everything that they import statically. */
function reach(modules) {
  const found = new Map();
  const waiting = [...modules];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (found.has(file)) continue;
    found.set(file, codeLines(file).length);
    waiting.push(...importsOf(file, /^(?:import|export)\s(?:[^;]*?\sfrom\s)?"([^"]+)"/gm));
  }
  return found;
}

function codeLines(file) {
  return textOf(file)
    .split("\n")
    .filter((line) => line.trim() !== "");
}

/** `});` and the like. */
function bracketLines(file) {
  return codeLines(file).filter((line) => /^[\s[\](){},;]*$/.test(line)).length;
}

function importsOf(file, pattern) {
  const specifiers = [...textOf(file).matchAll(pattern)].map(([, specifier]) => specifier);
  return specifiers.filter((one) => one.startsWith(".")).map((one) => normalize(join(dirname(file), one)));
}

function textOf(file) {
  return readFileSync(join(folder, file), "utf8");
}

function sums(found) {
  const [ids, code] = [true, false].map((isIds) => [...found].filter(([file]) => ID_TABLES.test(file) === isIds));
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  return {
    lines: sum(code.map(([, lines]) => lines)),
    bracketLines: sum(code.map(([file]) => bracketLines(file))),
    idLines: sum(ids.map(([, lines]) => lines)),
    modules: [...found.keys()].sort(),
  };
}

function byRole(found) {
  const totals = new Map(ROLES.map(([role]) => [role, 0]));
  for (const [file, lines] of found) {
    if (ID_TABLES.test(file)) continue;
    const [role] = ROLES.find(([, prefixes]) => prefixes.some((prefix) => file.startsWith(prefix)));
    totals.set(role, totals.get(role) + lines);
  }
  return totals;
}
