/** Why an ordinary user gets no namespaces here, and what the administrator can do about it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { errnoOf } from "../errors.js";

const PROFILE = fileURLToPath(new URL("../../../share/apparmor/rumpusb-launcher", import.meta.url));

interface Switch {
  /** Below /proc/sys. */
  readonly path: string;
  /** The value with which namespaces are refused. */
  readonly refuses: string;
  readonly help: (launcher: string) => string;
}

/** The known switches, by the file that tells of them. */
const SWITCHES: readonly Switch[] = [
  {
    path: "kernel/apparmor_restrict_unprivileged_userns", // Ubuntu 23.10 and later
    refuses: "1",
    help: (launcher) =>
      `AppArmor keeps user namespaces from programs without a profile; install ours: sudo cp ${PROFILE} /etc/apparmor.d/ && sudo apparmor_parser -r /etc/apparmor.d/rumpusb-launcher (it is for ${launcher}; change the path in it where yours differs)`,
  },
  {
    path: "kernel/unprivileged_userns_clone", // Debian's patch
    refuses: "0",
    help: () => "user namespaces are switched off: sudo sysctl kernel.unprivileged_userns_clone=1",
  },
  {
    path: "user/max_user_namespaces",
    refuses: "0",
    help: () => "user namespaces are switched off: sudo sysctl user.max_user_namespaces=10000",
  },
];

/** @returns undefined where no known switch is the reason. */
export function namespaceHelp(launcher: string, root = "/proc/sys"): string | undefined {
  return SWITCHES.find(({ path, refuses }) => readValue(`${root}/${path}`) === refuses)?.help(launcher);
}

/** Undefined where this kernel has no such switch. */
function readValue(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (errnoOf(error) !== "") return undefined;
    throw error;
  }
}
