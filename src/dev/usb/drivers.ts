/** The class drivers that come with the project: what they match, and where their code is. Found without loading it. */
import { UCHCOM_MATCH } from "./ucom/uchcom-match.js";
import { UFTDI_MATCH } from "./ucom/uftdi-match.js";
import { UMODEM_MATCH } from "./ucom/umodem-match.js";
import { UPLCOM_MATCH } from "./ucom/uplcom-match.js";
import { USLSA_MATCH } from "./ucom/uslsa-match.js";
import { UAS_MATCH } from "./uas/match.js";
import { UMASS_MATCH } from "./umass/match.js";
import type { MatchRule } from "./usbdi.js";

export interface DriverEntry {
  readonly name: string;
  /** Module specifier relative to this folder; the module exports the driver record under `name`. */
  readonly specifier: string;
  readonly match: readonly MatchRule[];
  /** The rules are the user's, and hold in place of those in the module. */
  readonly byId?: boolean;
  /** Drivers of other alternate settings that the same interface may have: they are loaded together. */
  readonly alternatives?: readonly string[];
}

/** What a rump process is told of a driver: the rules only where the module does not have them. */
export type DriverToLoad = Pick<DriverEntry, "name" | "specifier"> & Partial<Pick<DriverEntry, "match">>;

export function driverToLoad({ name, specifier, match, byId }: DriverEntry): DriverToLoad {
  return byId === true ? { name, specifier, match } : { name, specifier };
}

/** What is used unless the user says more. */
export const DRIVERS: readonly DriverEntry[] = [
  { name: "umass", specifier: "./umass/umass.js", match: UMASS_MATCH, alternatives: ["uas"] },
  { name: "uas", specifier: "./uas/uas.js", match: UAS_MATCH, alternatives: ["umass"] },
  { name: "umodem", specifier: "./ucom/umodem.js", match: UMODEM_MATCH },
  { name: "uftdi", specifier: "./ucom/uftdi.js", match: UFTDI_MATCH },
  { name: "uslsa", specifier: "./ucom/uslsa.js", match: USLSA_MATCH },
  { name: "uchcom", specifier: "./ucom/uchcom.js", match: UCHCOM_MATCH },
  { name: "uplcom", specifier: "./ucom/uplcom.js", match: UPLCOM_MATCH },
];
