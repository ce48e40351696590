/** How a step of a chain ended, as the exception that it stands for. */
import { TransferError, type TransferErrorCode } from "./errors.js";
import type { StepResult } from "./usbdi.js";

const STEP_ERRORS: Readonly<Record<StepResult["status"], TransferErrorCode>> = {
  ok: "USB_IO", // but not as it should
  stalled: "USB_STALLED",
  notStarted: "USB_IO",
  timedOut: "USB_TIMED_OUT",
  cancelled: "USB_CANCELLED",
  disconnected: "USB_DISCONNECTED",
  overflow: "USB_OVERFLOW",
  error: "USB_IO",
};

/** @param what  Names the step: "data phase". */
export function stepError(what: string, { status, actualBytes }: StepResult): TransferError {
  return new TransferError(STEP_ERRORS[status], `${what}: ${status} after ${actualBytes} bytes`);
}
