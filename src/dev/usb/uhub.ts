/**
 * Hubs: ports, and what is plugged into them.
 *
 * Specs: USB 2.0 ch. 11. Drives the root hub that roothub.ts makes of a controller's ports, and external hubs.
 * Leaves alone: SuperSpeed hubs (USB 3.2 ch. 10), port indicators, over-current reporting beyond the log.
 */
import { viewOf } from "../../bytes.js";
import type { DeviceNode } from "../../rump/autoconf.js";
import type { Interface } from "./configuration.js";
import { hubDescriptor } from "./descriptors.js";
import type { UsbBus } from "./bus.js";
import type { ExploredDevice, UpstreamPort, UsbDevice } from "./device.js";
import { ProtocolError, TransferError, UnsupportedError } from "./errors.js";
import { EndpointInPipe } from "./pipes.js";
import { ROOT_HUB_ADDRESS, statusBytes } from "./roothub.js";
import { DESCRIPTOR, ENDPOINT_IN, HUB_FEATURE, PORT_CHANGE, PORT_STATUS, REQUEST } from "./usb.js";
import type { ControlRequest } from "./usbdi.js";
import type { Speed } from "./usbdivar.js";

/** Seven tiers with the root hub as the first: five hubs in a chain (USB 2.0 §4.1.1). */
const MAX_HUB_DEPTH = 5;
const MAX_PORTS = 31;
/** Connection must be stable for so long (USB 2.0 §7.1.7.3, TATTDB). */
const DEBOUNCE_MS = 100;
const DEBOUNCE_STEP_MS = 25;
const MAX_DEBOUNCE_MS = 1500;
/** A reset takes 10 to 20 ms (USB 2.0 §7.1.7.5), then 10 ms of recovery (§7.1.7.5, TRSTRCY). */
const RESET_STEP_MS = 10;
const MAX_RESET_MS = 500;
const RESET_RECOVERY_MS = 10;
const MAX_ATTACH_TRIES = 3;
/** A port that connects more often than this within STORM_WINDOW_MS is left alone until the window is over. */
const MAX_CONNECTS = 10;
const STORM_WINDOW_MS = 10_000;
/** The status-change endpoint may fail so often in a row before the hub is given up. */
const MAX_STATUS_ERRORS = 5;

/** Takes what is plugged into a port into use: explore.ts, which hands itself over. */
type Explore = (bus: UsbBus, parent: DeviceNode, port: UpstreamPort) => Promise<ExploredDevice>;

interface PortState {
  readonly status: number;
  readonly change: number;
}

/** Attaches uhub to a hub interface; resolves when what is plugged in has been explored. @throws UnsupportedError */
export async function attachHub(device: UsbDevice, one: Interface, explore: Explore): Promise<void> {
  if (device.port.depth > MAX_HUB_DEPTH)
    throw new UnsupportedError(`hub ${device.port.depth} deep: at most ${MAX_HUB_DEPTH} in a chain (USB 2.0 §4.1.1)`);
  const endpoint = one.alternates[0]?.endpoints.find(
    (e) => e.type === "interrupt" && (e.endpointAddress & ENDPOINT_IN) !== 0,
  );
  if (endpoint === undefined) throw new UnsupportedError("hub without a status-change endpoint (USB 2.0 §11.12.4)");
  await device.node.attachChild("uhub", async (node) => {
    const scope = device.openScope();
    node.onDetach(() => device.closeScope(scope));
    const { portCount, powerGoodMs } = await readHubDescriptor(device);
    const pipe = new EndpointInPipe(scope, device.address, endpoint, device.control);
    const hub = new Hub(device, node, portCount, explore);
    node.onDetach(() => hub.disconnected());
    await hub.powerPorts(powerGoodMs);
    await hub.explorePorts();
    hub.watch(pipe);
  });
}

async function readHubDescriptor(device: UsbDevice): Promise<{ portCount: number; powerGoodMs: number }> {
  const request: ControlRequest = {
    type: "class",
    recipient: "device",
    request: REQUEST.GET_DESCRIPTOR,
    value: DESCRIPTOR.HUB << 8,
    index: 0,
  };
  const { status, data } = await device.control.in(request, 71);
  if (status === "stalled") throw new ProtocolError("hub descriptor stalled", "USB 2.0 §11.24.2.5");
  const { bNbrPorts, bPwrOn2PwrGood } = hubDescriptor.decode(data);
  if (bNbrPorts < 1 || bNbrPorts > MAX_PORTS)
    throw new UnsupportedError(`hub with ${bNbrPorts} ports: 1 to ${MAX_PORTS} are supported`);
  return { portCount: bNbrPorts, powerGoodMs: bPwrOn2PwrGood * 2 };
}

class Hub {
  readonly #device: UsbDevice;
  readonly #node: DeviceNode;
  readonly #portCount: number;
  readonly #explore: Explore;
  readonly #children = new Map<number, ExploredDevice>();
  readonly #connectTimes = new Map<number, number[]>();
  #turn: Promise<void> = Promise.resolve();

  constructor(device: UsbDevice, node: DeviceNode, portCount: number, explore: Explore) {
    this.#device = device;
    this.#node = node;
    this.#portCount = portCount;
    this.#explore = explore;
  }

  get #isRoot(): boolean {
    return this.#device.address() === ROOT_HUB_ADDRESS;
  }

  async powerPorts(powerGoodMs: number): Promise<void> {
    for (let port = 1; port <= this.#portCount; port++) await this.#setFeature(port, HUB_FEATURE.PORT_POWER);
    if (powerGoodMs > 0) await this.#delay(powerGoodMs);
  }

  async explorePorts(): Promise<void> {
    for (let port = 1; port <= this.#portCount; port++) await this.#explorePort(port);
  }

  /** Follows the status-change endpoint until the hub goes (USB 2.0 §11.12.4). */
  watch(pipe: EndpointInPipe): void {
    void this.#watchLoop(pipe).catch((error: unknown) => {
      if (this.#node.signal.aborted) return;
      this.#log("error", `given up: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  /** The hub has gone, and everything behind it. */
  async disconnected(): Promise<void> {
    for (const port of this.#children.keys()) await this.#removeChild(port);
  }

  async #watchLoop(pipe: EndpointInPipe): Promise<void> {
    const maxBytes = Math.max(statusBytes(this.#portCount), pipe.maxPacketBytes);
    let errors = 0;
    while (!this.#node.signal.aborted) {
      try {
        const { status, data } = await pipe.transfer(maxBytes, { timeoutMs: 0 });
        if (status === "stalled") {
          await pipe.clearHalt();
          throw new ProtocolError("status-change endpoint stalled", "USB 2.0 §11.12.4");
        }
        errors = 0;
        for (let port = 1; port <= this.#portCount; port++)
          if (((data[port >> 3] ?? 0) & (1 << (port & 7))) !== 0) await this.#explorePort(port);
      } catch (error) {
        const gone = error instanceof TransferError && error.code === "USB_DISCONNECTED";
        if (gone || ++errors === MAX_STATUS_ERRORS) throw error;
      }
    }
  }

  /** Brings what we know of a port up to date with the port; one port at a time, whoever asks. */
  #explorePort(port: number): Promise<void> {
    const turn = this.#turn.then(() => this.#updatePort(port));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Errors of the device behind the port stay here. */
  async #updatePort(port: number): Promise<void> {
    const { status, change } = await this.#readPort(port);
    await this.#acknowledge(port, change);
    if ((change & PORT_CHANGE.OVER_CURRENT) !== 0) this.#log("warn", `port ${port}: over-current`);
    const connected = (status & PORT_STATUS.CONNECTION) !== 0;
    const changed = (change & PORT_CHANGE.CONNECTION) !== 0;
    if (changed || !connected) await this.#removeChild(port);
    if (!connected && this.#isRoot && changed) this.#device.bus.announceUnplug(port);
    if (!connected || this.#children.has(port) || this.#isStorm(port)) return;
    try {
      await this.#attachChild(port);
    } catch (error) {
      if (this.#node.signal.aborted) return;
      const unplugged = error instanceof TransferError && error.code === "USB_DISCONNECTED";
      const message = error instanceof Error ? error.message : String(error);
      this.#log(unplugged ? "info" : "error", `port ${port}: ${unplugged ? "gone while it was explored" : message}`);
      // Told before exploring is done, so that nobody takes it for a device that no driver wants.
      if (unplugged && this.#isRoot) await this.#updatePort(port);
    }
  }

  async #attachChild(port: number): Promise<void> {
    if (!this.#isRoot && !(await this.#settled(port))) return;
    const depth = this.#device.port.depth + 1;
    const upstream: UpstreamPort = { portNumber: port, depth, reset: () => this.#resetPort(port) };
    for (let tries = 1; ; tries++) {
      try {
        this.#children.set(port, await this.#explore(this.#device.bus, this.#node, upstream));
        return;
      } catch (error) {
        if (this.#node.signal.aborted) throw error;
        const { status } = await this.#readPort(port);
        if (tries === MAX_ATTACH_TRIES || (status & PORT_STATUS.CONNECTION) === 0) throw error;
        this.#log("warn", `port ${port}: try ${tries}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }

  async #removeChild(port: number): Promise<void> {
    const child = this.#children.get(port);
    this.#children.delete(port);
    await child?.disconnected();
  }

  /** Waits until the connection has been stable for DEBOUNCE_MS; false when it went away. */
  async #settled(port: number): Promise<boolean> {
    let stableMs = 0;
    for (let waitedMs = 0; waitedMs < MAX_DEBOUNCE_MS && stableMs < DEBOUNCE_MS; waitedMs += DEBOUNCE_STEP_MS) {
      await this.#delay(DEBOUNCE_STEP_MS);
      const { status, change } = await this.#readPort(port);
      stableMs = (change & PORT_CHANGE.CONNECTION) !== 0 ? 0 : stableMs + DEBOUNCE_STEP_MS;
      await this.#acknowledge(port, change);
      if ((status & PORT_STATUS.CONNECTION) === 0) return false;
    }
    return stableMs >= DEBOUNCE_MS;
  }

  /** Resets the port and waits for its end (USB 2.0 §11.5.1.5). The root hub's reset is over when its request is. */
  async #resetPort(port: number): Promise<Speed> {
    await this.#setFeature(port, HUB_FEATURE.PORT_RESET);
    for (let waitedMs = 0; waitedMs <= MAX_RESET_MS; waitedMs += RESET_STEP_MS) {
      const { status, change } = await this.#readPort(port);
      if ((status & PORT_STATUS.CONNECTION) === 0)
        throw new TransferError("USB_DISCONNECTED", `port ${port}: nothing there after the reset`);
      if ((change & PORT_CHANGE.RESET) !== 0) {
        await this.#acknowledge(port, change & ~PORT_CHANGE.CONNECTION);
        if (!this.#isRoot) await this.#delay(RESET_RECOVERY_MS);
        return this.#speedOf(port);
      }
      await this.#delay(RESET_STEP_MS);
    }
    throw new ProtocolError(`port ${port}: reset not over after ${MAX_RESET_MS} ms`, "USB 2.0 §11.5.1.5");
  }

  async #speedOf(port: number): Promise<Speed> {
    if (this.#isRoot) return this.#device.bus.controller.ports.status(port).speed;
    const { status } = await this.#readPort(port);
    if ((status & PORT_STATUS.LOW_SPEED) !== 0) return "low";
    return (status & PORT_STATUS.HIGH_SPEED) !== 0 ? "high" : "full";
  }

  #isStorm(port: number): boolean {
    const now = this.#device.bus.kernel.clock.nowMs();
    const recent = (this.#connectTimes.get(port) ?? []).filter((at) => now - at < STORM_WINDOW_MS);
    recent.push(now);
    this.#connectTimes.set(port, recent);
    if (recent.length <= MAX_CONNECTS) return false;
    if (recent.length === MAX_CONNECTS + 1) {
      this.#log(
        "warn",
        `port ${port}: more than ${MAX_CONNECTS} connects in ${STORM_WINDOW_MS} ms, left alone for a while`,
      );
      const timer = this.#device.bus.kernel.clock.startTimer(STORM_WINDOW_MS, () => {
        this.#connectTimes.delete(port);
        if (!this.#node.signal.aborted)
          void this.#explorePort(port).catch(() => this.#log("warn", `port ${port}: lost`));
      });
      this.#node.onDetach(() => timer.cancel());
    }
    recent.length = MAX_CONNECTS + 1;
    return true;
  }

  async #readPort(port: number): Promise<PortState> {
    const { status, data } = await this.#device.control.in(portRequest(REQUEST.GET_STATUS, 0, port), 4);
    if (status === "stalled" || data.length < 4)
      throw new ProtocolError(`port ${port}: status of ${data.length} bytes, ${status}`, "USB 2.0 §11.24.2.7");
    const view = viewOf(data);
    return { status: view.getUint16(0, true), change: view.getUint16(2, true) };
  }

  async #acknowledge(port: number, change: number): Promise<void> {
    for (let bit = 0; bit <= 4; bit++)
      if ((change & (1 << bit)) !== 0)
        await this.#device.control.out(portRequest(REQUEST.CLEAR_FEATURE, HUB_FEATURE.C_PORT_CONNECTION + bit, port));
  }

  async #setFeature(port: number, feature: number): Promise<void> {
    const { status } = await this.#device.control.out(portRequest(REQUEST.SET_FEATURE, feature, port));
    if (status === "stalled")
      throw new ProtocolError(`port ${port}: SET_FEATURE ${feature} stalled`, "USB 2.0 §11.24.2.13");
  }

  #delay(ms: number): Promise<void> {
    return this.#device.bus.delay(ms, this.#node.signal);
  }

  #log(level: "info" | "warn" | "error", message: string): void {
    this.#device.bus.kernel.log(level, this.#node.name, message);
  }
}

function portRequest(request: number, feature: number, port: number): ControlRequest {
  return { type: "class", recipient: "other", request, value: feature, index: port };
}
