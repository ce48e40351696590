/**
 * One device from open to detach: its rump process, its end of the pud channel, the nodes that come out of it.
 *
 * A session ends once, for one reason, and everything it acquired is undone in reverse order. A later session of the
 * same device is a new object; whoever starts sessions decides whether there is one (supervisor.ts).
 */
import createDebug from "debug";
import { hex16 } from "../bytes.js";
import type { Link } from "../pud/links/links.js";
import { createPudHost, type HostNode, type PudHost } from "../pud/host.js";
import type { DeviceAnnouncement } from "../pud/payloads.js";
import type { Clock, LogEntry } from "../rumpuser/rumpuser.js";
import { HostError, messageOf } from "./errors.js";
import type { EmitEvent } from "./events.js";
import type { Sandbox } from "./sandbox/sandbox.js";
import { ServedNode } from "./served-node.js";
import type { DeviceSource, OpenedDevice } from "./sources/source.js";
import { describeExit, type RumpProcess, spawnRump } from "./spawn.js";
import type { HeldUnit, LocalUnits, TakeUnit } from "./units.js";
import { deferred, waitAtMost } from "./waits.js";

/** A disk may take its time to spin up; a device with many functions, to attach them all. */
const ATTACH_MS = 60_000;
/** Flush and detach. */
const SHUTDOWN_MS = 10_000;
/** Between the last word on the channel and the end of the process, and between SIGKILL and its effect. */
const EXIT_MS = 1_000;
const MAX_EARLY_ERRORS = 16;

export interface SessionContext {
  readonly clock: Clock;
  readonly takeUnit: TakeUnit;
  readonly driverUnits: LocalUnits;
  readonly links: readonly Link[];
  readonly readOnly: boolean;
  readonly emit: EmitEvent;
  readonly sandbox: Sandbox;
  /** Script to run in place of the rump process; for tests. */
  readonly rumpScript?: string;
}

/** Why a session ends: on purpose or because the device went (no error), or by a failure. */
interface Ending {
  readonly reason: string;
  readonly error?: HostError;
}

export class DeviceSession {
  readonly #source: DeviceSource;
  readonly #context: SessionContext;
  readonly #debug: (message: string) => void;
  readonly #ending = deferred<Ending>();
  readonly #ready = deferred<void>();
  readonly #driverUnits: HeldUnit[] = [];
  readonly #nodes = new Map<HostNode, Promise<ServedNode | undefined>>();
  #process: RumpProcess | undefined;
  #pud: PudHost | undefined;
  /** What drivers reported before the session was attached. */
  readonly #earlyErrors: HostError[] = [];
  #attached = false;
  #killed = false;

  constructor(source: DeviceSource, context: SessionContext) {
    this.#source = source;
    this.#context = context;
    this.#debug = createDebug(`rumpusb:${source.key}`);
  }

  get key(): string {
    return this.#source.key;
  }

  /**
   * Runs the device until it ends: `attached` is called when every driver has attached and the links are up.
   *
   * Resolves, with everything undone, when the device went away or `stop` was called.
   * @throws HostError why it failed, with everything undone.
   */
  async run(attached: () => void): Promise<void> {
    const opened = await this.#source.open();
    let ending: Ending;
    try {
      await this.#start(opened);
      const early = await Promise.race([this.#untilAttached(), this.#ending.promise]);
      if (early === undefined) {
        this.#attached = true;
        for (const { code, message } of this.#earlyErrors) this.#report(code, message);
        attached();
      }
      ending = early ?? (await this.#ending.promise);
    } catch (error) {
      ending = { reason: messageOf(error), error: asHostError(error) };
    }
    await this.#undo(ending, opened);
    if (ending.error !== undefined) throw ending.error;
  }

  /** Flush, detach, end; `run` resolves when it is done, in bounded time. */
  stop(reason: string): void {
    this.#ending.resolve({ reason });
  }

  /** Ends the process now; `run` then undoes the rest. */
  kill(): void {
    this.#killed = true;
    this.stop("killed");
    this.#process?.kill();
  }

  async #start(opened: OpenedDevice): Promise<void> {
    const { clock, sandbox, rumpScript } = this.#context;
    const { bus, drivers } = opened;
    const rump = await spawnRump({
      config: { version: 1, bus, drivers },
      sandbox,
      clock,
      onLine: (line) => this.#debug(line),
      ...(rumpScript === undefined ? {} : { script: rumpScript }),
    });
    this.#process = rump;
    this.#pud = createPudHost({
      clock,
      lossPolicy: "fail",
      handlers: {
        onDevice: (device) => this.#onDevice(device, rump.pid),
        onNode: (node) => this.#onNode(node),
        onNodeGone: (node, reason) => this.#onNodeGone(node, reason),
        onLog: (entry) => this.#onLog(entry),
        onError: (code, message) => this.#onError(code, message),
        onReady: () => this.#ready.resolve(),
        onLost: (error) => void this.#onLost(error, rump),
      },
    });
    this.#pud.connect(rump.pud);
    void this.#handOver(opened, rump);
  }

  /** Gives the process its device as soon as it is seen to be locked. */
  async #handOver(opened: OpenedDevice, rump: RumpProcess): Promise<void> {
    try {
      const report = await rump.locked;
      this.#context.emit({ event: "sandbox", device: this.key, ...report });
      rump.sendDevice(opened.descriptor);
      opened.closeDescriptor();
    } catch (error) {
      // A process that ended is told of by its channel, with its last words.
      if (error instanceof HostError && error.code === "RUMP_LOST") return;
      this.#ending.resolve({ reason: messageOf(error), error: asHostError(error) });
    }
  }

  /** Undefined when at least one driver has attached and its links are up. @throws HostError */
  async #untilAttached(): Promise<undefined> {
    const done = await waitAtMost(this.#context.clock, ATTACH_MS, this.#ready.promise);
    if (done === undefined)
      throw new HostError("ATTACH_TIMED_OUT", `${this.key}: no driver has attached within ${ATTACH_MS / 1000} s`);
    await Promise.all(this.#nodes.values());
    if (this.#driverUnits.length > 0) return undefined;
    throw this.#whyNotAttached() ?? new HostError("NO_DRIVER", `${this.key}: no driver matches this device`);
  }

  #onDevice(device: DeviceAnnouncement, pid: number): void {
    const unit = this.#context.driverUnits.take(device.driver.replace(/[0-9]+$/, ""));
    this.#driverUnits.push(unit);
    this.#context.emit({
      event: "device",
      device: this.key,
      vendor: hex16(device.vendor),
      product: hex16(device.product),
      driver: unit.name,
      pid,
    });
  }

  #onNode(node: HostNode): void {
    const { takeUnit, links, readOnly, emit } = this.#context;
    const served = ServedNode.serve(node.className, node.device, { device: this.key, takeUnit, links, readOnly, emit });
    const kept = served.catch((error: unknown) => this.#report("FAILED", messageOf(error)));
    this.#nodes.set(node, kept);
  }

  #onNodeGone(node: HostNode, reason: string): void {
    const served = this.#nodes.get(node);
    this.#nodes.delete(node);
    void served?.then(async (it) => await it?.remove(reason));
  }

  #onLog(entry: LogEntry): void {
    this.#debug(`${entry.source}: ${entry.message}`);
    if (entry.level !== "debug" && entry.level !== "info") {
      const { level, source, message } = entry;
      this.#context.emit({ event: "log", level, source: `${this.key} ${source}`, message });
    }
  }

  /** `code` is the rump process's own word; what it means for the exit status is ours: a driver failed. */
  #onError(code: string, message: string): void {
    const text = `${this.key}: ${message} (${code})`;
    if (this.#attached) this.#report("DRIVER", text);
    else if (this.#earlyErrors.length < MAX_EARLY_ERRORS) this.#earlyErrors.push(new HostError("DRIVER", text));
  }

  /** What the drivers said about a device that none of them attached to. */
  #whyNotAttached(): HostError | undefined {
    if (this.#attached || this.#earlyErrors.length === 0) return undefined;
    return new HostError("DRIVER", this.#earlyErrors.map((error) => error.message).join("\n  "));
  }

  /** The channel has ended: because the process has, or because it broke the protocol and is ended for it. */
  async #onLost(error: Error, rump: RumpProcess): Promise<void> {
    const exit = await waitAtMost(this.#context.clock, EXIT_MS, rump.exited);
    const early = this.#whyNotAttached();
    if (early !== undefined) return this.#ending.resolve({ reason: early.message, error: early });
    if (exit?.value.code === 0) return this.#ending.resolve(this.#deviceGone());
    const how = exit === undefined ? error.message : `ended with ${describeExit(exit.value)}`;
    const message = [`${this.key}: rump process ${rump.pid}: ${how}`, ...rump.lastWords()].join("\n  ");
    this.#ending.resolve({ reason: "its driver has ended", error: new HostError("RUMP_LOST", message) });
  }

  /** The rump process ends with status 0 when its device has. */
  #deviceGone(): Ending {
    const reason = "the device has gone";
    return this.#attached ? { reason } : { reason, error: new HostError("DEVICE_GONE", `${this.key}: ${reason}`) };
  }

  async #undo(ending: Ending, opened: OpenedDevice): Promise<void> {
    this.#ready.resolve(); // nobody waits for it any more
    await Promise.all([...this.#nodes.values()].map(async (node) => await (await node)?.remove(ending.reason)));
    this.#nodes.clear();
    if (this.#process !== undefined) await this.#endProcess(this.#process, ending);
    opened.closeDescriptor();
    try {
      await opened.release();
    } catch (error) {
      this.#report("KERNEL_DRIVER", messageOf(error));
    }
    if (this.#driverUnits.length > 0) this.#context.emit({ event: "detach", device: this.key });
    for (const unit of this.#driverUnits.splice(0)) unit.release();
  }

  async #endProcess(rump: RumpProcess, ending: Ending): Promise<void> {
    const { clock } = this.#context;
    const orderly = ending.error === undefined && !this.#killed;
    if (orderly) await this.#pud?.shutdown(SHUTDOWN_MS);
    if (!orderly || (await waitAtMost(clock, EXIT_MS, rump.exited)) === undefined) rump.kill();
    if ((await waitAtMost(clock, EXIT_MS, rump.exited)) === undefined)
      this.#report("RUMP_LOST", `${this.key}: rump process ${rump.pid} does not end after SIGKILL`);
    rump.pud.destroy();
  }

  #report(code: string, message: string): undefined {
    this.#context.emit({ event: "error", code, message, device: this.key });
  }
}

function asHostError(error: unknown): HostError {
  return error instanceof HostError ? error : new HostError("FAILED", messageOf(error), { cause: error });
}
