/**
 * What carries SCSI commands to a target with logical units: the border between scsipi and a transport (umass).
 *
 * The transport moves a CDB, the data and the status; it does not look inside the CDB. What sense data mean is decided
 * above it. The layer above learns about its surroundings by `ScsiHost` alone, so that no USB word appears here.
 */
import type { Device } from "../../rump/devsw.js";
import type { Clock, LogLevel } from "../../rumpuser/rumpuser.js";

/** A command without an own deadline gets this long. */
export const DEFAULT_COMMAND_TIMEOUT_MS = 30_000;

/** The data phase of a command. `in`: at most `bytes` come back, in the memory `into` where it is given. `out`: `data` is lent until the command settles. */
export type ScsiData =
  | { readonly direction: "none" }
  | { readonly direction: "in"; readonly bytes: number; readonly into?: Uint8Array | undefined }
  | { readonly direction: "out"; readonly data: Uint8Array };

export type ScsiCommand = ScsiData & {
  readonly lun: number;
  /** 6, 10, 12 or 16 bytes. */
  readonly cdb: Uint8Array;
  /** Milliseconds from the moment the command starts; time spent in the queue does not count. */
  readonly timeoutMs?: number;
  /** Aborted in the queue: the command never starts. Aborted in flight: the transport recovers the target first. */
  readonly signal?: AbortSignal | undefined;
};

export interface ScsiReply {
  /** "check": CHECK CONDITION; `sense`, or else REQUEST SENSE says why (SPC-4 §5.13). */
  readonly status: "good" | "check";
  /** Sense data that came with the status, of a transport that has them (SAM-5 §5.13). */
  readonly sense?: Uint8Array;
  /** IN: what the target really sent, never padded; at most the bytes asked for. */
  readonly data: Uint8Array;
  /** Bytes asked for minus bytes moved, as the target admits or the bus saw, whichever is more. */
  readonly residueBytes: number;
}

export interface ScsiTransport {
  /** The most data bytes of one command. */
  readonly maxTransferBytes: number;
  /** Logical units 0 … lunCount - 1 may be addressed. */
  readonly lunCount: number;
  /** The transport cannot tell which of them there are: without an answer to REPORT LUNS it is unit 0. */
  readonly lunsByReport?: boolean;
  /** Commands that it takes at a time, all units together; may change. Left out: 1. */
  readonly queueDepth?: number;
  /** How often the transport has reset the target: a unit attention 29h after one of these is our own doing. */
  readonly resetCount: number;
  /**
   * Runs one command. They are sent in the order of the calls, of all units; more than one at a time where `queueDepth`
   * says so, and the target then carries them out in any order.
   * @throws ScsiTransportError after the target has been recovered, or has been given up.
   */
  execute(command: ScsiCommand): Promise<ScsiReply>;
  /** Takes back the data of a reply for the commands to come, as `Disk.recycle`. */
  recycle?(data: Uint8Array): void;
}

/**
 * | code              | means                                                      | who acts              |
 * | SCSI_TRANSPORT    | the command failed below SCSI; the target was recovered    | sd: once more         |
 * | SCSI_TIMED_OUT    | its deadline passed; the target was recovered              | sd: once more         |
 * | SCSI_CANCELLED    | the caller's signal                                        | nobody                |
 * | SCSI_GONE         | the target is unplugged, detached or given up              | sd: fail everything   |
 */
export type ScsiTransportErrorCode = "SCSI_TRANSPORT" | "SCSI_TIMED_OUT" | "SCSI_CANCELLED" | "SCSI_GONE";

export class ScsiTransportError extends Error {
  readonly code: ScsiTransportErrorCode;

  constructor(code: ScsiTransportErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ScsiTransportError";
    this.code = code;
  }
}

/** What the units need of whoever attached the transport; an attachment of the USB stack has all of it. */
export interface ScsiHost {
  readonly clock: Clock;
  /** Aborted at detach or unplug. */
  readonly signal: AbortSignal;
  log(level: LogLevel, message: string): void;
  /** Makes a device node; `remove` takes it away. */
  publish(className: string, device: Device): { readonly name: string; remove(reason: string): void };
  /** Registers an undo for detach; they run in reverse order. */
  onDetach(undo: () => void | Promise<void>): void;
}

/** Rules that a target is known to break above its transport. Absent = it keeps them. */
export interface ScsiQuirks {
  /** SYNCHRONIZE CACHE is refused in a way that hurts: never send it. */
  readonly noSynchronizeCache?: true;
  /** PREVENT ALLOW MEDIUM REMOVAL upsets it. */
  readonly noPreventAllow?: true;
  /** READ CAPACITY answers the number of blocks where the last address belongs. */
  readonly capacityIsBlockCount?: true;
  /** The WP bit of MODE SENSE means nothing. */
  readonly noWriteProtectDetect?: true;
  /** It offers DPOFUA and ignores or refuses the FUA bit. */
  readonly brokenFua?: true;
}
