/** From sense data and transport failures to the errors of the device switch. */
import { DeviceError, type DeviceErrorCode } from "../../rump/devsw.js";
import { describeSense, type Sense, type SenseMeaning } from "./sense.js";
import { ScsiTransportError, type ScsiTransportErrorCode } from "./transport.js";

/** A command that ended in CHECK CONDITION, after whatever retries it was worth. */
export class ScsiError extends Error {
  readonly code = "SCSI_CHECK";
  readonly sense: Sense;

  constructor(what: string, sense: Sense) {
    super(`${what}: ${describeSense(sense)}`);
    this.name = "ScsiError";
    this.sense = sense;
  }
}

const SENSE_CODES: Readonly<Record<SenseMeaning, DeviceErrorCode>> = {
  recovered: "EIO",
  retry: "EIO",
  attention: "EIO",
  mediumChanged: "ESTALE",
  capacityChanged: "EIO",
  becomingReady: "ETIMEDOUT",
  needsStart: "EIO",
  noMedium: "ENOMEDIUM",
  notReady: "EIO",
  mediumError: "EIO",
  hardware: "EIO",
  illegalRequest: "EOPNOTSUPP",
  outOfRange: "ENOSPC",
  writeProtected: "EROFS",
  noSpace: "ENOSPC",
  unknown: "EIO",
};

const TRANSPORT_CODES: Readonly<Record<ScsiTransportErrorCode, DeviceErrorCode>> = {
  SCSI_TRANSPORT: "EIO",
  SCSI_TIMED_OUT: "ETIMEDOUT",
  SCSI_CANCELLED: "ECANCELED",
  SCSI_GONE: "ENODEV",
};

/** The DeviceError for what `what` ended with; anything unforeseen is our bug and comes back as it is. */
export function toDeviceError(what: string, error: unknown): unknown {
  if (error instanceof ScsiError)
    return new DeviceError(SENSE_CODES[error.sense.meaning], error.message, { cause: error });
  if (error instanceof ScsiTransportError) {
    const { code, message } = error;
    const text = message.startsWith(`${what}: `) ? message : `${what}: ${message}`;
    return new DeviceError(TRANSPORT_CODES[code], text, { cause: error });
  }
  return error;
}
