/** Starts the rump processes of a device that is open: which drivers they load, how they are kept, whether devices share one. */
import type { Clock } from "../rumpuser/rumpuser.js";
import { type DeviceConfig, RUMP_CONFIG_VERSION } from "../rump-process/config.js";
import type { AllDriverOptions } from "./modes.js";
import type { RumpGroup } from "./rump-group.js";
import type { Sandbox } from "./sandbox/sandbox.js";
import type { OpenedDevice } from "./sources/source.js";
import { type LentMemory, type RumpPlace, spawnRump } from "./spawn.js";

export interface RumpStarterContext {
  readonly clock: Clock;
  readonly sandbox: Sandbox;
  /** Nothing is written to disks. */
  readonly readOnly?: boolean;
  /** Where devices share processes. */
  readonly group?: RumpGroup;
  /** Script to run in place of the rump process; for tests. */
  readonly rumpScript?: string;
}

/** As RumpDemand (session/rights.ts). */
export interface PlaceDemand {
  readonly interrupted: boolean;
  readonly driverOptions: AllDriverOptions;
  readonly memory: LentMemory | undefined;
  readonly ahead: boolean;
  readonly alone: boolean;
  readonly besides: RumpPlace | undefined;
}

/** @param onLine  A line that the process printed, made printable. @throws HostError as `spawnRump`. */
export async function startRump(
  { clock, sandbox, group, rumpScript, readOnly = false }: RumpStarterContext,
  { bus, drivers, interfaces }: OpenedDevice,
  { interrupted, driverOptions, memory, ahead, alone, besides }: PlaceDemand,
  onLine: (line: string) => void,
): Promise<RumpPlace> {
  const config: DeviceConfig = {
    bus,
    drivers,
    // Through usbfs a device comes as whoever had it before left it, and nobody knows how that was.
    interrupted: interrupted || bus.kind === "usbfs",
    ...(interfaces === undefined ? {} : { interfaces }),
    ...(readOnly ? { readOnly } : {}),
    driverOptions,
  };
  if (group !== undefined && !alone) return await group.lease(config, ahead, besides);
  return await spawnRump({
    config: { version: RUMP_CONFIG_VERSION, ...config, ...(ahead ? { waits: true } : {}) },
    memory,
    sandbox,
    clock,
    onLine,
    ahead,
    ...(rumpScript === undefined ? {} : { script: rumpScript }),
  });
}

/** Gives the device to a process that is locked. @throws SystemCallError */
export function sendDevice(opened: OpenedDevice, place: RumpPlace): void {
  place.sendDevice(opened.descriptor);
  opened.closeDescriptor();
}
