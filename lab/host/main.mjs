/**
 * The command line of `lab/run`: which kernel, which scripts, and what came back.
 *
 * stdout: `# SCRIPT` headings and the result lines of the guest (channel.mjs). stderr: talk, and the end of the
 * console when a run failed. Exit status: 0 every check passed, 1 one failed or the run did not come to its end,
 * 2 usage, 77 this machine cannot boot such a kernel (the reason is the last line of stderr).
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { CannotRun, UsageError } from "./errors.mjs";
import { prepareKernel } from "./kernel-package.mjs";
import { bootQemu, DEVICE_SETS } from "./qemu.mjs";
import { Report } from "./report.mjs";
import { bootUml, umlKernel } from "./uml.mjs";

const ROOT = resolve(import.meta.dirname, "../..");
const USAGE = `usage: lab/run [--kernel auto|uml|qemu] [--with SET]… [--timeout SECONDS] [--processor N] [--offline] SCRIPT…
       lab/run --prepare

  --kernel    uml: the executable in $RUMPUSB_UML; qemu: a stock Debian kernel. auto (default): uml where the variable
              is set and no --with asks for QEMU's devices, else qemu.
  --with      devices that QEMU plugs in: ${Object.keys(DEVICE_SETS).join(", ")}.
  --timeout   for each script (default 600 uml, 900 qemu).
  --processor a uml guest runs on one processor: the Nth from the last of those allowed (default 0), so that two guests can have one each.
  --offline   never download: without a prepared kernel package the run ends with status 77.
  --prepare   download and unpack the kernel package for QEMU, then stop.`;

const EXIT = { passed: 0, failed: 1, usage: 2, cannotRun: 77 };
/** `bootSeconds`: how long a guest may take for everything but its scripts; after that and the time of the scripts it is stopped. */
const BOOTS = {
  uml: { boot: bootUml, bootSeconds: 15, scriptSeconds: 600 },
  qemu: { boot: bootQemu, bootSeconds: 120, scriptSeconds: 900 },
};

async function main(argv) {
  const options = readOptions(argv);
  if (options.prepare) {
    const kernel = await prepareKernel({ cache: cacheFolder(), offline: false });
    console.error(`lab: kernel ${kernel.version} is ready in ${kernel.folder}`);
    return EXIT.passed;
  }
  const kernel = options.kernel === "auto" ? chooseKernel(options) : options.kernel;
  const { boot, bootSeconds, scriptSeconds } = BOOTS[kernel];
  const seconds = options.timeout ?? scriptSeconds;
  const runFolder = mkdtempSync(join(tmpdir(), "rumpusb-lab-"));
  const report = new Report(
    (line) => console.log(line),
    options.scripts.map((script) => basename(script)),
  );
  const run = {
    root: ROOT,
    cache: cacheFolder(),
    runFolder,
    report,
    deviceSets: options.with,
    offline: options.offline,
    seconds: bootSeconds + seconds * options.scripts.length,
    processor: options.processor,
    settings: {
      LAB_KERNEL: kernel,
      LAB_CHECKOUT: ROOT,
      LAB_NODE: process.execPath,
      LAB_SCRIPTS: options.scripts.join("\n"),
      LAB_SCRIPT_SECONDS: String(seconds),
    },
  };
  try {
    const ended = await boot(run);
    keepConsole(run, kernel, ended.console);
    report.finish(ended);
    return report.failed ? EXIT.failed : EXIT.passed;
  } finally {
    rmSync(runFolder, { recursive: true, force: true });
  }
}

function readOptions(argv) {
  let parsed;
  try {
    parsed = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        kernel: { type: "string", default: "auto" },
        with: { type: "string", multiple: true, default: [] },
        timeout: { type: "string" },
        processor: { type: "string", default: "0" },
        offline: { type: "boolean", default: false },
        prepare: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (cause) {
    throw new UsageError(cause.message, { cause });
  }
  const { values, positionals } = parsed;
  if (values.help) throw new UsageError("");
  if (values.kernel !== "auto" && !(values.kernel in BOOTS))
    throw new UsageError(`--kernel ${values.kernel}: not one of auto, ${Object.keys(BOOTS).join(", ")}`);
  for (const set of values.with)
    if (!(set in DEVICE_SETS)) throw new UsageError(`--with ${set}: not one of ${Object.keys(DEVICE_SETS).join(", ")}`);
  if (values.kernel === "uml" && values.with.length > 0)
    throw new UsageError("--with plugs in QEMU's devices: it cannot go with --kernel uml");
  const timeout = values.timeout === undefined ? undefined : Number(values.timeout);
  if (timeout !== undefined && !(timeout > 0 && timeout <= 86_400))
    throw new UsageError(`--timeout ${values.timeout}: not 1 to 86400 seconds`);
  const processor = Number(values.processor);
  if (!/^\d{1,4}$/.test(values.processor)) throw new UsageError(`--processor ${values.processor}: not 0 to 9999`);
  if (positionals.length === 0 && !values.prepare) throw new UsageError("no script given");
  const scripts = positionals.map((script) => resolve(script));
  for (const script of scripts) if (!existsSync(script)) throw new UsageError(`${script}: no such script`);
  return { ...values, timeout, processor, scripts };
}

function chooseKernel(options) {
  return umlKernel() !== undefined && options.with.length === 0 ? "uml" : "qemu";
}

function cacheFolder() {
  return resolve(process.env.RUMPUSB_LAB_CACHE || join(ROOT, ".lab"));
}

/** The whole console stays in the cache folder, under the name of the first script, for whoever has to find out why. */
function keepConsole(run, kernel, text) {
  const folder = join(run.cache, "logs");
  mkdirSync(folder, { recursive: true });
  const first = basename(run.settings.LAB_SCRIPTS.split("\n", 1)[0], ".sh");
  const file = join(folder, `${first}.${kernel}.log`);
  writeFileSync(file, text);
  console.error(`lab: console in ${file}`);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof UsageError) {
    if (error.message !== "") console.error(`lab: ${error.message}`);
    console.error(USAGE);
    process.exitCode = EXIT.usage;
  } else if (error instanceof CannotRun) {
    console.error(`lab: ${error.message}`);
    process.exitCode = EXIT.cannotRun;
  } else throw error;
}
