/** The user's own drivers (`--driver FILE`): what they match, found out in a process that has no rights. */
import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as v from "valibot";
import type { DriverEntry } from "../dev/usb/driver-modules.js";
import { HostError, messageOf } from "./errors.js";
import type { Sandbox } from "./sandbox/sandbox.js";
import { printable } from "./text.js";

const DRIVER_FILE_PROCESS = fileURLToPath(new URL("./driver-file-process.js", import.meta.url));
const LOAD_MS = 5_000;
const MAX_OUTPUT_BYTES = 64 * 1024;

const byte = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xff)));
const word = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff)));
/** MatchRule of usbdi.ts; a row that says nothing would match every device. */
const MatchRow = v.pipe(
  v.strictObject({
    vendor: word,
    product: word,
    revision: word,
    deviceClass: byte,
    deviceSubClass: byte,
    deviceProtocol: byte,
    interfaceClass: byte,
    interfaceSubClass: byte,
    interfaceProtocol: byte,
    interfaceNumber: byte,
  }),
  v.check((row) => Object.keys(row).length > 0, "a row of match names at least one id"),
);
const FoundDrivers = v.pipe(
  v.array(
    v.pipe(
      v.object({
        exportName: v.string(),
        name: v.pipe(
          v.string(),
          v.maxLength(32),
          v.regex(/^[a-z][a-z0-9]*[a-z]$/, "a driver's name is of small letters"),
        ),
        match: v.pipe(v.array(MatchRow), v.minLength(1), v.maxLength(1000)),
      }),
      v.check(({ exportName, name }) => exportName === name, "a driver is exported under its own name"),
    ),
  ),
  v.minLength(1, "exports no driver record (name, match, endpoints, attach)"),
);

/** The path by which the sandbox knows a driver's file. @throws HostError USAGE */
export function driverPath(file: string): string {
  if (!/\.[mc]js$/.test(file))
    throw new HostError(
      "USAGE",
      `--driver ${file}: a driver is a file that ends in .mjs or .cjs (compile TypeScript first)`,
    );
  try {
    return realpathSync(file);
  } catch (error) {
    throw new HostError("USAGE", `--driver ${file}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * @param path     From `driverPath`; the sandbox must show it (`extraPaths`).
 * @throws HostError DRIVER: the file cannot be loaded, or holds no driver.
 */
export async function readDriverFile(path: string, sandbox: Sandbox): Promise<DriverEntry[]> {
  const specifier = pathToFileURL(path).href;
  const { file, args } = (await sandbox.plan()).command(DRIVER_FILE_PROCESS, [specifier]);
  const text = await outputOf(path, file, args);
  const found = v.safeParse(v.pipe(v.string(), v.parseJson(), FoundDrivers), text);
  if (!found.success)
    throw new HostError("DRIVER", `--driver ${path}: ${printable(found.issues.map(describeIssue).join("; "))}`);
  // What is not given is absent in the output; the types of valibot and of MatchRule differ in just that.
  return found.output.map(({ name, match }) => ({ name, specifier, match: match as DriverEntry["match"] }));
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const where = v.getDotPath(issue);
  return where === null ? issue.message : `${where}: ${issue.message}`;
}

function outputOf(path: string, file: string, args: readonly string[]): Promise<string> {
  const options = { env: {}, timeout: LOAD_MS, killSignal: "SIGKILL", maxBuffer: MAX_OUTPUT_BYTES } as const;
  return new Promise((resolve, reject) => {
    execFile(file, [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const reason = printable(
        stderr.split("\n").find((line) => /^\w*Error\b/.test(line)) ?? `ended with ${error.code ?? error.signal}`,
      );
      reject(new HostError("DRIVER", `--driver ${path}: ${reason}`, { cause: error }));
    });
  });
}
