/** The real stack on the simulated host: a rump kernel with a controller for device models in the same process. */
import type { DeviceModel } from "../../../src/vdev/model.js";
import { createVhc, type VirtualHostController } from "../../../src/dev/vhc/vhc.js";
import { attachUsbBus } from "../../../src/dev/usb/attach-bus.js";
import type { AttachNotice } from "../../../src/dev/usb/bus.js";
import type { Driver, DriverOptions } from "../../../src/dev/usb/usbdi.js";
import type { HostController } from "../../../src/dev/usb/usbdivar.js";
import { RumpKernel, type SwitchEntry } from "../../../src/rump/kernel.js";
import type { Clock } from "../../../src/rumpuser/rumpuser.js";
import { createSimulatedRumpuser, type SimulatedRumpuser } from "../../../src/rumpuser/simulated.js";

export interface StackRig {
  readonly sim: SimulatedRumpuser;
  readonly kernel: RumpKernel;
  readonly vhc: VirtualHostController;
  readonly notices: AttachNotice[];
  /** `bot: reason`. */
  readonly demotions: string[];
  /** What came into the switch and left it, `+sd0`, `-sd0 detached`. */
  readonly switched: string[];
  /** Root ports whose device has gone, with what was left of the tree then. */
  readonly unplugged: { rootPort: number; left: string[] }[];
  /** The log as lines, `warn uhub0: …`. */
  log(): string[];
  /** Boots the bus; resolves when everything plugged in has been explored. */
  boot(): Promise<void>;
  /** Lets everything that is going on finish, timers included. */
  settle(): Promise<void>;
  device(name: string): SwitchEntry | undefined;
}

export function makeRig(
  drivers: readonly Driver[],
  options: {
    seed?: number;
    ports?: number;
    driverOptions?: Record<string, DriverOptions>;
    interfaces?: readonly number[];
    /** The controller that the stack sees in place of the bus itself. */
    controller?: (bus: HostController, clock: Clock) => HostController;
  } = {},
): StackRig {
  const sim = createSimulatedRumpuser({ seed: options.seed ?? 1 });
  const kernel = new RumpKernel(sim);
  const vhc = createVhc({ name: "vhc0", clock: sim.clock, ports: options.ports ?? 1 });
  const notices: AttachNotice[] = [];
  const demotions: string[] = [];
  const switched: string[] = [];
  kernel.listen({
    added: (entry) => switched.push(`+${entry.name}`),
    removed: (entry, reason) => switched.push(`-${entry.name} ${reason}`),
  });
  const unplugged: { rootPort: number; left: string[] }[] = [];
  return {
    unplugged,
    sim,
    kernel,
    vhc,
    notices,
    demotions,
    switched,
    log: () => sim.entries.map((entry) => `${entry.level} ${entry.source}: ${entry.message}`),
    boot: () =>
      sim.run(() =>
        attachUsbBus({
          kernel,
          controller: options.controller?.(vhc, sim.clock) ?? vhc,
          drivers,
          driverOptions: options.driverOptions ?? {},
          ...(options.interfaces === undefined ? {} : { interfaces: options.interfaces }),
          onAttach: (notice) => notices.push(notice),
          onDemotion: (mode, reason) => demotions.push(`${mode}: ${reason}`),
          onUnplug: (rootPort) => unplugged.push({ rootPort, left: namesBelow(kernel) }),
        }),
      ),
    settle: () => sim.clock.run(),
    device: (name) => kernel.devices.find((entry) => entry.name === name),
  };
}

/** Plugs a model in and lets it be explored. */
export async function plugIn(rig: StackRig, port: number, model: DeviceModel): Promise<void> {
  rig.vhc.plug(port, model);
  await rig.settle();
}

/** The names of all attached nodes, depth first, `uhub0 usbdev0 echo0`. */
export function treeNames(rig: StackRig): string[] {
  return namesBelow(rig.kernel);
}

function namesBelow(kernel: RumpKernel): string[] {
  const names: string[] = [];
  const visit = (nodes: readonly { name: string; children: readonly never[] | readonly unknown[] }[]): void => {
    for (const node of nodes) {
      names.push(node.name);
      visit(node.children as Parameters<typeof visit>[0]);
    }
  };
  visit(kernel.mainbus.children);
  return names;
}
