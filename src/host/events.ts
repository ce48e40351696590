/**
 * What a running host tells: one of these objects per line with `--json`. Keys are stable; new keys and new events may
 * be added, so a reader ignores what it does not know.
 *
 * `device` is the bus path (`1-1.2`), the selector of a USB/IP device, or `sim:KIND` with `#2`, `#3` … when there are
 * several of a kind.
 */
import type { DeviceKind } from "../rump/devsw.js";
import type { Layers, MissingLayer, SandboxLevel } from "./sandbox/levels.js";

/** The device's rump process is locked, as the kernel says; before the first byte of the device is read. */
export interface SandboxEvent {
  readonly event: "sandbox";
  readonly device: string;
  readonly level: SandboxLevel;
  /** By layer: it is there. */
  readonly layers: Layers;
  /** The layers that are not there, each with the reason and what would bring it. */
  readonly missing: readonly MissingLayer[];
}

/**
 * A driver has attached to a device. Composite devices have one per driver. Told again when a later process drives it in another
 * mode.
 */
export interface DeviceEvent {
  readonly event: "device";
  readonly device: string;
  /** Four hex digits. */
  readonly vendor: string;
  readonly product: string;
  /** "umass0"; unique within this host process. */
  readonly driver: string;
  /** Process id of the device's rump process. */
  readonly pid: number;
  /** How the driver drives it and why, where it has a choice: `overlap (default)`. */
  readonly mode?: string;
}

/**
 * The device went wrong as it was driven. From now on it is driven in a calmer mode, also by every process that comes after
 * this one for as long as it is ours.
 */
export interface DemotionEvent {
  readonly event: "demotion";
  readonly device: string;
  /** As `--mode` has it: "bot", "overlap" or "sequence". */
  readonly mode: string;
  /** In the words of the rump process. */
  readonly reason: string;
}

/** A device node has appeared. `size`, `blockBytes` and `readOnly` are those of a disk, `model` is that of a tty. */
export interface NodeEvent {
  readonly event: "node";
  /** "sd0"; unique among the host processes of this user that share a runtime directory. */
  readonly node: string;
  readonly kind: DeviceKind;
  readonly device: string;
  /** Bytes. */
  readonly size?: number;
  readonly blockBytes?: number;
  readonly readOnly?: boolean;
  /** Chip and product. */
  readonly model?: string;
}

/** The node has gone, and its links with it. */
export interface NodeGoneEvent {
  readonly event: "node-gone";
  readonly node: string;
  readonly device: string;
  readonly reason: string;
}

/** The node can be reached at `uri`. */
export interface LinkEvent {
  readonly event: "link";
  readonly node: string;
  /** Kind of the link: "nbd". */
  readonly link: string;
  readonly uri: string;
  /** The device file, where the link makes one: "/dev/nbd0". */
  readonly path?: string;
}

/** Once: every device that was asked for has attached or failed, and the links are up. */
export interface ReadyEvent {
  readonly event: "ready";
  readonly nodes: readonly string[];
}

/** The device is not ours any more: unplugged, lost or let go. */
export interface DetachEvent {
  readonly event: "detach";
  readonly device: string;
}

/** The device's rump process ended or hung, and another one serves it: its nodes were there all the time. */
export interface RestartEvent {
  readonly event: "restart";
  readonly device: string;
  /** The new process. */
  readonly pid: number;
  /** What became of the old one. */
  readonly reason: string;
  /** From the moment the loss was seen until the nodes were served again. */
  readonly downMs: number;
  /** Restarts of this device so far. */
  readonly count: number;
}

/**
 * Its rump processes died one after another without doing anything: what was asked fails with EIO, the nodes are gone, and
 * no other process is started until the user says so (SIGUSR2) or plugs the device in anew.
 */
export interface QuarantineEvent {
  readonly event: "quarantine";
  readonly device: string;
  /** Processes in a row. */
  readonly failures: number;
  /** What became of the last one. */
  readonly reason: string;
}

/** The device has gone. For `graceMs` its nodes stay and what is asked waits for it to come back. */
export interface UnplugEvent {
  readonly event: "unplug";
  readonly device: string;
  readonly graceMs: number;
}

/** The device is back within its grace time. A node whose medium is not the same went and came anew. */
export interface ReplugEvent {
  readonly event: "replug";
  readonly device: string;
  readonly pid: number;
  readonly downMs: number;
}

/** Something failed; the host goes on with its other devices. */
export interface ErrorEvent {
  readonly event: "error";
  /** A HostErrorCode, or the code that the rump process gave. */
  readonly code: string;
  readonly message: string;
  /** The device it is about, if it is about one. */
  readonly device?: string;
}

/** A line for people, what a driver logged for one. Goes to stderr as text, also with `--json`. */
export interface LogEvent {
  readonly event: "log";
  readonly level: "info" | "warn" | "error";
  readonly source: string;
  readonly message: string;
}

export type HostEvent =
  | SandboxEvent
  | DeviceEvent
  | DemotionEvent
  | NodeEvent
  | NodeGoneEvent
  | LinkEvent
  | ReadyEvent
  | DetachEvent
  | RestartEvent
  | QuarantineEvent
  | UnplugEvent
  | ReplugEvent
  | ErrorEvent
  | LogEvent;

/** Where events go. Never throws. */
export type EmitEvent = (event: HostEvent) => void;
