/** The word that a client is sent away with: `EBUSY: ttyU0 is in use`. */
import { DeviceError, type DeviceErrorCode } from "../../../rump/devsw.js";
import { messageOf } from "../errors.js";

const CODES: readonly DeviceErrorCode[] = ["EBUSY", "ENODEV", "EINVAL", "EIO", "ETIMEDOUT"];

export function refusalWord(error: unknown): Uint8Array {
  const code = error instanceof DeviceError ? error.code : "EIO";
  return Buffer.from(`${code}: ${messageOf(error)}\r\n`);
}

/** What a server meant; EBUSY when it is none of ours, for that is why most servers send somebody away. */
export function refusalOf(word: string): DeviceError {
  const code = CODES.find((one) => word.startsWith(`${one}: `));
  return code === undefined ? new DeviceError("EBUSY", word) : new DeviceError(code, word.slice(code.length + 2));
}
