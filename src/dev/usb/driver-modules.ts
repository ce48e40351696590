/** The class drivers that come with the project: their names, and where their code is. What they match: drivers.ts. */
import type { MatchRule } from "./usbdi.js";

export interface DriverModule {
  readonly name: string;
  /** Module specifier relative to this folder; the module exports the driver record under `name`. */
  readonly specifier: string;
  /** Drivers of other alternate settings that the same interface may have: they are loaded together. */
  readonly alternatives?: readonly string[];
}

/** A driver with what it matches: found without loading it. */
export interface DriverEntry extends DriverModule {
  readonly match: readonly MatchRule[];
  /** The rules are the user's, and hold in place of those in the module. */
  readonly byId?: boolean;
}

/** What a rump process is told of a driver: the rules only where the module does not have them. */
export type DriverToLoad = Pick<DriverEntry, "name" | "specifier"> & Partial<Pick<DriverEntry, "match">>;

export function driverToLoad({ name, specifier, match, byId }: DriverEntry): DriverToLoad {
  return byId === true ? { name, specifier, match } : { name, specifier };
}

export const DRIVER_MODULES = [
  { name: "umass", specifier: "./umass/umass.js", alternatives: ["uas"] },
  { name: "uas", specifier: "./uas/uas.js", alternatives: ["umass"] },
  { name: "umodem", specifier: "./ucom/umodem.js" },
  { name: "uftdi", specifier: "./ucom/uftdi.js" },
  { name: "uslsa", specifier: "./ucom/uslsa.js" },
  { name: "uchcom", specifier: "./ucom/uchcom.js" },
  { name: "uplcom", specifier: "./ucom/uplcom.js" },
] as const satisfies readonly DriverModule[];

/** Every driver that a device may need of which nothing is known: the user's own before those that come with the project. */
export function allDrivers(own: readonly DriverEntry[] = []): DriverToLoad[] {
  return [...own.map(driverToLoad), ...DRIVER_MODULES.map(({ name, specifier }) => ({ name, specifier }))];
}
