/** The check scripts in a User Mode Linux kernel, one boot each: seconds. Skipped where RUMPUSB_UML names none. */
import { CHECKS } from "./checks.js";
import { declareResults, runLab } from "./lab.js";

// Boots before the tests are declared: what they are called is what the guest says.
for (const script of CHECKS) {
  declareResults("uml", await runLab(["--kernel", "uml", `lab/checks/${script}`]));
  if (!process.env["RUMPUSB_UML"]) break;
}
