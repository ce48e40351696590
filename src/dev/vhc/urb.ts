/** A transfer on its way through a device model in this process. */
import type { TransferStatus, TransferType } from "../../rumpuser/rumpuser.js";
import type { Urb } from "../../vdev/model.js";
import { ENDPOINT_IN, ENDPOINT_NUMBER_MASK, REQUEST_TYPE, setupPacket } from "../usb/usb.js";
import type { HcCompletion, HcTransfer } from "../usb/usbdivar.js";

const NO_BYTES = new Uint8Array(0);

/** Called once, maybe synchronously. */
type Ended = (completion: HcCompletion) => void;

export class VhcUrb implements Urb {
  readonly type: TransferType;
  readonly endpointAddress: number;
  readonly setup?: Uint8Array;
  readonly streamId?: number;
  readonly out: Uint8Array;
  readonly maxBytes: number;
  readonly #isIn: boolean;
  readonly #memory: Uint8Array;
  readonly #ended: Ended;
  /** The model has been given it, and has to be told when it is taken back. */
  atModel = false;
  #over = false;

  private constructor(transfer: HcTransfer, isIn: boolean, memory: Uint8Array, ended: Ended) {
    this.type = transfer.type;
    this.endpointAddress = transfer.endpointAddress;
    if (transfer.setup !== undefined) this.setup = transfer.setup;
    if (transfer.streamId !== undefined) this.streamId = transfer.streamId;
    this.#isIn = isIn;
    this.#memory = memory;
    this.out = isIn ? NO_BYTES : memory;
    this.maxBytes = isIn ? memory.length : 0;
    this.#ended = ended;
  }

  /** @returns undefined for a transfer that cannot be put on a bus. */
  static of(transfer: HcTransfer, ended: Ended): VhcUrb | undefined {
    const { data, setup, endpointAddress } = transfer;
    if (transfer.type === "isochronous") return undefined;
    if ((endpointAddress & ~(ENDPOINT_IN | ENDPOINT_NUMBER_MASK)) !== 0) return undefined;
    if (transfer.type !== "control") {
      if ((endpointAddress & ENDPOINT_NUMBER_MASK) === 0) return undefined;
      return new VhcUrb(transfer, (endpointAddress & ENDPOINT_IN) !== 0, data, ended);
    }
    if (setup === undefined || setup.length !== setupPacket.size) return undefined;
    const { bmRequestType, wLength } = setupPacket.decode(setup);
    if (data.length < wLength) return undefined;
    const isIn = (bmRequestType & REQUEST_TYPE.IN) !== 0;
    return new VhcUrb(transfer, isIn, data.subarray(0, wLength), ended);
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** What the bus says of a transfer that the model does not finish. */
  finish(status: TransferStatus): void {
    this.#end({ status, actualBytes: 0 });
  }

  complete(status: TransferStatus, data?: Uint8Array, actualBytes?: number): void {
    if (this.#over) return;
    if (!this.#isIn) {
      const taken = actualBytes ?? (status === "ok" ? this.out.length : 0);
      this.#end({ status, actualBytes: Math.min(Math.max(0, taken), this.out.length) });
      return;
    }
    const bytes = data ?? NO_BYTES;
    // A device that sends more than it was asked for babbles (USB 2.0 §8.7.4).
    const babbles = bytes.length > this.maxBytes;
    const taken = babbles ? bytes.subarray(0, this.maxBytes) : bytes;
    this.#memory.set(taken);
    this.#end({ status: babbles ? "overflow" : status, actualBytes: taken.length });
  }

  #end(completion: HcCompletion): void {
    if (this.#over) return;
    this.#over = true;
    this.#ended(completion);
  }
}
