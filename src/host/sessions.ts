/**
 * The sessions of a host process, wherever they run: in a locked process of their own (apart.ts), which is what
 * `rumpusb run` does, or in this one (inside.ts).
 */
import type { Link, LinkSpec } from "../pud/links/links.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import type { HostError } from "./errors.js";
import type { EmitEvent } from "./events.js";
import type { Mode } from "./modes.js";
import type { DeviceSource } from "./sources/source.js";
import type { RumpStarterContext } from "./start-rump.js";
import type { TakeUnit } from "./units.js";

/** A session that was started. Neither promise rejects; failures have been told as events. */
export interface Launched {
  /** Resolves when it has attached, or with the reason why it did not. */
  readonly attached: Promise<HostError | undefined>;
  /** Resolves when everything is undone, with the error it ended with. */
  readonly ended: Promise<HostError | undefined>;
  readonly session: LaunchedSession;
}

export interface LaunchedSession {
  /** The device is not there any more and cannot come back. */
  lost(reason: string): void;
  /** The OS says that the device has gone. */
  unplugged(): void;
  /** A device that may be this one was plugged in. @returns false when this session does not wait for one. */
  replugged(source: DeviceSource): Promise<boolean>;
}

export interface Sessions {
  launch(source: DeviceSource): Launched;
  /**
   * Ends every session, and every one that is launched later; then closes the links. Bounded in time; never rejects.
   * @returns why they did not end in order, which has been told as an event.
   */
  stopAll(reason: string): Promise<HostError | undefined>;
  /** Tries every device again that is in quarantine. */
  resumeAll(): void;
  /** Ends every process that was started for them, now. Resolves when what was made on this machine is taken back, as far as it can be. */
  killAll(): Promise<void>;
}

export interface SessionsOptions extends RumpStarterContext {
  readonly clock: Clock;
  readonly runtimeDir: string;
  readonly takeUnit: TakeUnit;
  /** Opened at once; undefined: one for each kind of device, opened when there is one. */
  readonly links: readonly LinkSpec[] | undefined;
  readonly ownLinks: readonly Link[];
  readonly readOnly: boolean;
  /** As HostOptions. */
  readonly latencyMs?: number | undefined;
  readonly emit: EmitEvent;
  /** How long a device that was unplugged is waited for; 0 = not at all. */
  readonly graceMs: number;
  readonly mode: Mode;
  readonly sharesMemory: boolean;
  /** None of the sessions goes on, for this reason, which has been told as an event. */
  readonly onLost: (error: HostError) => void;
  /** Script to run in place of the pud process; for tests. */
  readonly pudScript?: string;
}
