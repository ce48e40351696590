/** What the class drivers that come with the project match. */
import { type DriverEntry, DRIVER_MODULES } from "./driver-modules.js";
import { UCHCOM_MATCH } from "./ucom/uchcom-match.js";
import { UFTDI_MATCH } from "./ucom/uftdi-match.js";
import { UMODEM_MATCH } from "./ucom/umodem-match.js";
import { UPLCOM_MATCH } from "./ucom/uplcom-match.js";
import { USLSA_MATCH } from "./ucom/uslsa-match.js";
import { UAS_MATCH } from "./uas/match.js";
import { UMASS_MATCH } from "./umass/match.js";
import type { MatchRule } from "./usbdi.js";

const MATCHES: Readonly<Record<(typeof DRIVER_MODULES)[number]["name"], readonly MatchRule[]>> = {
  umass: UMASS_MATCH,
  uas: UAS_MATCH,
  umodem: UMODEM_MATCH,
  uftdi: UFTDI_MATCH,
  uslsa: USLSA_MATCH,
  uchcom: UCHCOM_MATCH,
  uplcom: UPLCOM_MATCH,
};

/** What is used unless the user says more. */
export const DRIVERS: readonly DriverEntry[] = DRIVER_MODULES.map((one) => ({ ...one, match: MATCHES[one.name] }));
