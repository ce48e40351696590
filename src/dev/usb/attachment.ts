/** One driver on one interface: finds its endpoints, gives it its pipes, and takes everything back at detach. */
import type { DeviceNode } from "../../rump/autoconf.js";
import type { AlternateSetting } from "./configuration.js";
import type { UsbDevice } from "./device.js";
import { UnsupportedError } from "./errors.js";
import { DefaultPipe, EndpointInPipe, EndpointOutPipe, runPipeChain } from "./pipes.js";
import type { TransferScope } from "./scope.js";
import { ENDPOINT_IN } from "./usb.js";
import type {
  Attachment,
  ControlPipe,
  DeviceIdentity,
  Driver,
  EndpointNeed,
  InPipe,
  OutPipe,
  PipesFor,
} from "./usbdi.js";

/** The pipes of a driver whose needs are known only at run time; `openPipes` makes them fit what it declared. */
type Pipes = PipesFor<Record<string, EndpointNeed>>;

/**
 * Attaches `driver` to the interface.
 * @returns the instance's name, `umass0`.
 * @throws what the driver threw; UnsupportedError when an endpoint it needs is missing. Everything is undone then.
 */
export async function attachDriver(
  device: UsbDevice,
  identity: DeviceIdentity,
  driver: Driver,
  alternate: AlternateSetting,
): Promise<string> {
  const { interfaceNumber } = alternate;
  const { controller } = device.bus;
  const node = await device.node.attachChild(driver.name, async (own) => {
    const address = device.address();
    await controller.claimInterface(address, interfaceNumber);
    own.onDetach(() => controller.releaseInterface(address, interfaceNumber));
    await device.selectAlternate(interfaceNumber, alternate.alternateSetting);
    const scope = device.openScope();
    own.onDetach(() => device.closeScope(scope));
    const control = new DefaultPipe(scope, device.address);
    const pipes = openPipes(driver.endpoints, alternate, device, scope, control);
    device.bus.announce({ identity, driver: own.name, interfaceNumber });
    await driver.attach(attachmentOf(driver.name, device, identity, own, alternate, scope, control, pipes));
  });
  return node.name;
}

function attachmentOf(
  driver: string,
  device: UsbDevice,
  identity: DeviceIdentity,
  node: DeviceNode,
  alternate: AlternateSetting,
  scope: TransferScope,
  control: ControlPipe,
  pipes: Pipes,
): Attachment<Pipes> {
  const { kernel } = device.bus;
  return {
    name: node.name,
    identity,
    interfaceNumber: alternate.interfaceNumber,
    interrupted: device.bus.interrupted,
    extraDescriptors: alternate.extraDescriptors,
    options: device.bus.optionsOf(driver),
    pipes,
    control,
    clock: kernel.clock,
    signal: node.signal,
    runChain: (steps, options) => runPipeChain(scope, steps, options),
    publish: (className, made) => {
      const entry = kernel.publish(node.name, className, made);
      const forget = node.onDetach(() => entry.remove("detached"));
      return {
        name: entry.name,
        remove: (reason) => {
          forget();
          entry.remove(reason);
        },
      };
    },
    onDetach: (undo) => void node.onDetach(undo),
    log: (level, message) => kernel.log(level, node.name, message),
    resetDevice: () => device.reset(),
  };
}

/** Each need gets the first endpoint of its type and direction that no other need has taken. */
function openPipes(
  needs: Readonly<Record<string, EndpointNeed>>,
  alternate: AlternateSetting,
  device: UsbDevice,
  scope: TransferScope,
  control: ControlPipe,
): Pipes {
  const free = [...alternate.endpoints];
  const pipes: Record<string, InPipe | OutPipe> = {};
  for (const [name, need] of Object.entries(needs)) {
    const at = free.findIndex(
      (e) => e.type === need.type && (e.endpointAddress & ENDPOINT_IN) === (need.dir === "in" ? ENDPOINT_IN : 0),
    );
    const endpoint = free[at];
    if (endpoint === undefined) {
      if (need.optional === true) continue;
      throw new UnsupportedError(
        `interface ${alternate.interfaceNumber}.${alternate.alternateSetting} has no ${need.type} ${need.dir} endpoint for ${name}`,
      );
    }
    free.splice(at, 1);
    const Pipe = need.dir === "in" ? EndpointInPipe : EndpointOutPipe;
    pipes[name] = new Pipe(scope, device.address, endpoint, control);
  }
  return pipes as Pipes;
}
