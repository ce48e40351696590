/** Every act, in the order in which they are tried. */
import type { LockProfile } from "../../../rumpuser/real/lock.js";
import type { Act } from "./act.js";
import { ARGUMENT_ACTS, STRICT_ARGUMENT_ACTS } from "./arguments.js";
import { DEVICE_ACTS } from "./device-calls.js";
import { FILE_ACTS } from "./files.js";
import { KERNEL_ACTS, STRICT_ACTS } from "./kernel-calls.js";
import { PROCESS_ACTS } from "./processes.js";
import { SOCKET_ACTS } from "./sockets.js";

export function actsFor(profile: LockProfile): readonly Act[] {
  const all = [...FILE_ACTS, ...SOCKET_ACTS, ...PROCESS_ACTS, ...KERNEL_ACTS, ...DEVICE_ACTS, ...ARGUMENT_ACTS];
  return profile === "strict" ? [...all, ...STRICT_ACTS, ...STRICT_ARGUMENT_ACTS] : all;
}
