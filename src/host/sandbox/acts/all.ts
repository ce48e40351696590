/** Every act, in the order in which they are tried. */
import type { LockProfile, LockPurpose } from "../../../rumpuser/real/lock.js";
import type { Act } from "./act.js";
import { ARGUMENT_ACTS, STRICT_ARGUMENT_ACTS } from "./arguments.js";
import { DEVICE_ACTS } from "./device-calls.js";
import { FILE_ACTS } from "./files.js";
import { KERNEL_ACTS, STRICT_ACTS } from "./kernel-calls.js";
import { PROCESS_ACTS } from "./processes.js";
import { SERVING_ACTS, STRICT_SERVING_ACTS } from "./serving.js";
import { SOCKET_ACTS } from "./sockets.js";

/** What each purpose adds, and what with --strict. */
const OWN: Readonly<Record<LockPurpose, { readonly acts: readonly Act[]; readonly strict: readonly Act[] }>> = {
  device: { acts: DEVICE_ACTS, strict: [] },
  serve: { acts: SERVING_ACTS, strict: STRICT_SERVING_ACTS },
};

export function actsFor(purpose: LockPurpose, profile: LockProfile): readonly Act[] {
  const own = OWN[purpose];
  // Where nothing keeps a process, the kernel acts lower its limits: those that need descriptors come before.
  const all = [...FILE_ACTS, ...SOCKET_ACTS, ...own.acts, ...PROCESS_ACTS, ...KERNEL_ACTS, ...ARGUMENT_ACTS];
  return profile === "strict" ? [...all, ...STRICT_ACTS, ...STRICT_ARGUMENT_ACTS, ...own.strict] : all;
}
