/**
 * A machine on the simulated host: a serial adapter with a far end, the host half of pud, and one rump process after
 * another. Cuts are made at the n-th transfer that reaches the device or at the n-th frame, as machine.ts does for a disk.
 */
import { uftdi } from "../../src/dev/usb/ucom/uftdi.js";
import type { Driver } from "../../src/dev/usb/usbdi.js";
import { RestartPolicy } from "../../src/host/restart-policy.js";
import type { LinkError } from "../../src/pud/errors.js";
import { createPudHost, type PudHost } from "../../src/pud/host.js";
import { HostLine } from "../../src/pud/host-tty-line.js";
import type { Tty } from "../../src/rump/devsw.js";
import { createMemoryStreamPair } from "../../src/rumpuser/memory-stream.js";
import { createSimulatedRumpuser, type SimulatedRumpuser } from "../../src/rumpuser/simulated.js";
import type { DeviceModel, Urb } from "../../src/vdev/model.js";
import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import type { SerialModel, SerialOptions } from "../../src/vdev/serial-model.js";
import { Uart } from "../../src/vdev/serial-uart.js";
import { setupPacket } from "../../src/dev/usb/usb.js";
import { Life } from "./life.js";
import type { Cut } from "./machine.js";

/** From the end of one process to the start of the next. */
const SPAWN_MS = 20;
const FAR_BYTES = 64 * 1024;

/** An adapter, and the driver that it needs. */
export interface TtyChip {
  readonly driver: Driver;
  readonly make: (options: SerialOptions) => SerialModel;
}

const FT232R: TtyChip = { driver: uftdi, make: (options) => new FtdiModel("ft232r", options) };

export class TtyMachine {
  readonly sim: SimulatedRumpuser;
  readonly counts = { transfer: 0, frame: 0 };
  readonly lost: string[] = [];
  readonly logs: string[] = [];
  /** The other end of the line. */
  readonly far: Uart;
  /** What has arrived there. */
  readonly arrived: Uint8Array[] = [];
  readonly adapter: SerialModel;
  /** Cuts that were made. */
  made = 0;
  isOver = false;
  readonly #driver: Driver;
  readonly #model: DeviceModel;
  readonly #pud: PudHost;
  readonly #policy = new RestartPolicy();
  #cuts: readonly Cut[] = [];
  #life: Life | undefined;
  #lifeBegan = 0;
  #answeredBefore = 0;
  #lives = 0;
  #plugged = true;
  #plugs = 1;
  #seenPlug = 1;
  #waiting: (() => void)[] = [];
  #streamParts: number | undefined;

  constructor(seed: number, { driver, make }: TtyChip = FT232R) {
    this.#driver = driver;
    this.sim = createSimulatedRumpuser({ seed });
    const { clock } = this.sim;
    this.adapter = make({ clock, wiring: "open" });
    this.far = new Uart({ clock, paced: false, transmitBytes: FAR_BYTES, receiveBytes: FAR_BYTES });
    Uart.connect(this.adapter.port(0).uart, this.far);
    this.far.configure({ flow: "rtsCts", baud: 115_200 });
    this.far.setOutputs({ dtr: true, rts: true });
    this.far.onChange(() => {
      if (this.far.receive.length > 0) this.arrived.push(this.far.takeReceived(FAR_BYTES));
    });
    this.#model = this.#counted();
    this.#enumerate();
    this.#pud = createPudHost({
      clock,
      lossPolicy: "hold",
      replug: { journalBytes: 0 },
      loadTtyLine: async () => HostLine,
      limits: { heartbeatMs: 60, maxLosses: 1000 },
      handlers: {
        onDevice: () => {},
        onNode: () => {
          for (const wake of this.#waiting.splice(0)) wake();
        },
        onNodeGone: (_node, reason) => {
          if (!this.isOver) this.lost.push(`NODE GONE: ${reason}`);
        },
        onLog: () => {},
        onReady: () => {},
        onError: (code, message) => this.logs.push(`${code}: ${message}`),
        onLost: (error) => this.#onLost(error),
      },
    });
    this.#startLife();
  }

  /** From now on. */
  cut(cuts: readonly Cut[]): void {
    this.#cuts = cuts;
  }

  /** The line, when it is there. */
  async tty(): Promise<Tty> {
    while (this.#pud.nodes.length === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const [node] = this.#pud.nodes;
    if (node?.device.kind !== "tty") throw new Error(`the line has gone; ${this.story()}`);
    return node.device;
  }

  /** The adapter is there. */
  get isPlugged(): boolean {
    return this.#plugged;
  }

  /** The process dies now. */
  kill(): void {
    this.#life?.die();
  }

  /** Sends this from the far end, as the adapter takes it. */
  sendFromFar(data: Uint8Array): void {
    this.far.transmit.push(data);
    this.far.run();
  }

  /** What arrives from now on is no data: a break is read as a character. */
  endStream(): void {
    this.#streamParts = this.arrived.length;
  }

  /** What has arrived. */
  stream(): Buffer {
    return Buffer.concat(this.arrived.slice(0, this.#streamParts));
  }

  end(): void {
    this.isOver = true;
    this.#cuts = [];
    this.#life?.die();
    this.#pud.abandon("the test is over");
  }

  /** What happened, for the message of a failure. */
  story(): string {
    return [`losses: ${this.lost.join("; ")}`, ...this.logs.slice(-20)].join("\n  ");
  }

  #startLife(): void {
    if (this.isOver || !this.#plugged || this.#life !== undefined) return;
    const [hostEnd, rumpEnd] = createMemoryStreamPair({ clock: this.sim.clock });
    const life = new Life({
      rumpuser: this.sim,
      model: this.#model,
      stream: rumpEnd,
      interrupted: this.#lives++ > 0,
      drivers: [this.#driver],
      onFrame: () => this.#count("frame"),
      onLog: ({ level, source, message }) => this.logs.push(`${level} ${source}: ${message}`),
    });
    this.#life = life;
    this.#lifeBegan = this.sim.clock.nowMs();
    this.#answeredBefore = this.#pud.answeredRequests;
    this.#pud.connect(hostEnd, { deviceKept: this.#seenPlug === this.#plugs, heartbeatMs: this.#policy.heartbeatMs });
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
    const delayMs = decision.kind === "restart" ? decision.delayMs : 0;
    this.sim.clock.startTimer(SPAWN_MS + delayMs, () => this.#startLife());
  }

  /** @param mayThrow  Otherwise an exception would be nobody's, which ends a process like a signal. */
  #count(on: Cut["on"], mayThrow = true): void {
    const at = ++this.counts[on];
    const cut = this.#cuts.find((one) => one.on === on && one.at === at);
    if (cut === undefined) return;
    this.made++;
    if (cut.kind === "kill" || (cut.kind === "throw" && !mayThrow)) this.#life?.die();
    else if (cut.kind === "freeze") this.#life?.freeze();
    else if (cut.kind === "throw") throw new TypeError("scripted: cannot read properties of undefined");
    else if (cut.kind === "power") this.#losePower(cut.awayMs ?? 100);
    else throw new Error(`a serial line has no cut ${cut.kind}`);
  }

  #losePower(awayMs: number): void {
    if (!this.#plugged) return;
    this.#plugged = false;
    this.adapter.unplug();
    this.adapter.reset();
    this.sim.clock.startTimer(awayMs, () => {
      this.#plugged = true;
      this.#plugs++;
      this.#enumerate();
      this.#startLife();
    });
  }

  /** What the OS does with a device that is plugged in (USB 2.0 §9.1.2). */
  #enumerate(): void {
    this.adapter.reset();
    this.adapter.submit({
      type: "control",
      endpointAddress: 0,
      setup: setupPacket.encode({ bmRequestType: 0, bRequest: 9, wValue: 1, wIndex: 0, wLength: 0 }),
      out: new Uint8Array(0),
      maxBytes: 0,
      complete: () => {},
    });
  }

  #counted(): DeviceModel {
    const { adapter } = this;
    const plugged = (): boolean => this.#plugged;
    const count = (urb: Urb): void => this.#count("transfer", urb.endpointAddress !== 0 && urb.endpointAddress < 0x80);
    return {
      speed: adapter.speed,
      deviceDescriptor: adapter.deviceDescriptor,
      configurationDescriptor: adapter.configurationDescriptor,
      submit(urb: Urb): void {
        count(urb);
        // The cut came before the device saw it.
        if (plugged()) adapter.submit(urb);
        else urb.complete("disconnected");
      },
      unlink: (urb) => adapter.unlink(urb),
      reset: () => adapter.reset(),
      onUnplug: (unplugged) => adapter.onUnplug(unplugged),
      close: () => adapter.close(),
    };
  }
}
