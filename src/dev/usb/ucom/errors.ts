/** What went wrong on the bus, as the device switch says it. */
import { DeviceError, type DeviceErrorCode } from "../../../rump/devsw.js";
import { ProtocolError, TransferError, type TransferErrorCode } from "../errors.js";
import type { StepResult } from "../usbdi.js";

const CODES: Readonly<Record<TransferErrorCode, DeviceErrorCode>> = {
  USB_TIMED_OUT: "ETIMEDOUT",
  USB_CANCELLED: "ECANCELED",
  USB_DISCONNECTED: "ENODEV",
  USB_OVERFLOW: "EIO",
  USB_IO: "EIO",
  USB_STALLED: "EIO",
};

/** @throws what is neither the bus's nor the device's: a bug of ours. */
export function deviceError(error: unknown): DeviceError {
  if (error instanceof DeviceError) return error;
  if (error instanceof TransferError) return new DeviceError(CODES[error.code], error.message, { cause: error });
  if (error instanceof ProtocolError) return new DeviceError("EIO", error.message, { cause: error });
  throw error;
}

/** How a step ends that is not "ok". */
export const STEP_CODES: Readonly<Record<Exclude<StepResult["status"], "ok">, DeviceErrorCode>> = {
  stalled: "EIO",
  notStarted: "ECANCELED",
  timedOut: "ETIMEDOUT",
  cancelled: "ECANCELED",
  disconnected: "ENODEV",
  overflow: "EIO",
  error: "EIO",
};

/** @throws DeviceError ECANCELED when the caller has given up already. */
export function checkSignal(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw new DeviceError("ECANCELED", `${what}: given up by the caller`);
}
