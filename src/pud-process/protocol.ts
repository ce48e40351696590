/**
 * What the host process and the pud process say to each other (messenger.ts). The host process checks every word that it hears;
 * what it says itself is believed.
 *
 * | from | kind   | name          | what                                                             |
 * | ---- | ------ | ------------- | ---------------------------------------------------------------- |
 * | host | notice | launch        | begin a session for a source                                     |
 * | host | notice | lost          | a session's device cannot come back                              |
 * | host | notice | unplugged     | a session's device was pulled out                                |
 * | host | call   | replugged     | a source that may be a session's: does the session take it?      |
 * | host | notice | resume        | end every quarantine                                             |
 * | host | call   | beat          | while an answer is waited for: does it live?                     |
 * | host | call   | stopAll       | end every session, then close the links                          |
 * | host | notice | locked        | a rump process has locked itself, or has not                     |
 * | host | notice | exited        | a rump process has ended                                         |
 * | pud  | call   | openLinks     | (from the host) open the links of the run                        |
 * | pud  | call   | open …        | RightsCalls                                                      |
 * | pud  | notice | event …       | RightsNotices                                                    |
 */
import type { LinkRights } from "../pud/links/link-rights.js";
import type { LinkSpec } from "../pud/links/links.js";
import type { AllDriverOptions, Mode } from "../host/modes.js";
import type { ProcessExit } from "../host/process-exit.js";
import type { LockProfile } from "../rumpuser/real/lock.js";

export const PUD_CONFIG_VERSION = 1;

/** The one argument of the pud process, in JSON. */
export interface PudProcessConfig {
  readonly version: typeof PUD_CONFIG_VERSION;
  /** How it locks itself; left out: it does not. */
  readonly lock?: LockProfile;
  /** Those of its log lines that are wanted (`DEBUG`). */
  readonly debug?: string;
  readonly runtimeDir: string;
  /** Left out: one for each kind of device. */
  readonly links?: readonly LinkSpec[];
  readonly readOnly: boolean;
  /** As NodeContext. */
  readonly latencyMs?: number;
  readonly graceMs: number;
  readonly mode: Mode;
  readonly sharesMemory: boolean;
  /** Devices share processes. */
  readonly shares: boolean;
}

/** A source as it is told: what opens it stays with the host process. */
export interface ToldSource {
  readonly source: number;
  readonly key: string;
  readonly mayReturn: boolean;
}

export interface ToldLaunch extends ToldSource {
  readonly session: number;
}

/** What messenger.wireError makes. */
export type ToldError = object;

export interface ToldEnd {
  readonly session: number;
  /** Left out: it ended on purpose, or its device went. */
  readonly error?: ToldError;
}

/** `error`: it is not locked as it must be, or has ended. */
export interface ToldLock {
  readonly process: number;
  readonly pid: number;
  readonly error?: ToldError;
}

export interface ToldExit extends ProcessExit {
  readonly process: number;
  readonly lastWords: readonly string[];
}

/** Asks for a process for a device that is open. Numbers are those that the host process gave. */
export interface ToldDemand {
  readonly device: number;
  readonly interrupted: boolean;
  readonly driverOptions: AllDriverOptions;
  readonly memory?: number;
  readonly ahead: boolean;
  readonly alone: boolean;
  readonly besides?: number;
}

/** Answers with descriptors carry them as `descriptors`. */
export interface StartedAnswer {
  readonly process: number;
  readonly pid: number;
  readonly hasMemory: boolean;
  /** The pud channel. */
  readonly descriptors: readonly [number];
}

export interface MemoryAnswer {
  readonly memory: number;
  readonly bytes: number;
  readonly descriptors: readonly [number];
}

export interface UnitAnswer {
  readonly unit: number;
  readonly name: string;
}

/** The calls of LinkRights, named `link NAME`, with their arguments in a list; and which fields of their results are descriptors. */
export const LINK_CALLS: { readonly [Name in keyof LinkRights]: readonly string[] } = {
  listen: ["fd"],
  unlisten: [],
  openTerminal: ["master", "uses"],
  nameTerminal: [],
  refuseOthers: [],
  tidyTerminal: [],
  closeTerminal: [],
  attachKernelNbd: [],
  detachKernelNbd: [],
  openCuse: ["fd"],
};
