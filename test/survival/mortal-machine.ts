/**
 * A machine on the simulated host, whatever its device is: the host half of pud, and one rump process after another. Cuts are
 * made at the n-th transfer that reaches the device or at the n-th frame that a rump process sends or gets, counted over the
 * whole run.
 */
import { RestartPolicy } from "../../src/session/restart-policy.js";
import type { LinkError } from "../../src/pud/errors.js";
import { createPudHost, type HostNode, type PudHost, type PudHostOptions } from "../../src/pud/host.js";
import type { SharedSlots } from "../../src/pud/shared-memory.js";
import { createMemoryStreamPair } from "../../src/rumpuser/memory-stream.js";
import { createSimulatedRumpuser, type SimulatedRumpuser } from "../../src/rumpuser/simulated.js";
import type { DeviceModel, Urb } from "../../src/vdev/model.js";
import { setupPacket } from "../../src/dev/usb/usb.js";
import { Life, type LifeOptions } from "./life.js";

/** From the end of one process to the start of the next. */
const SPAWN_MS = 20;

export type CutKind = "kill" | "freeze" | "throw" | "power" | "host";

export interface Cut {
  readonly on: "transfer" | "frame";
  /** The n-th of the run, from 1. */
  readonly at: number;
  readonly kind: CutKind;
  /** "power": how long the device is away, and what its cache loses. */
  readonly awayMs?: number;
  readonly seed?: number;
}

/** What the host and its rump processes have both mapped. */
export interface Shared {
  readonly mapped: ArrayBuffer;
  readonly slots: SharedSlots;
}

/** What a machine has of its own, because of its kind of device. */
export interface MachineOptions {
  readonly host: Pick<PudHostOptions, "replug" | "loadTtyLine">;
  readonly life: Pick<LifeOptions, "drivers" | "driverOptions">;
  /** For each host; left out: everything goes in frames. */
  readonly share?: () => Shared;
  /** Whether what is thrown while this is submitted reaches the driver: otherwise it would be nobody's. Left out: always. */
  readonly mayThrow?: (urb: Urb) => boolean;
}

export abstract class MortalMachine {
  readonly sim: SimulatedRumpuser;
  readonly counts = { transfer: 0, frame: 0 };
  readonly lost: string[] = [];
  readonly logs: string[] = [];
  /** What drivers said that the device did wrong. */
  readonly demotions: string[] = [];
  /** Cuts that were made. */
  made = 0;
  powerCuts = 0;
  /** The host process is gone: nobody is answered any more. */
  hostDown = false;
  readonly #options: MachineOptions;
  #device: DeviceModel | undefined;
  #shared: Shared | undefined;
  #cuts: readonly Cut[] = [];
  #pud: PudHost | undefined;
  #policy = new RestartPolicy();
  #life: Life | undefined;
  #lifeBegan = 0;
  #answeredBefore = 0;
  #lives = 0;
  #plugged = true;
  /** Counts plug-ins; the life before saw this one. */
  #plugs = 1;
  #seenPlug = 1;
  /** Of the host that runs: how many it has announced. */
  #nodes = 0;
  #waiting: (() => void)[] = [];

  constructor(seed: number, options: MachineOptions) {
    this.#options = options;
    this.sim = createSimulatedRumpuser({ seed });
  }

  /** The device is there. */
  get isPlugged(): boolean {
    return this.#plugged;
  }

  /** From now on. */
  cut(cuts: readonly Cut[]): void {
    this.#cuts = cuts;
  }

  /** The process dies now. */
  kill(): void {
    this.#life?.die();
  }

  /** What happened, for the message of a failure. */
  story(): string {
    return [`losses: ${this.lost.join("; ")}`, ...this.logs.slice(-20)].join("\n  ");
  }

  /** The device loses its power, and is away. */
  protected abstract losePower(seed: number): void;

  /** Plugs the device in, and starts a host with a process for it. Once. */
  protected begin(device: DeviceModel): void {
    this.#device = device;
    this.#enumerate(device);
    this.startHost();
  }

  /** Also after the host process was killed: another one, and no more cuts. */
  startHost(): void {
    this.#cuts = [];
    this.hostDown = false;
    this.#nodes = 0;
    this.#policy = new RestartPolicy();
    this.#shared = this.#options.share?.();
    this.#pud = createPudHost({
      clock: this.sim.clock,
      lossPolicy: "hold",
      // Cuts come thick here: a request that was there at three of them is no poison.
      limits: { heartbeatMs: 60, maxLosses: 1000 },
      ...this.#options.host,
      handlers: {
        onDevice: () => {},
        onDemotion: ({ mode, reason }) => this.demotions.push(`demoted to ${mode}: ${reason}`),
        onNode: () => {
          this.#nodes++;
          for (const wake of this.#waiting.splice(0)) wake();
        },
        onNodeGone: (_node, reason) => {
          if (!this.hostDown) this.lost.push(`NODE GONE: ${reason}`);
        },
        onLog: () => {},
        onReady: () => {},
        onError: (code, message) => this.logs.push(`${code}: ${message}`),
        onLost: (error) => this.#onLost(error),
      },
    });
    this.#startLife();
  }

  /** The host process is gone, for good or until `startHost`. */
  protected stopHost(reason: string): void {
    this.#cuts = [];
    this.hostDown = true;
    this.#life?.die();
    this.#life = undefined;
    this.#pud?.abandon(reason);
  }

  /** The node's device, when it is there. */
  protected async served(): Promise<HostNode["device"]> {
    while (this.#nodes === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const [node] = this.#pud?.nodes ?? [];
    if (node === undefined) throw new Error(`the node has gone; ${this.story()}`);
    return node.device;
  }

  #startLife(): void {
    const device = this.#device;
    const pud = this.#pud;
    if (device === undefined || pud === undefined || this.hostDown || !this.#plugged || this.#life !== undefined)
      return;
    const [hostEnd, rumpEnd] = createMemoryStreamPair({ clock: this.sim.clock });
    const life = new Life({
      rumpuser: this.sim,
      model: this.#counted(device),
      stream: rumpEnd,
      interrupted: this.#lives++ > 0,
      ...this.#options.life,
      memory: this.#shared?.mapped,
      onFrame: () => this.#count("frame"),
      onLog: ({ level, source, message }) => this.logs.push(`${level} ${source}: ${message}`),
    });
    this.#life = life;
    this.#lifeBegan = this.sim.clock.nowMs();
    this.#answeredBefore = pud.answeredRequests;
    pud.connect(hostEnd, {
      deviceKept: this.#seenPlug === this.#plugs,
      heartbeatMs: this.#policy.heartbeatMs,
      ...(this.#shared === undefined ? {} : { memory: this.#shared.slots }),
    });
    this.#seenPlug = this.#plugs;
    life.start();
  }

  #onLost(error: LinkError): void {
    this.lost.push(`${error.code} at ${this.counts.transfer}/${this.counts.frame}`);
    this.#life?.die();
    this.#life = undefined;
    const decision = this.#policy.ended({
      completedRequests: (this.#pud?.answeredRequests ?? 0) - this.#answeredBefore,
      livedMs: this.sim.clock.nowMs() - this.#lifeBegan,
      wasSilent: error.code === "PUD_SILENT",
      outOfResources: false,
    });
    // Cuts come thicker here than a quarantine allows for.
    const delayMs = decision.kind === "restart" ? decision.delayMs : 0;
    this.sim.clock.startTimer(SPAWN_MS + delayMs, () => this.#startLife());
  }

  #count(on: Cut["on"], mayThrow = true): void {
    const at = ++this.counts[on];
    const cut = this.#cuts.find((one) => one.on === on && one.at === at);
    if (cut === undefined) return;
    this.made++;
    switch (cut.kind) {
      case "kill":
        return this.#life?.die();
      case "freeze":
        return this.#life?.freeze();
      case "throw":
        if (mayThrow) throw new TypeError("scripted: cannot read properties of undefined");
        return this.#life?.die(); // an exception that is nobody's ends a process like a signal
      case "power":
        return this.#cutPower(cut.seed ?? 0, cut.awayMs ?? 100);
      case "host":
        return this.stopHost("the host process was killed");
    }
  }

  #cutPower(seed: number, awayMs: number): void {
    if (!this.#plugged) return;
    this.#plugged = false;
    this.powerCuts++;
    this.losePower(seed);
    this.sim.clock.startTimer(awayMs, () => {
      this.#plugged = true;
      this.#plugs++;
      if (this.#device !== undefined) this.#enumerate(this.#device);
      this.#startLife();
    });
  }

  /** What the OS does with a device that is plugged in (USB 2.0 §9.1.2). */
  #enumerate(device: DeviceModel): void {
    device.reset();
    device.submit({
      type: "control",
      endpointAddress: 0,
      setup: setupPacket.encode({ bmRequestType: 0, bRequest: 9, wValue: 1, wIndex: 0, wLength: 0 }),
      out: new Uint8Array(0),
      maxBytes: 0,
      complete: () => {},
    });
  }

  /** The device as a process has it. */
  #counted(device: DeviceModel): DeviceModel {
    return {
      speed: device.speed,
      deviceDescriptor: device.deviceDescriptor,
      configurationDescriptor: device.configurationDescriptor,
      submit: (urb) => {
        const life = this.#life;
        this.#count("transfer", this.#options.mayThrow?.(urb));
        // The cut came before the device saw it.
        if (!this.#plugged) urb.complete("disconnected");
        // The OS has taken back what a dead process would have read.
        else if (life?.isDead === true && urb.maxBytes > 0) urb.complete("cancelled");
        else device.submit(urb);
      },
      unlink: (urb) => device.unlink(urb),
      reset: () => device.reset(),
      onUnplug: (unplugged) => device.onUnplug(unplugged),
      close: () => device.close(),
    };
  }
}
