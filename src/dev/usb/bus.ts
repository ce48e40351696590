/**
 * A USB bus: one controller, its devices by address, and what every part of the stack on it shares.
 */
import { DeviceNode } from "../../rump/autoconf.js";
import type { RumpKernel } from "../../rump/kernel.js";
import { UnsupportedError } from "./errors.js";
import { ROOT_HUB_ADDRESS, RootHub } from "./roothub.js";
import { runChain } from "./chain.js";
import { readsBySubmit } from "./reads.js";
import type { TransferTarget } from "./scope.js";
import type { DeviceIdentity, Driver, DriverOptions } from "./usbdi.js";
import type { HostController } from "./usbdivar.js";

/** USB 2.0 §9.4.6: 7 bits of address. */
const MAX_ADDRESS = 127;

/** Told of every driver that attached to an interface. */
export interface AttachNotice {
  readonly identity: DeviceIdentity;
  /** "umass0". */
  readonly driver: string;
  readonly interfaceNumber: number;
  /** As the driver told it; "" where there is nothing to choose. */
  readonly mode: string;
}

export interface UsbBusOptions {
  readonly kernel: RumpKernel;
  readonly controller: HostController;
  /** Loaded already: nothing is loaded once a device has been spoken to. */
  readonly drivers: readonly Driver[];
  /** Attach drivers to these interfaces of the device alone: others are served elsewhere. Left out: to all. */
  readonly interfaces?: readonly number[];
  /** What is plugged in was driven by a process that was ended in the middle of it. */
  readonly interrupted?: boolean;
  /** What the user asks of a driver, by its name: `{ umass: { phases: "together" } }`. */
  readonly driverOptions?: Readonly<Record<string, DriverOptions>>;
  readonly onAttach?: (notice: AttachNotice) => void;
  /** A device went wrong: in which mode it shall be driven later, and why. */
  readonly onDemotion?: (mode: string, reason: string) => void;
  /** What was plugged into a port of the controller has gone and is detached. */
  readonly onUnplug?: (rootPort: number) => void;
}

export class UsbBus implements TransferTarget {
  readonly kernel: RumpKernel;
  readonly controller: HostController;
  readonly drivers: readonly Driver[];
  /** usb0 at ugenhc0. */
  readonly node: DeviceNode;
  readonly interrupted: boolean;
  readonly #interfaces: ReadonlySet<number> | undefined;
  readonly #driverOptions: ReadonlyMap<string, DriverOptions>;
  readonly #onAttach: (notice: AttachNotice) => void;
  readonly #onDemotion: (mode: string, reason: string) => void;
  readonly #onUnplug: (rootPort: number) => void;
  readonly #rootHub: RootHub;
  readonly #addresses = new Set<number>([0, ROOT_HUB_ADDRESS]);
  /** Only one device may answer at the default address: enumerations run one after another. */
  #enumeration: Promise<unknown> = Promise.resolve();

  constructor(node: DeviceNode, options: UsbBusOptions) {
    this.node = node;
    this.kernel = options.kernel;
    this.controller = options.controller;
    this.drivers = options.drivers;
    this.interrupted = options.interrupted ?? false;
    this.#interfaces = options.interfaces === undefined ? undefined : new Set(options.interfaces);
    this.#driverOptions = new Map(Object.entries(options.driverOptions ?? {}));
    this.#onAttach = options.onAttach ?? (() => {});
    this.#onDemotion = options.onDemotion ?? (() => {});
    this.#onUnplug = options.onUnplug ?? (() => {});
    this.#rootHub = new RootHub(options.controller.ports, options.kernel.clock);
  }

  optionsOf(driver: string): DriverOptions {
    return this.#driverOptions.get(driver) ?? {};
  }

  /** False: the interface is served elsewhere, and nothing here touches it. */
  readonly serves = (interfaceNumber: number): boolean => this.#interfaces?.has(interfaceNumber) ?? true;

  readonly submit: TransferTarget["submit"] = (transfer, done) =>
    transfer.address === ROOT_HUB_ADDRESS
      ? this.#rootHub.submit(transfer, done)
      : this.controller.submit(transfer, done);

  readonly submitChain: TransferTarget["submitChain"] = (steps, done) =>
    steps.some((step) => step.transfer.address === ROOT_HUB_ADDRESS)
      ? runChain(this.submit, steps, done)
      : this.controller.submitChain(steps, done);

  readonly openReads: TransferTarget["openReads"] = (reads, told) =>
    this.controller.openReads?.(reads, told) ?? readsBySubmit(this.submit, this.kernel.clock, reads, told);

  /** Runs `enumerate` while no other device of the bus is being enumerated. */
  exclusively<T>(enumerate: () => Promise<T>): Promise<T> {
    const turn = this.#enumeration.then(enumerate, enumerate);
    this.#enumeration = turn.catch(() => undefined);
    return turn;
  }

  /** @throws UnsupportedError when all 127 are in use. */
  takeAddress(): number {
    for (let address = 1; address <= MAX_ADDRESS; address++) {
      if (this.#addresses.has(address)) continue;
      this.#addresses.add(address);
      return address;
    }
    throw new UnsupportedError(`all ${MAX_ADDRESS} bus addresses are in use (USB 2.0 §9.4.6)`);
  }

  releaseAddress(address: number): void {
    this.#addresses.delete(address);
  }

  announce(notice: AttachNotice): void {
    this.#onAttach(notice);
  }

  announceDemotion(mode: string, reason: string): void {
    this.#onDemotion(mode, reason);
  }

  announceUnplug(rootPort: number): void {
    this.#onUnplug(rootPort);
  }

  /** Resolves `ms` later; rejects at once when the signal aborts. */
  delay(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const abort = (): void => {
        timer.cancel();
        reject(signal.reason as Error);
      };
      const timer = this.kernel.clock.startTimer(ms, () => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
      signal.addEventListener("abort", abort, { once: true });
    });
  }
}
