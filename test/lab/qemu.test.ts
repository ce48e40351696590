/**
 * QEMU's own devices under a stock Debian kernel, in one boot. Skipped where QEMU or its kernel package is missing
 * (`lab/run --prepare` fetches it). Where no User Mode Linux kernel is named, some of the other check scripts run here, too.
 */
import { CHECKS_WITHOUT_UML, QEMU_CHECKS, QEMU_DEVICES } from "./checks.js";
import { declareResults, runLab } from "./lab.js";

const scripts = process.env["RUMPUSB_UML"] ? QEMU_CHECKS : [...QEMU_CHECKS, ...CHECKS_WITHOUT_UML];
const devices = QEMU_DEVICES.flatMap((set) => ["--with", set]);
const paths = scripts.map((script) => `lab/checks/${script}`);
declareResults("qemu", await runLab(["--kernel", "qemu", "--offline", "--timeout", "900", ...devices, ...paths]));
