/**
 * Bulk streams that a host controller has set up for a device (USB 3.2 §4.4.6.4), as far as a bus of models needs to know:
 * how many on which endpoint, and which transfers fit.
 */
import { companionDescriptor, endpointDescriptor, walkDescriptors } from "../usb/descriptors.js";
import { DESCRIPTOR, REQUEST, REQUEST_TYPE } from "../usb/usb.js";
import type { HcTransfer } from "../usb/usbdivar.js";

const BULK = 2;
/** Bits 4..0 of bmAttributes of a companion: the log2 of the streams, at most 16 (USB 3.2 §9.6.7). */
const STREAMS_MASK = 0x1f;
const MAX_EXPONENT = 16;

export class StreamTable {
  /** Streams by endpoint address. */
  readonly #allocated = new Map<number, number>();
  readonly #configurationDescriptor: Uint8Array;

  /** @param configurationDescriptor  The device's, whole. */
  constructor(configurationDescriptor: Uint8Array) {
    this.#configurationDescriptor = configurationDescriptor;
  }

  /** @returns how many each of the endpoints has now; 0 when one of them has none. */
  alloc(endpointAddresses: readonly number[], count: number): number {
    const most = Math.min(count, ...endpointAddresses.map((address) => this.#described(address)));
    if (most < 1) return 0;
    for (const address of endpointAddresses) this.#allocated.set(address, most);
    return most;
  }

  free(endpointAddresses: readonly number[]): void {
    for (const address of endpointAddresses) this.#allocated.delete(address);
  }

  clear(): void {
    this.#allocated.clear();
  }

  /** An endpoint with streams takes transfers on these alone, and others take none with a stream. */
  fits({ endpointAddress, streamId }: Pick<HcTransfer, "endpointAddress" | "streamId">): boolean {
    const streams = this.#allocated.get(endpointAddress) ?? 0;
    if (streamId === undefined) return streams === 0;
    return Number.isInteger(streamId) && streamId >= 1 && streamId <= streams;
  }

  /** In the largest of the alternate settings that have the endpoint. */
  #described(endpointAddress: number): number {
    let isOurs = false;
    let most = 0;
    for (const descriptor of walkDescriptors(this.#configurationDescriptor)) {
      if (descriptor[1] === DESCRIPTOR.ENDPOINT) {
        const { bEndpointAddress, bmAttributes } = endpointDescriptor.decode(descriptor);
        isOurs = bEndpointAddress === endpointAddress && (bmAttributes & 3) === BULK;
      } else if (isOurs && descriptor[1] === DESCRIPTOR.SS_ENDPOINT_COMPANION) {
        const exponent = companionDescriptor.decode(descriptor).bmAttributes & STREAMS_MASK;
        if (exponent > 0 && exponent <= MAX_EXPONENT) most = Math.max(most, 2 ** exponent);
      }
    }
    return most;
  }
}

/** Requests that take the streams of a device away: another configuration, another alternate setting. */
export function endsStreams(setup: Uint8Array | undefined): boolean {
  const [bmRequestType, bRequest] = setup ?? [];
  const toDevice = REQUEST_TYPE.STANDARD | REQUEST_TYPE.DEVICE;
  const toInterface = REQUEST_TYPE.STANDARD | REQUEST_TYPE.INTERFACE;
  return (
    (bmRequestType === toDevice && bRequest === REQUEST.SET_CONFIGURATION) ||
    (bmRequestType === toInterface && bRequest === REQUEST.SET_INTERFACE)
  );
}
