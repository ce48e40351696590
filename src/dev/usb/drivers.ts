/** The class drivers that come with the project: what they match, and where their code is. Found without loading it. */
import { UMASS_MATCH } from "./umass/match.js";
import type { MatchRule } from "./usbdi.js";

export interface DriverEntry {
  readonly name: string;
  /** Module specifier relative to this folder; the module exports the driver record under `name`. */
  readonly specifier: string;
  readonly match: readonly MatchRule[];
}

export const DRIVERS: readonly DriverEntry[] = [{ name: "umass", specifier: "./umass/umass.js", match: UMASS_MATCH }];
