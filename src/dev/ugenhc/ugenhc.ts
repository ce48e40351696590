/**
 * Host controller on a device that the host OS has enumerated: one root port with that device in it.
 *
 * The idea is NetBSD's ugenhc (2009), which drove a rump kernel's USB stack over ugen(4). The OS owns the bus, so the
 * controller passes transfers on, turns the requests that the OS must see into its calls (translate.ts), and keeps the
 * address to itself: the device answers at whatever address the stack gives it, and nobody at any other.
 *
 * No request ends the process or throws: each ends as a completion.
 */
import { PendingSet } from "../../pending.js";
import type { Clock, PortResult, PortTransfer, UsbPort } from "../../rumpuser/rumpuser.js";
import { RestTimer } from "../usb/rest-timer.js";
import { checkChain, runChain } from "../usb/chain.js";
import { readsBySubmit, SlottedReads } from "../usb/reads.js";
import { TransferError, type TransferErrorCode } from "../usb/errors.js";
import { ENDPOINT_IN, ENDPOINT_NUMBER_MASK, setupPacket } from "../usb/usb.js";
import type {
  ChainResult,
  ChainStep,
  HcCompletion,
  HcReadEnd,
  HcReadQueue,
  HcReads,
  HcTransfer,
  HostController,
} from "../usb/usbdivar.js";
import { DefaultPipe } from "./default-pipe.js";
import { hasReads, PortReader } from "./read-queue.js";
import { RootPort } from "./root-port.js";

export interface UgenhcOptions {
  /** "ugenhc0". */
  readonly name: string;
  readonly clock: Clock;
  /** False: the OS refuses to reset the device's port. Default true. */
  readonly mayReset?: boolean;
}

/** Makes a controller of the port, which is the controller's from then on. */
export function createUgenhc(port: UsbPort, options: UgenhcOptions): HostController {
  return new Ugenhc(port, options);
}

/** A transfer or a chain that has not ended. Whoever ends it first wins: the port, or the device's going. */
interface InFlight {
  /** The device has gone. */
  readonly lost: () => void;
  cancel?: () => void;
}

const LOST: HcCompletion = { status: "disconnected", actualBytes: 0 };

class Ugenhc implements HostController {
  readonly name: string;
  readonly ports: RootPort;
  readonly #port: UsbPort;
  readonly #clock: Clock;
  readonly #mayReset: boolean;
  readonly #defaultPipe: DefaultPipe;
  readonly #inFlight = new PendingSet<InFlight>();
  readonly #readers = new PendingSet<PortReader>();
  readonly #rest: RestTimer;
  #address = 0;
  #closed = false;
  #lost = false;

  constructor(port: UsbPort, options: UgenhcOptions) {
    this.name = options.name;
    this.#port = port;
    this.#clock = options.clock;
    this.#mayReset = options.mayReset ?? true;
    this.#rest = new RestTimer(options.clock, (on) => port.holdBack?.(on));
    this.ports = new RootPort(port.speed, options.clock, {
      quiesce: () => this.#cancelAll(),
      resetDevice: () => this.#resetDevice(),
    });
    this.#defaultPipe = new DefaultPipe(port, options.clock, (address) => {
      this.#address = address;
    });
    port.onDisconnect(() => this.#gone());
  }

  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void {
    const entry: InFlight = { lost: () => done(LOST) };
    this.#inFlight.add(entry);
    const ended = (completion: HcCompletion): void => {
      if (this.#inFlight.delete(entry)) done(completion);
    };
    const refuse = (status: HcCompletion["status"]): (() => void) => {
      this.#clock.startTimer(0, () => ended({ status, actualBytes: 0 }));
      return () => undefined;
    };
    if (!this.#reachable(transfer.address)) return refuse("disconnected");
    if (transfer.type === "control") {
      const control = controlOf(transfer);
      if (control === undefined) return refuse("error");
      entry.cancel = this.#defaultPipe.submit(control.setup, control.data, ended);
    } else {
      if (!isEndpoint(transfer.endpointAddress)) return refuse("error");
      entry.cancel = this.#port.submit(portTransfer(transfer), ended);
    }
    return () => this.#cancel(entry);
  }

  /** The port runs chains of transfers that it takes as they are; one with another step is run from here. */
  submitChain(steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void {
    checkChain(steps);
    if (!steps.every(({ transfer }) => this.#portTakes(transfer)))
      return runChain<HcTransfer>((transfer, stepDone) => this.submit(transfer, stepDone), steps, done);
    const entry: InFlight = {
      lost: () => done(steps.map((step) => (step.after === undefined ? LOST : undefined))),
    };
    this.#inFlight.add(entry);
    entry.cancel = this.#port.submitChain(steps, (result) => {
      if (this.#inFlight.delete(entry)) done(result);
    });
    return () => this.#cancel(entry);
  }

  openReads(reads: HcReads, told: (ends: readonly HcReadEnd[]) => void): HcReadQueue {
    const port = this.#port;
    if (!hasReads(port) || !isEndpoint(reads.endpointAddress))
      return readsBySubmit((transfer, done) => this.submit(transfer, done), this.#clock, reads, told);
    return new SlottedReads(reads, told, (queue) => {
      const reader: PortReader = new PortReader(
        {
          clock: this.#clock,
          port,
          mayStart: () => this.#reachable(reads.address),
          closed: () => this.#readers.delete(reader),
        },
        reads,
        queue,
      );
      this.#readers.add(reader);
      return reader;
    });
  }

  rest(ms: number): void {
    if (!this.#closed && !this.#lost) this.#rest.rest(ms);
  }

  async claimInterface(address: number, interfaceNumber: number): Promise<void> {
    const result = this.#reachable(address) ? await this.#port.claimInterface(interfaceNumber) : "disconnected";
    if (result !== "ok") throw this.#refusal(`claiming interface ${interfaceNumber}`, result);
  }

  /** What is not claimed, or has gone, is released as it is. */
  async releaseInterface(_address: number, interfaceNumber: number): Promise<void> {
    if (this.#closed) return;
    const result = await this.#port.releaseInterface(interfaceNumber);
    if (result !== "ok" && result !== "notFound" && result !== "disconnected")
      throw this.#refusal(`releasing interface ${interfaceNumber}`, result);
  }

  /** Whatever the OS says against it: the endpoints are used without streams, or not at all. */
  async allocStreams(address: number, endpointAddresses: readonly number[], count: number): Promise<number> {
    const given = this.#reachable(address)
      ? await this.#port.allocStreams(count, endpointAddresses)
      : ("disconnected" as const);
    if (given === "disconnected") throw this.#refusal("allocating streams", given);
    return typeof given === "number" ? Math.min(given, count) : 0;
  }

  async freeStreams(_address: number, endpointAddresses: readonly number[]): Promise<void> {
    if (!this.#closed && !this.#lost) await this.#port.freeStreams(endpointAddresses);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#rest.cancel();
    const left = this.#takeAll(); // before the port ends them as cancelled, which nobody asked for
    this.#port.close();
    await new Promise<void>((resolve) => {
      this.#clock.startTimer(0, () => {
        this.#gone(left);
        resolve();
      });
    });
  }

  #reachable(address: number): boolean {
    return !this.#closed && !this.#lost && this.ports.enabled && address === this.#address;
  }

  #portTakes({ type, address, endpointAddress }: HcTransfer): boolean {
    return (type === "bulk" || type === "interrupt") && this.#reachable(address) && isEndpoint(endpointAddress);
  }

  #cancel(entry: InFlight): void {
    if (this.#inFlight.has(entry)) entry.cancel?.();
  }

  #cancelAll(): void {
    for (const entry of this.#inFlight.items.slice()) entry.cancel?.();
    for (const reader of this.#readers.items) reader.cancel();
  }

  /** Where the OS refuses it the device stays as it is: it is addressed and configured again, and no worse off. */
  async #resetDevice(): Promise<boolean> {
    if (!this.#mayReset) {
      this.#address = 0;
      return true;
    }
    let result: PortResult;
    try {
      result = await this.#port.reset();
    } catch {
      result = "other"; // a port that cannot be asked: as one whose reset failed
    }
    this.#address = 0;
    if (RESET_LOST.has(result)) this.#gone();
    return result === "ok";
  }

  /** Whoever takes the transfers ends them; what the port still says of them is ignored. */
  #takeAll(): readonly InFlight[] {
    const all = this.#inFlight.take();
    for (const reader of this.#readers.items) reader.leave();
    this.#defaultPipe.abandon();
    return all;
  }

  /** The device has gone. What the completions submit finds nobody any more. */
  #gone(left = this.#takeAll()): void {
    this.#lost = true;
    for (const { lost } of left) lost();
    for (const reader of this.#readers.items.slice()) reader.lost();
    this.ports.disconnect();
  }

  #refusal(what: string, result: PortResult): TransferError {
    const hint = HINTS[result];
    const reason = hint === undefined ? result : `${result} (${hint})`;
    return new TransferError(CODES[result] ?? "USB_IO", `${this.name}: ${what}: ${reason}`);
  }
}

/** After a reset: the device is no more, or another one (its descriptors differ), which the OS presents anew. */
const RESET_LOST: ReadonlySet<PortResult> = new Set(["notFound", "disconnected"]);

const CODES: Partial<Readonly<Record<PortResult, TransferErrorCode>>> = { disconnected: "USB_DISCONNECTED" };
const HINTS: Partial<Readonly<Record<PortResult, string>>> = {
  busy: "a kernel driver or another process has it",
  notFound: "the active configuration has no such interface",
};

/** The setup packet, and the memory of exactly the data stage; undefined for what cannot be put on a bus. */
function controlOf(transfer: HcTransfer): { setup: Uint8Array; data: Uint8Array } | undefined {
  const { setup, data, endpointAddress } = transfer;
  if ((endpointAddress & ~ENDPOINT_IN) !== 0 || setup?.length !== setupPacket.size) return undefined;
  const { wLength } = setupPacket.decode(setup);
  return data.length < wLength ? undefined : { setup, data: data.subarray(0, wLength) };
}

/** Bits 6..4 are reserved (USB 2.0 Table 9-13), and endpoint 0 has no pipe but the default one. */
function isEndpoint(endpointAddress: number): boolean {
  return (
    (endpointAddress & ~(ENDPOINT_IN | ENDPOINT_NUMBER_MASK)) === 0 && (endpointAddress & ENDPOINT_NUMBER_MASK) > 0
  );
}

function portTransfer(transfer: HcTransfer): PortTransfer {
  const { type, endpointAddress, data, isoPacketBytes, sendZlp, streamId } = transfer;
  return {
    type,
    endpointAddress,
    data,
    ...(isoPacketBytes === undefined ? {} : { isoPacketBytes }),
    ...(sendZlp === undefined ? {} : { sendZlp }),
    ...(streamId === undefined ? {} : { streamId }),
  };
}
