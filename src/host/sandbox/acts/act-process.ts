/**
 * The throw-away process that tries acts: locks itself as a rump process does, or as one that serves clients, then tries one after
 * another.
 *
 * Its argument is an ActProcessConfig in JSON. It prints a line of JSON before and after each act, because many an act ends it;
 * whoever reads starts another one behind that act.
 */
import { writeSync } from "node:fs";
import { loadProbe } from "../../../rumpuser/real/probe.js";
import { lockProcess, type LockOptions, type LockProfile, type LockPurpose } from "../../../rumpuser/real/lock.js";
import { receiveFd } from "../../../rumpuser/real/locked-calls.js";
import type { ActTools } from "./act.js";
import { actsFor } from "./all.js";

export interface ActProcessConfig {
  /** "serve": three descriptors come over descriptor 4 (trial-gifts.ts). */
  readonly purpose: LockPurpose;
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
  const { purpose, profile, locked, from, to } = JSON.parse(argument ?? "null") as ActProcessConfig;
  const probe = loadProbe();
  const acts = actsFor(purpose, profile);
  if (locked) await lockProcess(lockOptions(purpose, profile));
  const given = purpose === "serve" ? receiveGifts() : NOTHING_GIVEN;
  for (const [index, act] of acts.entries()) {
    if (index < from || index >= to) continue;
    print({ trying: index });
    const refusal = await refusalOf(async () => await act.attempt({ probe, deviceFd: DEVICE_FD, ...given }));
    print({ tried: index, refusal });
  }
  print({ done: true });
  process.exit(0);
}

function lockOptions(purpose: LockPurpose, profile: LockProfile): LockOptions {
  const common = { profile, passFd: PASS_FD };
  return purpose === "serve" ? { ...common, purpose } : { ...common, purpose, deviceFd: DEVICE_FD };
}

type Given = Omit<ActTools, "probe" | "deviceFd">;
const NOTHING_GIVEN: Given = { listenerFd: -1, masterFd: -1, memoryFd: -1 };

/** In the order in which trial-gifts.ts has them. */
function receiveGifts(): Given {
  const [listenerFd, masterFd, memoryFd] = [receiveFd(PASS_FD, -1), receiveFd(PASS_FD, -1), receiveFd(PASS_FD, -1)];
  return { listenerFd, masterFd, memoryFd };
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
