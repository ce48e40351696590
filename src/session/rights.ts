/**
 * What a session needs of those who have the user's rights: devices that are opened, and processes that are started for them.
 *
 * In the process that has the rights it is host/local-rights.ts; in the pud process, which has none, each of these asks the host
 * process (pud-process/asked-rights.ts).
 */
import type { AllDriverOptions } from "../host/modes.js";
import type { ProcessExit } from "../host/process-exit.js";
import type { SandboxReport } from "../host/sandbox/verify.js";
import type { HeldUnit } from "../host/units.js";
import type { AskProcessorWait } from "../pud/heartbeat.js";
import type { SharedSlots } from "../pud/shared-memory.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";

export interface SessionRights {
  /** Takes the lowest unit of a class that nobody holds: "sd" → "sd0". @throws HostError, Error of the system */
  takeUnit(className: string): Promise<HeldUnit>;
}

/** A device that can be opened. */
export interface SessionSource {
  /** How events call it: `1-1.2`, `1-1.2:0` (one function of it), `sim:flash-drive`. */
  readonly key: string;
  /** It may come back behind this source, and nobody tells: it is tried. Otherwise a new source is made then. */
  readonly mayReturn: boolean;
  /** @throws HostError NOT_PERMITTED, DEVICE_BUSY, DEVICE_GONE, USBIP, … with nothing left behind. */
  open(): Promise<SessionDevice>;
  /**
   * Memory that its rump processes share with this one, one after another; also those of a source behind which it comes back.
   * @throws Error the kernel has none to give.
   */
  createMemory(): Promise<SharedMemory>;
}

/** A device that is open. */
export interface SessionDevice {
  /** Starts a process for it, or gives it a place in one. @throws HostError INSTALLATION, SANDBOX_UNAVAILABLE, NO_RESOURCES, FAILED */
  start(demand: RumpDemand): Promise<RumpProcess>;
  /** Gives the device to a process that is locked. Once after each `open` and `reopen`. @throws Error of the system */
  sendTo(process: RumpProcess): void;
  /**
   * Opens the device anew after its rump process has ended; what was taken from the OS stays taken.
   *
   * @returns true when the device kept its power and its place; false when nobody knows.
   * @throws HostError DEVICE_GONE, NOT_PERMITTED, NO_RESOURCES, FAILED
   */
  reopen(): Promise<boolean>;
  /** After the rump process has ended: gives back what was taken from the OS. Bounded in time; safe to call twice. @throws HostError */
  release(): Promise<void>;
}

/** What a process is started for. */
export interface RumpDemand {
  /** A process that drove the device before was ended in the middle of it. */
  readonly interrupted: boolean;
  readonly driverOptions: AllDriverOptions;
  readonly memory: SharedMemory | undefined;
  /** It will wait before it is needed: what can be done at its start is. */
  readonly ahead: boolean;
  /** Not one that other devices share. */
  readonly alone: boolean;
  /** Not the same as this one. */
  readonly besides: RumpProcess | undefined;
}

export interface SharedMemory {
  readonly slots: SharedSlots;
  /** No process gets it any more. */
  close(): void;
}

/** A process that serves a device, or the part of one that several devices share. */
export interface RumpProcess {
  /** The launcher's at first; from `locked` on that of the process itself. */
  readonly pid: number;
  readonly pud: ByteStream;
  /** What it has got to share. */
  readonly memory: SharedMemory | undefined;
  /**
   * Resolves when the process has locked itself and that was read back: it waits for its device now.
   * Rejects with HostError SANDBOX_UNAVAILABLE: it is not as it must be; NO_RESOURCES: nobody could look; RUMP_LOST: it ended first.
   */
  readonly locked: Promise<SandboxReport>;
  /** Resolves when the process has ended and its last words are read; never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** The last lines it printed. */
  lastWords(): readonly string[];
  /** Tells how long it has waited for a processor since the last call (host/processor-wait.ts). */
  readonly askProcessorWait: AskProcessorWait;
  /** SIGKILL. Does nothing when it has ended. */
  kill(): void;
  /** It is not needed any more: `kill`, where no other device is served by it. */
  discard(): void;
}
