/**
 * A machine on the simulated host: a flash drive with a volatile cache, the host half of pud, and one rump process after
 * another. Cuts are made at the n-th transfer that reaches the device or at the n-th frame that a rump process sends or
 * gets, counted over the whole run.
 */
import { RestartPolicy } from "../../src/host/restart-policy.js";
import type { LinkError } from "../../src/pud/errors.js";
import { createPudHost, type PudHost } from "../../src/pud/host.js";
import { SharedSlots, SLOT_BYTES } from "../../src/pud/shared-memory.js";
import type { Disk } from "../../src/rump/devsw.js";
import { createMemoryStreamPair } from "../../src/rumpuser/memory-stream.js";
import { createSimulatedRumpuser, type SimulatedRumpuser } from "../../src/rumpuser/simulated.js";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../src/vdev/image.js";
import type { DeviceModel, Urb } from "../../src/vdev/model.js";
import { setupPacket } from "../../src/dev/usb/usb.js";
import type { Way } from "../dev/usb/ways.js";
import { PassingDisk } from "../fakes/passing-disk.js";
import { Life } from "./life.js";
import { SECTOR_BYTES } from "./oracle.js";

export const SECTORS = 128;
/** Small, so that the workloads fill it: 16 KiB. */
const JOURNAL_BYTES = 16 << 10;
/** Fewer than the workloads have requests in flight. */
const SHARED_SLOTS = 4;
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
interface Shared {
  readonly mapped: ArrayBuffer;
  readonly memory: SharedSlots;
}

export class Machine {
  readonly sim: SimulatedRumpuser;
  readonly counts = { transfer: 0, frame: 0 };
  readonly medium = new Uint8Array(SECTORS * SECTOR_BYTES);
  readonly lost: string[] = [];
  readonly logs: string[] = [];
  /** What drivers said that the drive did wrong. */
  readonly demotions: string[] = [];
  /** Cuts that were made. */
  made = 0;
  powerCuts = 0;
  /** The host process is gone: nobody is answered any more. */
  hostDown = false;
  readonly #drive: FlashDrive;
  readonly #model: DeviceModel;
  readonly #driverOptions: Way["driverOptions"];
  #cuts: readonly Cut[] = [];
  #pud: PudHost;
  readonly #shares: boolean;
  #shared: Shared | undefined;
  #policy = new RestartPolicy();
  #life: Life | undefined;
  #lifeBegan = 0;
  #answeredBefore = 0;
  #lives = 0;
  #plugged = true;
  /** Counts plug-ins; the life before saw this one. */
  #plugs = 1;
  #seenPlug = 1;
  #nodes = 0;
  #waiting: (() => void)[] = [];

  /**
   * The drive has a write cache, whatever the way in which it is driven.
   *
   * @param shares  Data go in memory that is shared, and not in frames.
   */
  constructor(seed: number, { drive, driverOptions }: Way, shares = false) {
    this.#shares = shares;
    this.#driverOptions = driverOptions;
    this.sim = createSimulatedRumpuser({ seed });
    this.#drive = new FlashDrive({
      clock: this.sim.clock,
      units: [{ store: new MemoryStore(this.medium), blockBytes: SECTOR_BYTES, writeCache: true }],
      ...drive,
    });
    this.#model = this.#counted(this.#drive);
    this.#enumerate();
    this.#pud = this.#createHost();
    this.#startLife();
  }

  /** From now on. */
  cut(cuts: readonly Cut[]): void {
    this.#cuts = cuts;
  }

  /** The disk, when it is there. */
  async disk(): Promise<Disk> {
    while (this.#nodes === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const [node] = this.#pud.nodes;
    if (node?.device.kind !== "disk") throw new Error(`the disk has gone; ${this.story()}`);
    return this.#shares ? new PassingDisk(node.device) : node.device;
  }

  /** After the host process was killed: another one, and no more cuts. */
  startHost(): void {
    this.#cuts = [];
    this.hostDown = false;
    this.#nodes = 0;
    this.#policy = new RestartPolicy();
    this.#pud = this.#createHost();
    this.#startLife();
  }

  /** The power fails for good. */
  powerOff(seed: number): void {
    this.#cuts = [];
    this.hostDown = true;
    this.#life?.die();
    this.#pud.abandon("the power failed");
    this.#drive.powerCut(seed);
  }

  /** What happened, for the message of a failure. */
  story(): string {
    return [`losses: ${this.lost.join("; ")}`, ...this.logs.slice(-20)].join("\n  ");
  }

  #createHost(): PudHost {
    const down = (): boolean => this.hostDown;
    if (this.#shares) {
      const mapped = new ArrayBuffer(SHARED_SLOTS * SLOT_BYTES);
      this.#shared = { mapped, memory: new SharedSlots(mapped, SECTOR_BYTES) };
    }
    return createPudHost({
      clock: this.sim.clock,
      lossPolicy: "hold",
      replug: { journalBytes: JOURNAL_BYTES },
      // Cuts come thick here: a request that was there at three of them is no poison.
      limits: { heartbeatMs: 60, maxLosses: 1000 },
      handlers: {
        onDevice: () => {},
        onDemotion: ({ mode, reason }) => this.demotions.push(`demoted to ${mode}: ${reason}`),
        onNode: () => {
          this.#nodes++;
          for (const wake of this.#waiting.splice(0)) wake();
        },
        onNodeGone: (_node, reason) => {
          if (!down()) this.lost.push(`NODE GONE: ${reason}`);
        },
        onLog: () => {},
        onReady: () => {},
        onError: (code, message) => this.logs.push(`${code}: ${message}`),
        onLost: (error) => this.#onLost(error),
      },
    });
  }

  #startLife(): void {
    if (this.hostDown || !this.#plugged || this.#life !== undefined) return;
    const [hostEnd, rumpEnd] = createMemoryStreamPair({ clock: this.sim.clock });
    const life = new Life({
      rumpuser: this.sim,
      model: this.#model,
      stream: rumpEnd,
      interrupted: this.#lives++ > 0,
      driverOptions: this.#driverOptions,
      memory: this.#shared?.mapped,
      onFrame: () => this.#count("frame"),
      onLog: ({ level, source, message }) => this.logs.push(`${level} ${source}: ${message}`),
    });
    this.#life = life;
    this.#lifeBegan = this.sim.clock.nowMs();
    this.#answeredBefore = this.#pud.answeredRequests;
    this.#pud.connect(hostEnd, {
      deviceKept: this.#seenPlug === this.#plugs,
      heartbeatMs: this.#policy.heartbeatMs,
      ...(this.#shared === undefined ? {} : { memory: this.#shared.memory }),
    });
    this.#seenPlug = this.#plugs;
    life.start();
  }

  #onLost(error: LinkError): void {
    this.lost.push(`${error.code} at ${this.counts.transfer}/${this.counts.frame}`);
    this.#life?.die();
    this.#life = undefined;
    const decision = this.#policy.ended({
      completedRequests: this.#pud.answeredRequests - this.#answeredBefore,
      livedMs: this.sim.clock.nowMs() - this.#lifeBegan,
      wasSilent: error.code === "PUD_SILENT",
      outOfResources: false,
    });
    // Cuts come thicker here than a quarantine allows for.
    const delayMs = decision.kind === "restart" ? decision.delayMs : 0;
    this.sim.clock.startTimer(SPAWN_MS + delayMs, () => this.#startLife());
  }

  #count(on: Cut["on"]): void {
    const at = ++this.counts[on];
    const cut = this.#cuts.find((one) => one.on === on && one.at === at);
    if (cut === undefined) return;
    this.made++;
    switch (cut.kind) {
      case "kill":
        this.#life?.die();
        return;
      case "freeze":
        this.#life?.freeze();
        return;
      case "throw":
        throw new TypeError("scripted: cannot read properties of undefined");
      case "power":
        this.#losePower(cut.seed ?? 0, cut.awayMs ?? 100);
        return;
      case "host":
        this.hostDown = true;
        this.#life?.die();
        this.#life = undefined;
        this.#pud.abandon("the host process was killed");
    }
  }

  #losePower(seed: number, awayMs: number): void {
    if (!this.#plugged) return;
    this.#plugged = false;
    this.powerCuts++;
    this.#drive.powerCut(seed);
    this.sim.clock.startTimer(awayMs, () => {
      this.#plugged = true;
      this.#plugs++;
      this.#enumerate();
      this.#startLife();
    });
  }

  /** What the OS does with a device that is plugged in (USB 2.0 §9.1.2). */
  #enumerate(): void {
    this.#drive.reset();
    this.#drive.submit({
      type: "control",
      endpointAddress: 0,
      setup: setupPacket.encode({ bmRequestType: 0, bRequest: 9, wValue: 1, wIndex: 0, wLength: 0 }),
      out: new Uint8Array(0),
      maxBytes: 0,
      complete: () => {},
    });
  }

  #counted(drive: FlashDrive): DeviceModel {
    const plugged = (): boolean => this.#plugged;
    const driving = (): Life | undefined => this.#life;
    const count = (): void => this.#count("transfer");
    return {
      speed: drive.speed,
      deviceDescriptor: drive.deviceDescriptor,
      configurationDescriptor: drive.configurationDescriptor,
      submit(urb: Urb): void {
        const life = driving();
        count();
        // The cut came before the device saw it.
        if (!plugged()) urb.complete("disconnected");
        // The OS has taken back what a dead process would have read.
        else if (life?.isDead === true && urb.maxBytes > 0) urb.complete("cancelled");
        else drive.submit(urb);
      },
      unlink: (urb) => drive.unlink(urb),
      reset: () => drive.reset(),
      onUnplug: (unplugged) => drive.onUnplug(unplugged),
      close: () => drive.close(),
    };
  }
}
