/**
 * The throw-away process that tries acts: locks itself as a rump process does, then tries one after another.
 *
 * Its argument is an ActProcessConfig in JSON. It prints a line of JSON before and after each act, because many an act ends it;
 * whoever reads starts another one behind that act.
 */
import { writeSync } from "node:fs";
import { loadProbe } from "../../../rumpuser/real/probe.js";
import { lockProcess, type LockProfile } from "../../../rumpuser/real/lock.js";
import { actsFor } from "./all.js";

export interface ActProcessConfig {
  readonly profile: LockProfile;
  /** False: with a layer less, for tests that must see an escape. */
  readonly locked: boolean;
  /** Index of the first act to try. */
  readonly from: number;
  /** Index behind the last one. */
  readonly to: number;
}

/** What it prints. */
export type ActLine =
  | { readonly trying: number }
  | { readonly tried: number; readonly refusal: string | undefined }
  | { readonly done: true };

/** As in a rump process. */
const PASS_FD = 4;
const DEVICE_FD = 5;
/** An act that does not end has reached nobody. */
const ACT_MS = 2_000;

async function main(argument: string | undefined): Promise<void> {
  const { profile, locked, from, to } = JSON.parse(argument ?? "null") as ActProcessConfig;
  const probe = loadProbe();
  const acts = actsFor(profile);
  if (locked) await lockProcess({ purpose: "device", profile, deviceFd: DEVICE_FD, passFd: PASS_FD });
  for (const [index, act] of acts.entries()) {
    if (index < from || index >= to) continue;
    print({ trying: index });
    const refusal = await refusalOf(async () => await act.attempt({ probe, deviceFd: DEVICE_FD }));
    print({ tried: index, refusal });
  }
  print({ done: true });
  process.exit(0);
}

/** Why it did not work; undefined: it did. */
async function refusalOf(attempt: () => Promise<unknown>): Promise<string | undefined> {
  const late = new Promise<string>((resolve) => setTimeout(resolve, ACT_MS, `no effect within ${ACT_MS} ms`));
  const tried = attempt().then(
    () => undefined,
    (error: unknown) => {
      if (!(error instanceof Error)) return String(error);
      return "code" in error ? String(error.code) : error.message;
    },
  );
  return await Promise.race([tried, late]);
}

function print(line: ActLine): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

// What an act leaves behind (a socket that fails later) must not end the others.
process.on("uncaughtException", () => {});
await main(process.argv[2]);
