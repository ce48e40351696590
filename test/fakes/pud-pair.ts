/**
 * Both halves of pud joined in memory, with everything that they report kept as lists.
 */
import {
  type ConnectOptions,
  createPudHost,
  type HostNode,
  type PudHost,
  type PudHostOptions,
  type PudLimits,
} from "../../src/pud/host.js";
import { HostLine } from "../../src/pud/host-tty-line.js";
import type { Disk, Tty } from "../../src/rump/devsw.js";
import type { LinkError } from "../../src/pud/errors.js";
import { createPudServer, type PudServer } from "../../src/pud/server.js";
import type { DeviceAnnouncement } from "../../src/pud/payloads.js";
import type { Clock, LogEntry } from "../../src/rumpuser/rumpuser.js";
import { type MemoryStream, streamPair, type StreamPairOptions } from "./stream-pair.js";

/** A clock that stands still until it is told; timers fire within `advance`. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; fire: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.#timers.length;
  }

  startTimer(delayMs: number, fire: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + delayMs, fire };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  /** As `advance`, but whatever is due fires `lateMs` after its time: the process was stopped meanwhile. */
  oversleep(ms: number, lateMs: number): void {
    const endMs = this.#nowMs + ms;
    const due = this.#timers.filter((timer) => timer.atMs <= endMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > endMs);
    this.#nowMs = endMs + lateMs;
    for (const timer of due) timer.fire();
  }

  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#timers.filter((t) => t.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
    }
    this.#nowMs = endMs;
  }
}

export type DiskNode = HostNode & { readonly device: Disk };

export interface HostRig {
  readonly host: PudHost;
  readonly clock: ManualClock;
  readonly nodes: DiskNode[];
  readonly ttys: Tty[];
  readonly gone: { readonly node: HostNode; readonly reason: string }[];
  readonly back: HostNode[];
  readonly devices: DeviceAnnouncement[];
  readonly logs: LogEntry[];
  readonly errors: { readonly code: string; readonly message: string }[];
  readonly lost: LinkError[];
  /** How often READY came. */
  readyCount: number;
  /** The only disk, or an error. */
  node(): DiskNode;
  /** The only serial line, or an error. */
  tty(): Tty;
}

export function hostRig(
  lossPolicy: "fail" | "hold",
  limits: Partial<PudLimits> = {},
  replug?: PudHostOptions["replug"],
  loadTtyLine: PudHostOptions["loadTtyLine"] = async () => HostLine,
): HostRig {
  const clock = new ManualClock();
  const rig: Omit<HostRig, "host"> = {
    clock,
    nodes: [],
    ttys: [],
    gone: [],
    back: [],
    devices: [],
    logs: [],
    errors: [],
    lost: [],
    readyCount: 0,
    node() {
      const [node] = this.nodes;
      if (node === undefined || this.nodes.length !== 1) throw new Error(`${this.nodes.length} nodes, not one`);
      return node;
    },
    tty() {
      const [tty] = this.ttys;
      if (tty === undefined || this.ttys.length !== 1) throw new Error(`${this.ttys.length} ttys, not one`);
      return tty;
    },
  };
  const host = createPudHost({
    clock,
    lossPolicy,
    limits,
    ...(replug === undefined ? {} : { replug }),
    loadTtyLine,
    handlers: {
      onDevice: (device) => rig.devices.push(device),
      onNode: (node) => {
        if (isDiskNode(node)) rig.nodes.push(node);
        else if (node.device.kind === "tty") rig.ttys.push(node.device);
      },
      onNodeGone: (node, reason) => rig.gone.push({ node, reason }),
      onNodeBack: (node) => rig.back.push(node),
      onLog: (entry) => rig.logs.push(entry),
      onReady: () => rig.readyCount++,
      onError: (code, message) => rig.errors.push({ code, message }),
      onLost: (error) => rig.lost.push(error),
    },
  });
  return Object.assign(rig, { host });
}

export function isDiskNode(node: HostNode): node is DiskNode {
  return node.device.kind === "disk";
}

export interface RumpRig {
  readonly server: PudServer;
  /** What the server itself has logged. */
  readonly logs: LogEntry[];
  readonly lost: LinkError[];
  readonly hostEnd: MemoryStream;
  readonly rumpEnd: MemoryStream;
}

export interface ConnectRumpOptions extends StreamPairOptions, ConnectOptions {
  /** The shared memory as the rump process has it. */
  readonly mapped?: ArrayBuffer;
}

/** A fresh rump process: its server, on a stream that the host is connected to. */
export function connectRump(rig: HostRig, options: ConnectRumpOptions = {}): RumpRig {
  const [hostEnd, rumpEnd] = streamPair(options);
  const logs: LogEntry[] = [];
  const lost: LinkError[] = [];
  rig.host.connect(hostEnd, options);
  const server = createPudServer(rumpEnd, {
    clock: rig.clock,
    log: { write: (entry) => logs.push(entry) },
    memory: options.mapped,
    onLost: (error) => lost.push(error),
  });
  return { server, logs, lost, hostEnd, rumpEnd };
}

/** Turns of the event loop until the condition holds. @throws Error naming it after 10 000 turns. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let turns = 0; turns < 10_000; turns++) {
    if (holds()) return;
    await turn();
  }
  throw new Error(`${what}: not within 10000 turns of the event loop`);
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resume) => setImmediate(resume));
}
