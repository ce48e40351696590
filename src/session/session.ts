/**
 * One device from open to detach: the rump processes that serve it one after another, and what programs see of it.
 *
 * A process that dies or hangs is replaced (survival.ts) and a device that is pulled out may come back within a grace
 * time; nodes, sockets and requests wait meanwhile (pud/host.ts). A session ends once, for one reason, and everything it
 * acquired is undone in reverse order. A later session of the same device is a new object; whoever starts sessions decides
 * whether there is one (supervisor.ts).
 */
import createDebug from "debug";
import { createPudHost, type PudHost } from "../pud/host.js";
import { loadedOnce } from "../rumpuser/real/resources.js";
import type { LogEntry } from "../rumpuser/rumpuser.js";
import { DeviceNodes, type DeviceNodesContext } from "./device-nodes.js";
import { HostError, hostErrorOf, messageOf, reportedCode } from "../host/errors.js";
import type { RumpLife, Lost } from "./rump-life.js";
import type { SessionSource } from "./rights.js";
import { RumpSupply, type RumpSupplyContext } from "./rump-supply.js";
import { type Ending, Survival } from "./survival.js";
import { deferred, waitAtMost } from "../host/waits.js";

/** A disk may take its time to spin up; a device with many functions, to attach them all. */
const ATTACH_MS = 60_000;
/** The first process of a device has nobody waiting for its answers. */
const FIRST_ATTACH_SILENCE_MS = 5_000;
/** Flush and detach. */
const SHUTDOWN_MS = 10_000;
const MAX_EARLY_ERRORS = 16;
/** Acknowledged writes that a node may have unflushed before a flush is forced. */
const JOURNAL_BYTES = 64 * 1024 * 1024;
/** A rump process ends by itself when its device has gone. */
const NOTICE_MS = 1_000;

/** Serial lines. To be called once ahead, where nothing can be loaded later. */
export const loadTtyLine = loadedOnce(async () => (await import("../pud/host-tty-line.js")).HostLine);

export interface SessionContext extends DeviceNodesContext, RumpSupplyContext {
  /** How long a device that was unplugged is waited for; 0 = not at all. */
  readonly graceMs: number;
}

export class DeviceSession {
  readonly #context: SessionContext;
  readonly #debug: (message: string) => void;
  readonly #ending = deferred<Ending>();
  readonly #nodes: DeviceNodes;
  readonly #key: string;
  readonly #supply: RumpSupply;
  readonly #survival: Survival;
  #pud: PudHost | undefined;
  #life: RumpLife | undefined;
  /** What drivers reported before the session was attached. */
  readonly #earlyErrors: HostError[] = [];
  /** The last thing that went wrong before that, in the words of the log: with no driver, the reason. */
  #earlyWarning = "nothing matches";
  #attached = false;
  #killed = false;
  /** READY has come in this life; and then, with every node served, it is ready. */
  #explored = false;
  #ready = deferred<void>();

  constructor(source: SessionSource, context: SessionContext) {
    this.#key = source.key;
    this.#context = context;
    this.#nodes = new DeviceNodes(source.key, context);
    this.#debug = createDebug(`rumpusb:${source.key}`);
    this.#supply = new RumpSupply(source, context, this.#debug);
    const { clock, emit, graceMs } = context;
    this.#survival = new Survival(
      { key: source.key, clock, emit, graceMs, ending: this.#ending.promise },
      this.#supply,
      {
        begin: (life, deviceKept) => this.#begin(life, deviceKept),
        serving: async () => await this.#ready.promise,
        hasNodes: () => this.#pud === undefined || this.#pud.nodes.length > 0,
        abandon: (reason) => this.#pud?.abandon(reason, "EIO"),
        forget: () => {
          this.#pud = undefined;
        },
        debug: this.#debug,
      },
    );
  }

  get key(): string {
    return this.#key;
  }

  /**
   * Runs the device until it ends: `attached` is called when every driver has attached and the links are up.
   *
   * Resolves, with everything undone, when the device went away for good or `stop` was called.
   * @throws HostError why it failed, with everything undone.
   */
  async run(attached: () => void): Promise<void> {
    await this.#supply.open();
    let ending: Ending;
    try {
      ending = await this.#live(attached);
    } catch (error) {
      ending = { reason: messageOf(error), error: hostErrorOf(error) };
    }
    await this.#undo(ending);
    if (ending.error !== undefined) throw ending.error;
  }

  /** Flush, detach, end; `run` resolves when it is done, in bounded time. */
  stop(reason: string): void {
    this.#ending.resolve({ reason });
  }

  /** The device is not there any more and cannot come back. Before a driver has attached that is a failure. */
  lost(reason: string): void {
    if (this.#attached) return this.stop(reason);
    const error = new HostError("DEVICE_GONE", `${this.key}: ${reason} before a driver had attached`);
    this.#ending.resolve({ reason, error });
  }

  /** Ends the process now; `run` then undoes the rest. */
  kill(): void {
    this.#killed = true;
    this.stop("killed");
    this.#life?.kill();
  }

  /** The OS says that the device has gone. It is waited for, if it ever attached and there is a grace time. */
  unplugged(): void {
    if (!this.#attached || this.#context.graceMs === 0) return this.lost("unplugged");
    this.#survival.unplugged();
    const life = this.#life;
    // It notices by itself and ends in order; if it cannot, it is ended.
    this.#context.clock.startTimer(NOTICE_MS, () => life?.kill());
  }

  /** A device that may be this one was plugged in. @returns false when this session does not wait for one. */
  replugged(source: SessionSource): boolean {
    return this.#survival.replugged(source);
  }

  /** Ends a quarantine. */
  resume(): void {
    this.#survival.resume();
  }

  /** Life after life, until there is a reason to end. */
  async #live(attached: () => void): Promise<Ending> {
    const first = await this.#firstLife(attached);
    if ("reason" in first) return first;
    let lost = first;
    for (;;) {
      const ending = await Promise.race([this.#survival.recover(lost), this.#ending.promise]);
      if ("reason" in ending) return ending;
      lost = ending;
    }
  }

  /** The first process, from its start to its end. @throws HostError when nothing attaches. */
  async #firstLife(attached: () => void): Promise<Ending | Lost> {
    let lost = this.#begin(await this.#supply.first(), true);
    let early = await Promise.race([this.#untilAttached(), lost, this.#ending.promise]);
    if (early !== undefined && "why" in early && this.#mayBeOfAnother(early)) {
      const life = await this.#supply.takeSpare(true);
      lost = this.#begin(life, (await this.#supply.opened?.reopen()) ?? false);
      early = await Promise.race([this.#untilAttached(), lost, this.#ending.promise]);
    }
    if (early !== undefined) return "reason" in early ? early : this.#whyEarly(early);
    this.#attached = true;
    for (const { code, message } of this.#earlyErrors) this.#report(code, message);
    attached();
    this.#supply.prepareSpare();
    return await Promise.race([lost, this.#ending.promise]);
  }

  /** Undefined when at least one driver has attached and its links are up. @throws HostError */
  async #untilAttached(): Promise<undefined> {
    const done = await waitAtMost(this.#context.clock, ATTACH_MS, this.#ready.promise);
    if (done === undefined)
      throw new HostError("ATTACH_TIMED_OUT", `${this.key}: no driver has attached within ${ATTACH_MS / 1000} s`);
    await this.#nodes.served();
    if (this.#nodes.hasDriver) return undefined;
    const message = `${this.key}: no driver has attached; ${this.#earlyWarning}`;
    throw this.#whyNotAttached() ?? new HostError("NO_DRIVER", message);
  }

  /** Connects the life to what waits for it and hands it the device. @returns how it ends. */
  #begin(life: RumpLife, deviceKept: boolean): Promise<Lost> {
    this.#life = life;
    this.#explored = false;
    this.#ready.resolve(); // who waited for the life before waits for its end as well
    this.#ready = deferred();
    this.#pud ??= this.#createPud();
    return life.begin({
      pud: this.#pud,
      deviceKept,
      heartbeatMs: this.#survival.heartbeatMs,
      attachSilenceMs: this.#attached ? undefined : FIRST_ATTACH_SILENCE_MS,
      opened: this.#supply.opened,
      onSandbox: (report) => {
        if (!this.#attached) this.#context.emit({ event: "sandbox", device: this.key, ...report });
      },
    });
  }

  #createPud(): PudHost {
    const { clock, graceMs } = this.#context;
    return createPudHost({
      clock,
      lossPolicy: "hold",
      loadTtyLine,
      ...(graceMs > 0 ? { replug: { journalBytes: JOURNAL_BYTES } } : {}),
      handlers: {
        onDevice: (device) => this.#nodes.attached(device, this.#life?.pid ?? 0),
        onDemotion: ({ mode, reason }) => this.#onDemotion(mode, reason),
        onNode: (node) => this.#nodes.add(node),
        onNodeGone: (node, reason) => {
          this.#nodes.remove(node, reason);
          this.#checkReady();
        },
        onNodeBack: () => this.#checkReady(),
        onLog: (entry) => this.#onLog(entry),
        onError: (code, message) => this.#onError(code, message),
        onReady: () => {
          this.#explored = true;
          this.#checkReady();
        },
        onLost: (error) => {
          if (this.#supply.isOver) this.#pud?.abandon(error.message);
          this.#life?.channelLost(error);
        },
      },
    });
  }

  #onDemotion(word: string, reason: string): void {
    const mode = this.#supply.demote(word, reason);
    if (mode !== undefined) this.#context.emit({ event: "demotion", device: this.key, mode, reason });
  }

  #checkReady(): void {
    if (this.#explored && this.#pud?.isServing === true) this.#ready.resolve();
  }

  #onLog(entry: LogEntry): void {
    this.#debug(`${entry.source}: ${entry.message}`);
    if (entry.level !== "debug" && entry.level !== "info") {
      const { level, source, message } = entry;
      if (!this.#attached) this.#earlyWarning = `${source}: ${message}`;
      this.#context.emit({ event: "log", level, source: `${this.key} ${source}`, message });
    }
  }

  /** `code` is the rump process's own word; what it means for the exit status is ours to say. */
  #onError(code: string, message: string): void {
    const text = `${this.key}: ${message} (${code})`;
    if (!this.#attached) {
      if (this.#earlyErrors.length < MAX_EARLY_ERRORS) this.#earlyErrors.push(new HostError(reportedCode(code), text));
    } else if (!this.#survival.isAwaitingReturn) this.#debug(text);
  }

  /** What the drivers said about a device that none of them attached to. */
  #whyNotAttached(): HostError | undefined {
    const [first] = this.#earlyErrors;
    if (this.#attached || first === undefined) return undefined;
    return new HostError(first.code, this.#earlyErrors.map((error) => error.message).join("\n  "));
  }

  /** The process ended before this device had attached, and other devices were in it: one of those may be to blame. */
  #mayBeOfAnother({ error, deviceGone }: Lost): boolean {
    const isOfThis = error !== undefined || deviceGone || this.#whyNotAttached() !== undefined;
    return this.#context.shares === true && !isOfThis && !this.#supply.isOver;
  }

  /** Why a device that never attached ends. */
  #whyEarly(lost: Lost): Ending {
    const error =
      lost.error ??
      this.#whyNotAttached() ??
      (lost.deviceGone
        ? new HostError("DEVICE_GONE", `${this.key}: the device has gone`)
        : new HostError(
            "RUMP_LOST",
            [`${this.key}: rump process ${lost.pid}: ${lost.why}`, ...lost.lastWords].join("\n  "),
          ));
    return { reason: error.message, error };
  }

  async #undo(ending: Ending): Promise<void> {
    this.#supply.end();
    this.#ready.resolve(); // nobody waits for it any more
    const orderly = ending.error === undefined && !this.#killed;
    if (!orderly || this.#pud?.connected !== true) this.#pud?.abandon(ending.reason);
    // Links let their clients' requests end first.
    const removed = this.#nodes.removeAll(ending.reason);
    if ((await waitAtMost(this.#context.clock, SHUTDOWN_MS, removed)) === undefined) this.#pud?.abandon(ending.reason);
    await removed;
    await this.#supply.killSpare();
    if (orderly) await this.#pud?.shutdown(SHUTDOWN_MS);
    if (this.#life !== undefined && !(await this.#life.end(orderly)))
      this.#report("RUMP_LOST", `${this.key}: rump process ${this.#life.pid} does not end after SIGKILL`);
    this.#pud?.abandon(ending.reason);
    try {
      await this.#supply.opened?.release();
    } catch (error) {
      this.#report("KERNEL_DRIVER", messageOf(error));
    }
    this.#nodes.detach();
  }

  #report(code: string, message: string): undefined {
    this.#context.emit({ event: "error", code, message, device: this.key });
  }
}
