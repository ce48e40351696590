/** A USB port whose device is a model in this process: what libusb and the host OS would do with it. */
import type { DeviceModel } from "../../../src/vdev/model.js";
import { VhcUrb } from "../../../src/dev/vhc/urb.js";
import { endsStreams, StreamTable } from "../../../src/dev/vhc/streams.js";
import { runChain } from "../../../src/dev/usb/chain.js";
import { setupPacket } from "../../../src/dev/usb/usb.js";
import type {
  Clock,
  PortChainResult,
  PortChainStep,
  PortCompletion,
  PortReadEnd,
  PortReadQueue,
  PortReads,
  PortResult,
  PortTransfer,
  TransferStatus,
  UsbPort,
} from "../../../src/rumpuser/rumpuser.js";

type ReadsTold = (ends: readonly PortReadEnd[]) => void;

const RESULT: Partial<Record<TransferStatus, PortResult>> = {
  ok: "ok",
  stalled: "stalled",
  disconnected: "disconnected",
};

export class ModelPort implements UsbPort {
  readonly speed;
  readonly calls: string[] = [];
  readonly #model: DeviceModel;
  readonly #clock: Clock;
  readonly #urbs = new Set<VhcUrb>();
  readonly #streams: StreamTable;
  /** The host OS has configured the device long before. */
  #configuration = 1;
  #gone = false;
  #listener: (() => void) | undefined;

  constructor(model: DeviceModel, clock: Clock) {
    this.#model = model;
    this.#clock = clock;
    this.speed = model.speed;
    this.#streams = new StreamTable(model.configurationDescriptor);
    model.onUnplug(() => this.unplug());
  }

  submit(transfer: PortTransfer, done: (completion: PortCompletion) => void): () => void {
    const later = (completion: PortCompletion): void => void this.#clock.startTimer(0, () => done(completion));
    if (endsStreams(transfer.setup)) this.#streams.clear();
    const urb =
      this.#gone || !this.#streams.fits(transfer)
        ? undefined
        : VhcUrb.of({ ...transfer, address: 0 }, (completion) => {
            if (urb !== undefined) this.#urbs.delete(urb);
            later(completion);
          });
    if (urb === undefined) {
      later({ status: this.#gone ? "disconnected" : "error", actualBytes: 0 });
      return () => undefined;
    }
    this.#urbs.add(urb);
    this.#model.submit(urb);
    return () => {
      if (!urb.isOver) this.#model.unlink(urb);
    };
  }

  submitChain(steps: readonly PortChainStep[], done: (result: PortChainResult) => void): () => void {
    return runChain<PortTransfer>((transfer, stepDone) => this.submit(transfer, stepDone), steps, done);
  }

  openReads({ endpointAddress, type, memory, slotBytes }: PortReads, told: ReadsTold): PortReadQueue {
    const cancels = new Map<number, () => void>();
    return {
      start: (slot, bytes) => {
        const data = memory.subarray(slot * slotBytes, slot * slotBytes + bytes);
        const cancel = this.submit({ type, endpointAddress, data }, ({ status, actualBytes }) => {
          cancels.delete(slot);
          told([{ slot, status, actualBytes }]);
        });
        cancels.set(slot, cancel);
      },
      tellRepeats: () => undefined,
      cancel: () => {
        for (const cancel of [...cancels.values()].toReversed()) cancel();
      },
      close: () => {
        if (cancels.size > 0 && !this.#gone) throw new Error(`${cancels.size} reads are in flight`);
      },
    };
  }

  async configuration(): Promise<number> {
    return this.#configuration;
  }

  async setConfiguration(value: number): Promise<PortResult> {
    this.calls.push(`setConfiguration ${value}`);
    const result = await this.#request(0x00, 9, value, 0);
    if (result === "ok") this.#configuration = value;
    return result;
  }

  async claimInterface(interfaceNumber: number): Promise<PortResult> {
    this.calls.push(`claimInterface ${interfaceNumber}`);
    if (this.#gone) return "disconnected";
    return interfaceNumber === 0 ? "ok" : "notFound";
  }

  async releaseInterface(interfaceNumber: number): Promise<PortResult> {
    this.calls.push(`releaseInterface ${interfaceNumber}`);
    return interfaceNumber === 0 ? "ok" : "notFound";
  }

  setInterface(interfaceNumber: number, alternateSetting: number): Promise<PortResult> {
    this.calls.push(`setInterface ${interfaceNumber} ${alternateSetting}`);
    return this.#request(0x01, 11, alternateSetting, interfaceNumber);
  }

  clearHalt(endpointAddress: number): Promise<PortResult> {
    this.calls.push(`clearHalt ${endpointAddress}`);
    return this.#request(0x02, 1, 0, endpointAddress);
  }

  async allocStreams(count: number, endpointAddresses: readonly number[]): Promise<number | PortResult> {
    this.calls.push(`allocStreams ${count} ${endpointAddresses.join(" ")}`);
    return this.#gone ? "disconnected" : this.#streams.alloc(endpointAddresses, count) || "invalid";
  }

  async freeStreams(endpointAddresses: readonly number[]): Promise<PortResult> {
    this.calls.push(`freeStreams ${endpointAddresses.join(" ")}`);
    this.#streams.free(endpointAddresses);
    return "ok";
  }

  async reset(): Promise<PortResult> {
    this.calls.push("reset");
    if (this.#gone) return "notFound";
    this.#model.reset();
    this.#streams.clear();
    return this.#request(0x00, 9, this.#configuration, 0); // the OS selects again what was selected
  }

  onDisconnect(gone: () => void): void {
    this.#listener = gone;
  }

  close(): void {
    this.#end("cancelled");
  }

  /** Pulls the device out. */
  unplug(): void {
    if (this.#gone) return;
    this.#end("disconnected");
    this.#clock.startTimer(0, () => this.#listener?.());
  }

  #end(status: TransferStatus): void {
    this.#gone = true;
    for (const urb of Array.from(this.#urbs)) {
      urb.finish(status);
      this.#model.unlink(urb);
    }
  }

  #request(bmRequestType: number, bRequest: number, wValue: number, wIndex: number): Promise<PortResult> {
    const setup = setupPacket.encode({ bmRequestType, bRequest, wValue, wIndex, wLength: 0 });
    return new Promise((resolve) => {
      this.submit({ type: "control", endpointAddress: 0, setup, data: new Uint8Array(0) }, ({ status }) =>
        resolve(RESULT[status] ?? "io"),
      );
    });
  }
}
