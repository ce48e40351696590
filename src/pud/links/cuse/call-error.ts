/** Why a call on the device fails, as the number that the program sees. */
import { constants } from "node:os";
import { RecordError } from "../../../bytes.js";
import { DeviceError, type DeviceErrorCode } from "../../../rump/devsw.js";

const { errno } = constants;

export type CallErrorCode = "EAGAIN" | "EBUSY" | "EINTR" | "EINVAL" | "EIO" | "ENOMEM" | "ENOSYS" | "ENOTTY";

export class CallError extends Error {
  readonly code: CallErrorCode;

  constructor(code: CallErrorCode, message: string) {
    super(message);
    this.name = "CallError";
    this.code = code;
  }
}

/** What a tty's calls end with: a device that does not answer is an I/O error to a program. */
const DEVICE_ERRNOS: Readonly<Record<DeviceErrorCode, number>> = {
  EIO: errno.EIO,
  EINVAL: errno.EINVAL,
  EROFS: errno.EROFS,
  ENOSPC: errno.ENOSPC,
  ENOMEDIUM: errno.EIO,
  ENODEV: errno.EIO,
  ESTALE: errno.EIO,
  EOPNOTSUPP: errno.EOPNOTSUPP,
  ECANCELED: errno.EINTR,
  ETIMEDOUT: errno.EIO,
  EBUSY: errno.EBUSY,
  ENOMEM: errno.ENOMEM,
};

/** undefined: no error that a call may have. */
export function errnoOf(error: unknown): number | undefined {
  if (error instanceof CallError) return errno[error.code];
  if (error instanceof DeviceError) return DEVICE_ERRNOS[error.code];
  if (error instanceof RecordError) return errno.EINVAL;
  return undefined;
}
