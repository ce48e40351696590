/** Words for libusb's numbers: the addon deals in numbers, everything above in words. */
import {
  PORT_RESULTS,
  TRANSFER_STATUSES,
  type PortResult,
  type PortTransfer,
  type TransferStatus,
  type TransferType,
} from "../rumpuser.js";

/** enum libusb_transfer_type. */
const TYPES: Readonly<Record<TransferType, number>> = { control: 0, isochronous: 1, bulk: 2, interrupt: 3 };
const TYPE_BULK_STREAM = 4;

export const LIBUSB_ERROR_NO_DEVICE = -4;

/** How a transfer ends that libusb refused to start; what is not here is "error". */
const STATUS_OF_REFUSAL: Partial<Readonly<Record<PortResult, TransferStatus>>> = {
  disconnected: "disconnected",
  timedOut: "timedOut",
  overflow: "overflow",
  stalled: "stalled",
};

/** enum libusb_transfer_type of a transfer. */
export function transferType({ type, streamId }: Pick<PortTransfer, "type" | "streamId">): number {
  return streamId === undefined ? TYPES[type] : TYPE_BULK_STREAM;
}

/** The word for enum libusb_transfer_status. */
export function transferStatus(status: number): TransferStatus {
  return TRANSFER_STATUSES[status] ?? "error";
}

/** The word for enum libusb_error; 0 and more are "ok". */
export function portResult(rc: number): PortResult {
  return rc >= 0 ? "ok" : (PORT_RESULTS[-rc] ?? "other");
}

/** How a transfer ends that was refused with this enum libusb_error. */
export function statusOfRefusal(rc: number): TransferStatus {
  return STATUS_OF_REFUSAL[portResult(rc)] ?? "error";
}
