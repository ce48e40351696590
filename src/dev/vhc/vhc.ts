/**
 * Host controller for device models in this process.
 *
 * Spec: USB 2.0 §9.1 (device states), §9.4.6 (SET_ADDRESS), ch. 11 (what stands behind a hub). The controller is the
 * bus: it knows which model answers at which address. A device has address 0 from the reset of its port until
 * SET_ADDRESS. Completions are queued on the clock, so that under a virtual clock a run repeats exactly.
 *
 * Not supported: isochronous transfers (they end as "error").
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import { type DeviceModel, type HubBus, isHubModel } from "../../vdev/model.js";
import { runChain } from "../usb/chain.js";
import { REQUEST, REQUEST_TYPE, setupPacket } from "../usb/usb.js";
import type {
  ChainResult,
  ChainStep,
  HcCompletion,
  HcTransfer,
  HostController,
  RootPortStatus,
  RootPorts,
} from "../usb/usbdivar.js";
import { TransferError } from "../usb/errors.js";
import { endsStreams, StreamTable } from "./streams.js";
import { VhcUrb } from "./urb.js";

/** USB 2.0 §9.4.6: addresses have seven bits. */
const MAX_ADDRESS = 127;

export interface VhcOptions {
  /** "vhc0". */
  readonly name: string;
  readonly clock: Clock;
  /** Root ports, from 1. Default 1. */
  readonly ports?: number;
}

/**
 * What a fault does to the transfer it hits. "unplug": the device's root port is unplugged as the transfer starts. "nak":
 * the device never answers. A status: the transfer ends so, and the device does not see it.
 */
export type FaultAction = "unplug" | "nak" | "stalled" | "error" | "overflow" | "timedOut";

/** One transfer that has ended. */
export interface TraceEntry {
  /** Counts the transfers since the controller was made, from 1. */
  readonly nth: number;
  readonly transfer: HcTransfer;
  readonly completion: HcCompletion;
}

export interface VirtualHostController extends HostController {
  /** Connects a model to a free root port. The model stays its maker's. @throws RangeError when the port is not free. */
  plug(port: number, model: DeviceModel): void;
  /** Pulls what is in the port: its transfers in flight end as "disconnected". */
  unplug(port: number): void;
  /** Transfers started so far. */
  readonly transferCount: number;
  /** Does something to the `nth` transfer from the making of the controller, counted from 1. */
  fault(nth: number, action: FaultAction): void;
  /** One listener, called when a transfer has ended. */
  trace(listener: (entry: TraceEntry) => void): void;
}

export function createVhc(options: VhcOptions): VirtualHostController {
  return new Vhc(options);
}

interface RootPort {
  model: DeviceModel | undefined;
  enabled: boolean;
  connectChanged: boolean;
  resetChanged: boolean;
}

/** A device that is reachable: its port is enabled, and so is every port on the way. */
interface BusDevice {
  readonly model: DeviceModel;
  readonly rootPort: number;
  /** The hub whose port it is in; undefined for a root port. */
  readonly hub: DeviceModel | undefined;
  address: number;
  readonly urbs: Set<VhcUrb>;
  readonly streams: StreamTable;
}

class Vhc implements VirtualHostController {
  readonly name: string;
  readonly ports: RootPorts;
  readonly #clock: Clock;
  readonly #rootPorts: RootPort[];
  /** In the order of their resets: the newest at an address answers. */
  readonly #devices = new Map<DeviceModel, BusDevice>();
  readonly #faults = new Map<number, FaultAction>();
  #trace: ((entry: TraceEntry) => void) | undefined;
  #changed: (() => void) | undefined;
  #transferCount = 0;
  #closed = false;
  #queue: (() => void)[] = [];

  constructor(options: VhcOptions) {
    this.name = options.name;
    this.#clock = options.clock;
    const count = options.ports ?? 1;
    this.#rootPorts = Array.from({ length: count }, () => ({
      model: undefined,
      enabled: false,
      connectChanged: false,
      resetChanged: false,
    }));
    this.ports = {
      count,
      status: (port) => this.#status(port),
      reset: (port) => this.#reset(port),
      disable: (port) => this.#disable(port),
      acknowledge: (port, change) => this.#acknowledge(port, change),
      onChange: (changed) => {
        this.#changed = changed;
      },
    };
  }

  get transferCount(): number {
    return this.#transferCount;
  }

  fault(nth: number, action: FaultAction): void {
    this.#faults.set(nth, action);
  }

  trace(listener: (entry: TraceEntry) => void): void {
    this.#trace = listener;
  }

  plug(port: number, model: DeviceModel): void {
    const root = this.#rootPorts[port - 1];
    if (root === undefined || root.model !== undefined || this.#closed)
      throw new RangeError(`${this.name}: port ${port} of ${this.#rootPorts.length} is not free`);
    root.model = model;
    root.connectChanged = true;
    model.onUnplug(() => {
      if (root.model === model) this.unplug(port);
    });
    this.#enqueue(() => this.#changed?.());
  }

  unplug(port: number): void {
    const root = this.#rootPorts[port - 1];
    if (root?.model === undefined) return;
    const gone = root.model;
    root.model = undefined;
    root.enabled = false;
    root.connectChanged = true;
    this.#drop(gone);
    this.#enqueue(() => this.#changed?.());
  }

  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void {
    const nth = ++this.#transferCount;
    const end = (completion: HcCompletion): void =>
      this.#enqueue(() => {
        this.#trace?.({ nth, transfer, completion });
        done(completion);
      });
    return this.#start(transfer, this.#faults.get(nth), end);
  }

  submitChain(steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void {
    return runChain<HcTransfer>((transfer, stepDone) => this.submit(transfer, stepDone), steps, done);
  }

  async claimInterface(): Promise<void> {}

  async releaseInterface(): Promise<void> {}

  async allocStreams(address: number, endpointAddresses: readonly number[], count: number): Promise<number> {
    const device = this.#deviceAt(address);
    if (device === undefined) throw new TransferError("USB_DISCONNECTED", `${this.name}: no device at ${address}`);
    return device.streams.alloc(endpointAddresses, count);
  }

  async freeStreams(address: number, endpointAddresses: readonly number[]): Promise<void> {
    this.#deviceAt(address)?.streams.free(endpointAddresses);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    for (let port = 1; port <= this.#rootPorts.length; port++) this.unplug(port);
    this.#closed = true;
    await new Promise<void>((resolve) => {
      this.#enqueue(resolve);
    });
  }

  #start(transfer: HcTransfer, fault: FaultAction | undefined, end: (completion: HcCompletion) => void): () => void {
    const nothing = (): void => undefined;
    const refuse = (status: HcCompletion["status"]): (() => void) => {
      end({ status, actualBytes: 0 });
      return nothing;
    };
    const device = this.#deviceAt(transfer.address);
    if (device === undefined) return refuse("disconnected");
    if (fault === "unplug") {
      this.unplug(device.rootPort);
      return refuse("disconnected");
    }
    const urb = VhcUrb.of(transfer, (completion) => {
      if (urb !== undefined) device.urbs.delete(urb);
      end(completion);
    });
    if (urb === undefined || !device.streams.fits(transfer)) return refuse("error");
    if (endsStreams(transfer.setup)) device.streams.clear();
    if (fault !== undefined && fault !== "nak") return refuse(fault);
    if (isSetAddress(urb)) return this.#setAddress(device, urb, end);
    device.urbs.add(urb);
    if (fault === "nak") return () => urb.finish("cancelled");
    urb.atModel = true;
    device.model.submit(urb);
    return () => {
      if (!urb.isOver) device.model.unlink(urb);
    };
  }

  /** The bus does it, not the model: the device answers at the new address once the status stage is over. */
  #setAddress(device: BusDevice, urb: VhcUrb, end: (completion: HcCompletion) => void): () => void {
    const address = setupPacket.decode(urb.setup ?? new Uint8Array(setupPacket.size)).wValue;
    const taken = address !== 0 && this.#deviceAt(address) !== undefined;
    if (address > MAX_ADDRESS || taken) end({ status: "stalled", actualBytes: 0 });
    else {
      device.address = address;
      end({ status: "ok", actualBytes: 0 });
    }
    return () => undefined;
  }

  /** Of several that were reset and not addressed, the last one. */
  #deviceAt(address: number): BusDevice | undefined {
    let found: BusDevice | undefined;
    for (const device of this.#devices.values()) if (device.address === address) found = device;
    return found;
  }

  #status(port: number): RootPortStatus {
    const root = this.#rootPorts[port - 1];
    return {
      connected: root?.model !== undefined,
      enabled: root?.enabled ?? false,
      speed: root?.model?.speed ?? "full",
      connectChanged: root?.connectChanged ?? false,
      resetChanged: root?.resetChanged ?? false,
    };
  }

  async #reset(port: number): Promise<void> {
    const root = this.#rootPorts[port - 1];
    if (root === undefined) return;
    const { model } = root;
    if (model !== undefined) {
      model.reset();
      this.#drop(model);
      this.#arrive(model, port, undefined);
    }
    root.enabled = model !== undefined;
    root.resetChanged = true;
    await new Promise<void>((resolve) => {
      this.#enqueue(resolve);
    });
    this.#changed?.();
  }

  #disable(port: number): void {
    const root = this.#rootPorts[port - 1];
    if (root === undefined) return;
    root.enabled = false;
    if (root.model !== undefined) this.#drop(root.model);
  }

  #acknowledge(port: number, change: "connect" | "reset"): void {
    const root = this.#rootPorts[port - 1];
    if (root === undefined) return;
    if (change === "connect") root.connectChanged = false;
    else root.resetChanged = false;
  }

  /** A device that was just reset: it answers at address 0. */
  #arrive(model: DeviceModel, rootPort: number, hub: DeviceModel | undefined): void {
    this.#devices.set(model, {
      model,
      rootPort,
      hub,
      address: 0,
      urbs: new Set(),
      streams: new StreamTable(model.configurationDescriptor),
    });
    if (!isHubModel(model)) return;
    const bus: HubBus = {
      portReset: (_port, device) => {
        this.#drop(device);
        // A reset that the hub reports when the hub itself is out of reach changes nothing.
        if (this.#devices.has(model)) this.#arrive(device, rootPort, model);
      },
      portDisabled: (_port, device) => this.#drop(device),
    };
    model.attachBus(bus);
  }

  /** The device and everything behind it have no address any more; what is in flight ends as "disconnected". */
  #drop(model: DeviceModel): void {
    const device = this.#devices.get(model);
    if (device === undefined) return;
    this.#devices.delete(model);
    for (const behind of this.#devices.values()) if (behind.hub === model) this.#drop(behind.model);
    for (const urb of device.urbs) {
      urb.finish("disconnected");
      if (urb.atModel) device.model.unlink(urb);
    }
  }

  /** Completions and port changes go out in a turn of the clock, in the order in which they happened. */
  #enqueue(event: () => void): void {
    this.#queue.push(event);
    if (this.#queue.length > 1) return;
    this.#clock.startTimer(0, () => {
      const events = this.#queue;
      this.#queue = [];
      for (const one of events) one();
    });
  }
}

function isSetAddress(urb: VhcUrb): boolean {
  const { setup } = urb;
  return urb.endpointAddress === 0 && setup?.[0] === REQUEST_TYPE.STANDARD && setup[1] === REQUEST.SET_ADDRESS;
}
