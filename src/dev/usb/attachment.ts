/** One driver on one interface: finds its endpoints, gives it its pipes, and takes everything back at detach. */
import type { DeviceNode } from "../../rump/autoconf.js";
import type { AlternateSetting, Endpoint } from "./configuration.js";
import type { UsbDevice } from "./device.js";
import { UnsupportedError } from "./errors.js";
import { DefaultPipe, EndpointInPipe, EndpointOutPipe, runPipeChain } from "./pipes.js";
import { RequestGuard } from "./request-guard.js";
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
  SiblingInterface,
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
  const node = await device.node.attachChild(driver.name, async (own) => {
    await takeInterface(device, own, alternate);
    const scope = device.openScope();
    own.onDetach(() => device.closeScope(scope));
    const control = new RequestGuard(new DefaultPipe(scope, device.address), {
      rules: driver.requests,
      log: (level, message) => device.bus.kernel.log(level, own.name, message),
    });
    const pipes = openPipes(driver.endpoints, alternate, device, scope, control);
    let mode = "";
    const attached = once(() => device.bus.announce({ identity, driver: own.name, interfaceNumber, mode }));
    const at = attachmentOf(driver.name, device, identity, own, alternate, scope, control, pipes);
    const publish: typeof at.publish = (className, made) => {
      attached(); // a node is told after its driver
      return at.publish(className, made);
    };
    const tellMode = (told: string): void => {
      mode = told;
      at.tellMode(told);
    };
    await driver.attach({ ...at, publish, tellMode });
    attached();
  });
  return node.name;
}

/** One that turns the interface away before it publishes anything never was attached, and is not announced. */
function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    action();
  };
}

/** Makes the interface the driver's until it is detached. */
async function takeInterface(device: UsbDevice, node: DeviceNode, alternate: AlternateSetting): Promise<void> {
  const { interfaceNumber } = alternate;
  const { controller } = device.bus;
  const address = device.address();
  device.takenInterfaces.add(interfaceNumber);
  node.onDetach(() => void device.takenInterfaces.delete(interfaceNumber));
  await controller.claimInterface(address, interfaceNumber);
  node.onDetach(() => controller.releaseInterface(address, interfaceNumber));
  await device.selectAlternate(interfaceNumber, alternate.alternateSetting);
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
  let freesStreams = false;
  return {
    name: node.name,
    identity,
    interfaceNumber: alternate.interfaceNumber,
    interfaceProtocols: alternatesOf(device, alternate.interfaceNumber).map((one) => one.interfaceProtocol),
    interrupted: device.bus.interrupted,
    extraDescriptors: alternate.extraDescriptors,
    siblings: siblingsOf(device, alternate),
    options: device.bus.optionsOf(driver),
    pipes,
    control,
    clock: kernel.clock,
    signal: node.signal,
    runChain: (steps, options) => runPipeChain(scope, steps, options),
    rest: (ms) => {
      if (device.driverCount === 1) device.bus.controller.rest?.(ms);
    },
    takeSibling: async (interfaceNumber, needs) => {
      const sibling = chooseSibling(device, interfaceNumber, needs);
      await takeInterface(device, node, sibling);
      return openPipes(needs, sibling, device, scope, control) as PipesFor<typeof needs>;
    },
    useAlternate: async (interfaceProtocol, needs) => {
      const other = chooseAlternate(device, alternate.interfaceNumber, interfaceProtocol, needs);
      await device.selectAlternate(other.interfaceNumber, other.alternateSetting);
      return openPipes(needs, other, device, scope, control) as PipesFor<typeof needs>;
    },
    allocStreams: async (wanted, count) => {
      const most = Math.min(count, ...wanted.map((pipe) => pipe.maxStreams));
      if (most < 1) return 0;
      const endpointAddresses = wanted.map((pipe) => pipe.endpointAddress);
      const given = await device.bus.controller.allocStreams(device.address(), endpointAddresses, most);
      if (given > 0 && !freesStreams)
        node.onDetach(() => device.bus.controller.freeStreams(device.address(), endpointAddresses));
      freesStreams ||= given > 0;
      return given;
    },
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
    tellMode: (mode) => kernel.log("info", node.name, `mode: ${mode}`),
    tellDemotion: (mode, reason) => device.bus.announceDemotion(mode, reason),
    random32: () => kernel.random32(),
    resetDevice: () => device.reset(),
  };
}

function siblingsOf(device: UsbDevice, alternate: AlternateSetting): SiblingInterface[] {
  return (device.configuration?.interfaces ?? []).flatMap(({ interfaceNumber, alternates }) => {
    const [first] = alternates;
    if (first === undefined || interfaceNumber === alternate.interfaceNumber) return [];
    if (!device.bus.serves(interfaceNumber)) return [];
    const { interfaceClass, interfaceSubClass, interfaceProtocol } = first;
    return [{ interfaceNumber, interfaceClass, interfaceSubClass, interfaceProtocol }];
  });
}

/** @throws UnsupportedError */
function chooseSibling(
  device: UsbDevice,
  interfaceNumber: number,
  needs: Readonly<Record<string, EndpointNeed>>,
): AlternateSetting {
  const found = device.configuration?.interfaces.find((one) => one.interfaceNumber === interfaceNumber);
  const [first] = found?.alternates ?? [];
  if (found === undefined || first === undefined)
    throw new UnsupportedError(`the configuration has no interface ${interfaceNumber}`);
  if (device.takenInterfaces.has(interfaceNumber) || !device.bus.serves(interfaceNumber))
    throw new UnsupportedError(`interface ${interfaceNumber} belongs to another driver`);
  return found.alternates.find((one) => matchEndpoints(needs, one).missing === undefined) ?? first;
}

function alternatesOf(device: UsbDevice, interfaceNumber: number): readonly AlternateSetting[] {
  return device.configuration?.interfaces.find((one) => one.interfaceNumber === interfaceNumber)?.alternates ?? [];
}

/** @throws UnsupportedError */
function chooseAlternate(
  device: UsbDevice,
  interfaceNumber: number,
  interfaceProtocol: number,
  needs: Readonly<Record<string, EndpointNeed>>,
): AlternateSetting {
  const found = alternatesOf(device, interfaceNumber).find(
    (one) => one.interfaceProtocol === interfaceProtocol && matchEndpoints(needs, one).missing === undefined,
  );
  if (found !== undefined) return found;
  const protocol = interfaceProtocol.toString(16).padStart(2, "0");
  throw new UnsupportedError(`interface ${interfaceNumber} has no alternate setting with protocol ${protocol}`);
}

function openPipes(
  needs: Readonly<Record<string, EndpointNeed>>,
  alternate: AlternateSetting,
  device: UsbDevice,
  scope: TransferScope,
  control: ControlPipe,
): Pipes {
  const { found, missing } = matchEndpoints(needs, alternate);
  if (missing !== undefined)
    throw new UnsupportedError(
      `interface ${alternate.interfaceNumber}.${alternate.alternateSetting} has no ${missing}`,
    );
  const pipes: Record<string, InPipe | OutPipe> = {};
  for (const { name, need, endpoint } of found) {
    const Pipe = need.dir === "in" ? EndpointInPipe : EndpointOutPipe;
    pipes[name] = new Pipe(scope, device.address, endpoint, control);
  }
  return pipes as Pipes;
}

interface MatchedEndpoints {
  readonly found: readonly { readonly name: string; readonly need: EndpointNeed; readonly endpoint: Endpoint }[];
  /** The first need that is not met, in words. */
  readonly missing?: string;
}

/** Each need gets the first endpoint of its type and direction that no other need has taken. */
function matchEndpoints(needs: Readonly<Record<string, EndpointNeed>>, alternate: AlternateSetting): MatchedEndpoints {
  const free = [...alternate.endpoints];
  const found: { name: string; need: EndpointNeed; endpoint: Endpoint }[] = [];
  for (const [name, need] of Object.entries(needs)) {
    const at = free.findIndex((endpoint) => isWanted(need, endpoint));
    const endpoint = free[at];
    if (endpoint !== undefined) {
      free.splice(at, 1);
      found.push({ name, need, endpoint });
    } else if (need.optional !== true) return { found, missing: `${need.type} ${need.dir} endpoint for ${name}` };
  }
  return { found };
}

function isWanted({ type, dir, followedBy }: EndpointNeed, endpoint: Endpoint): boolean {
  if (endpoint.type !== type || (endpoint.endpointAddress & ENDPOINT_IN) !== (dir === "in" ? ENDPOINT_IN : 0))
    return false;
  if (followedBy === undefined) return true;
  return endpoint.extraDescriptors.some((bytes) => followedBy.every((byte, at) => bytes[1 + at] === byte));
}
