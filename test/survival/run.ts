/** One run: a machine, a workload, some cuts; then everything is read back, and the power fails. */
import { DeviceError } from "../../src/rump/devsw.js";
import { type WayName, WAYS } from "../dev/usb/ways.js";
import { Machine, SECTORS } from "./machine.js";
import type { Cut } from "./mortal-machine.js";
import { Oracle } from "./oracle.js";
import { dice, read, WORKLOADS } from "./workloads.js";

/** Virtual time after which a run hangs. */
const MAX_RUN_MS = 300_000;

export interface RunOptions {
  readonly workload: keyof typeof WORKLOADS;
  readonly seed: number;
  readonly cuts: readonly Cut[];
  /** How the drive is driven. Default overlap. */
  readonly way?: WayName;
  /** Data go in memory that host and rump process share. */
  readonly shares?: boolean;
}

export interface RunResult {
  /** Sectors that are wrong, requests that failed, runs that did not end. */
  readonly wrong: readonly string[];
  /** Transfers and frames of the run. */
  readonly counts: { readonly transfer: number; readonly frame: number };
  /** Cuts that were made. */
  readonly made: number;
  /** Where the workload began. */
  readonly from: { readonly transfer: number; readonly frame: number };
}

export async function runOnce({ workload, seed, cuts, way = "overlap", shares }: RunOptions): Promise<RunResult> {
  const machine = new Machine(seed, WAYS[way], shares);
  const { clock } = machine.sim;
  const oracle = new Oracle(SECTORS);
  const roll = dice(seed);
  const wrong: string[] = [];
  let from = { transfer: 0, frame: 0 };
  const scenario = async (): Promise<void> => {
    machine.cut(cuts);
    const disk = await machine.disk();
    from = { ...machine.counts };
    try {
      wrong.push(...(await WORKLOADS[workload](disk, oracle, roll)));
      wrong.push(...(await read(disk, oracle, 0, SECTORS)));
    } catch (error) {
      // A host that is killed answers nobody; everything else may fail nothing.
      if (!(error instanceof DeviceError && machine.hostDown)) throw error;
    }
    if (!machine.hostDown) return;
    machine.startHost();
    const again = await machine.disk();
    // With the host its journal is gone: what the device lost before, nobody can write again.
    if (machine.powerCuts > 0) wrong.push(...oracle.afterPowerLoss(await again.read(0, SECTORS)));
    else wrong.push(...(await read(again, oracle, 0, SECTORS)));
  };
  const deadline = new Promise<never>((_resolve, reject) => {
    clock.startTimer(MAX_RUN_MS, () => reject(new Error(`hangs: not over after ${MAX_RUN_MS} ms of virtual time`)));
  });
  try {
    await clock.runUntil(Promise.race([scenario(), deadline]));
  } catch (error) {
    wrong.push(`${error instanceof Error ? error.message : String(error)}; ${machine.story()}`);
  }
  const result = { counts: { ...machine.counts }, made: machine.made, from };
  machine.powerOff(seed);
  wrong.push(...oracle.afterPowerLoss(machine.medium));
  await clock.run();
  // The drive does everything right: whoever dies, it is not to blame. What is thrown in the port looks like an error of it.
  if (!cuts.some(({ kind }) => kind === "throw")) wrong.push(...machine.demotions);
  return { wrong, ...result };
}

/** How to see a failure again. */
export function describeRun(options: RunOptions): string {
  return `SURVIVAL_RUN='${JSON.stringify(options)}' npx vitest run test/survival/replay.test.ts`;
}
