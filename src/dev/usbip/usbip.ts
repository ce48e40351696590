/**
 * Host controller on a USB/IP connection: one root port with one device, which a server elsewhere exports.
 *
 * Spec: usbip_protocol. The server's host has given the device an address of its own; like Linux's vhci_hcd this
 * controller keeps SET_ADDRESS to itself. A root port reset is sent as SET_FEATURE(PORT_RESET), which Linux's stub turns
 * into a reset of the real port; the very first one is not sent, because an imported device has just been reset.
 *
 * Not supported: isochronous transfers (they end as "error").
 */
import { viewOf } from "../../bytes.js";
import type { ByteStream, Clock, LogSink } from "../../rumpuser/rumpuser.js";
import { runChain } from "../usb/chain.js";
import { ENDPOINT_IN, HUB_FEATURE, REQUEST, REQUEST_TYPE, setupPacket } from "../usb/usb.js";
import type {
  ChainResult,
  ChainStep,
  HcCompletion,
  HcReadEnd,
  HcReadQueue,
  HcReads,
  HcTransfer,
  HostController,
  RootPortStatus,
  RootPorts,
} from "../usb/usbdivar.js";
import { UrbConnection, type WireTransfer } from "./connection.js";
import { type ImportedDevice, importDevice } from "./import.js";
import { openUsbipReads } from "./read-queue.js";
import { MAX_URB_BYTES } from "./wire.js";

export { UsbipError, type UsbipErrorCode } from "./import.js";

/** A port reset that takes longer is cancelled (USB 2.0 §7.1.7.5 asks for 10 ms; Linux retries for seconds). */
const RESET_TIMEOUT_MS = 5000;

/** USB 2.0 §9.4.6: addresses have seven bits. */
const MAX_ADDRESS = 127;

const ROOT_PORT = 1;

export interface UsbipOptions {
  /** "usbip0". */
  readonly name: string;
  readonly clock: Clock;
  /** Which of the server's devices: "1-1". At most 31 bytes. */
  readonly busId: string;
  /** Told why a connection ended. */
  readonly log?: LogSink;
}

/**
 * Imports a device over a connected stream and makes a controller of it. The stream belongs to the controller.
 * @throws UsbipError: no such device, in use, other version, not USB/IP, connection lost; the stream is destroyed then.
 */
export async function createUsbip(stream: ByteStream, options: UsbipOptions): Promise<HostController> {
  const device = await importDevice(stream, options);
  return new Usbip(stream, device, options);
}

class Usbip implements HostController {
  readonly name: string;
  readonly ports: RootPorts;
  readonly #clock: Clock;
  readonly #log: LogSink | undefined;
  readonly #connection: UrbConnection;
  readonly #speed: RootPortStatus["speed"];
  #address = 0;
  #connected = true;
  #enabled = false;
  #connectChanged = true;
  #resetChanged = false;
  #hasBeenReset = false;
  #closing = false;
  #changed: (() => void) | undefined;
  readonly #downWaiters: (() => void)[] = [];

  constructor(stream: ByteStream, device: ImportedDevice, options: UsbipOptions) {
    this.name = options.name;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#speed = device.speed;
    this.#connection = new UrbConnection(stream, {
      clock: options.clock,
      devid: device.devid,
      onDown: (reason) => this.#noteDown(reason),
    });
    this.ports = {
      count: 1,
      status: (port) => this.#portStatus(port),
      reset: (port) => this.#reset(port),
      disable: (port) => this.#disable(port),
      acknowledge: (port, change) => this.#acknowledge(port, change),
      onChange: (changed) => {
        this.#changed = changed;
      },
    };
  }

  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void {
    const answer = this.#answerHere(transfer);
    if (answer !== undefined) {
      this.#clock.startTimer(0, () => done(answer()));
      return () => undefined;
    }
    const request = wireTransfer(transfer);
    if (request === undefined) {
      this.#clock.startTimer(0, () => done({ status: "error", actualBytes: 0 }));
      return () => undefined;
    }
    return this.#connection.submit(request, done);
  }

  submitChain(steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void {
    return runChain<HcTransfer>((transfer, stepDone) => this.submit(transfer, stepDone), steps, done);
  }

  openReads(reads: HcReads, told: (ends: readonly HcReadEnd[]) => void): HcReadQueue {
    const mayStart = (): boolean => this.#reachable(reads.address);
    return openUsbipReads({ clock: this.#clock, connection: this.#connection, mayStart }, reads, told);
  }

  rest(ms: number): void {
    this.#connection.rest(ms);
  }

  /** The server has taken the device from its host as a whole. */
  async claimInterface(): Promise<void> {}

  async releaseInterface(): Promise<void> {}

  /** The protocol has no field for them (usbip_protocol 1.1.1, USBIP_CMD_SUBMIT). */
  async allocStreams(): Promise<number> {
    return 0;
  }

  async freeStreams(): Promise<void> {}

  async close(): Promise<void> {
    this.#closing = true;
    this.#connection.end("closed");
    if (!this.#connected) return;
    await new Promise<void>((resolve) => {
      this.#downWaiters.push(resolve);
    });
  }

  /** What never reaches the wire: transfers to nobody, and SET_ADDRESS. Runs when the answer is due. */
  #answerHere(transfer: HcTransfer): (() => HcCompletion) | undefined {
    if (!this.#reachable(transfer.address)) return () => ({ status: "disconnected", actualBytes: 0 });
    const { setup } = transfer;
    if (transfer.type !== "control" || setup === undefined || setup.length !== setupPacket.size) return undefined;
    if (setup[0] !== REQUEST_TYPE.STANDARD || setup[1] !== REQUEST.SET_ADDRESS) return undefined;
    const address = viewOf(setup).getUint16(2, true);
    if (address > MAX_ADDRESS) return () => ({ status: "stalled", actualBytes: 0 });
    return () => {
      this.#address = address;
      return { status: "ok", actualBytes: 0 };
    };
  }

  #reachable(address: number): boolean {
    return this.#connected && this.#enabled && address === this.#address;
  }

  #portStatus(port: number): RootPortStatus {
    const here = port === ROOT_PORT;
    return {
      connected: here && this.#connected,
      enabled: here && this.#enabled,
      speed: this.#speed,
      connectChanged: here && this.#connectChanged,
      resetChanged: here && this.#resetChanged,
    };
  }

  async #reset(port: number): Promise<void> {
    if (port !== ROOT_PORT) return;
    this.#enabled = false;
    if (this.#hasBeenReset) await this.#sendReset();
    this.#hasBeenReset = true;
    this.#address = 0;
    this.#enabled = this.#connected;
    this.#resetChanged = true;
    this.#changed?.();
  }

  /** However the server answers: Linux's stub resets the port and then also passes the request on, which stalls. */
  #sendReset(): Promise<void> {
    const setup = setupPacket.encode({
      bmRequestType: REQUEST_TYPE.CLASS | REQUEST_TYPE.OTHER,
      bRequest: REQUEST.SET_FEATURE,
      wValue: HUB_FEATURE.PORT_RESET,
      wIndex: ROOT_PORT,
      wLength: 0,
    });
    const data = new Uint8Array(0);
    const transfer: HcTransfer = { address: this.#address, endpointAddress: 0, type: "control", setup, data };
    return new Promise((resolve) => {
      const cancel = this.#connection.submit({ transfer, isIn: false, data }, () => {
        timer.cancel();
        resolve();
      });
      const timer = this.#clock.startTimer(RESET_TIMEOUT_MS, cancel);
    });
  }

  #disable(port: number): void {
    if (port !== ROOT_PORT) return;
    this.#enabled = false;
    this.#connection.cancelAll();
  }

  #acknowledge(port: number, change: "connect" | "reset"): void {
    if (port !== ROOT_PORT) return;
    if (change === "connect") this.#connectChanged = false;
    else this.#resetChanged = false;
  }

  #noteDown(reason: string): void {
    this.#connected = false;
    this.#enabled = false;
    this.#connectChanged = true;
    if (!this.#closing)
      this.#log?.write({ level: "warn", source: this.name, message: `connection to the server ended: ${reason}` });
    for (const resolve of this.#downWaiters.splice(0)) resolve();
    this.#changed?.();
  }
}

/**
 * Checks a transfer and decides its direction: the endpoint's, or the setup packet's (USB 2.0 §9.3.1; without a data
 * stage the direction is OUT, as Linux has it).
 * @returns undefined for one that cannot be put on a bus.
 */
function wireTransfer(transfer: HcTransfer): WireTransfer | undefined {
  const { data, setup, endpointAddress } = transfer;
  if (transfer.type === "isochronous" || transfer.streamId !== undefined || data.length > MAX_URB_BYTES)
    return undefined;
  if ((endpointAddress & ~(ENDPOINT_IN | 0x0f)) !== 0) return undefined;
  if (transfer.type !== "control") {
    const onDefaultPipe = (endpointAddress & 0x0f) === 0;
    return onDefaultPipe ? undefined : { transfer, isIn: (endpointAddress & ENDPOINT_IN) !== 0, data };
  }
  if (setup === undefined || setup.length !== setupPacket.size) return undefined;
  const { bmRequestType, wLength } = setupPacket.decode(setup);
  if (data.length < wLength) return undefined;
  return {
    transfer,
    isIn: (bmRequestType & REQUEST_TYPE.IN) !== 0 && wLength > 0,
    data: data.length === wLength ? data : data.subarray(0, wLength),
  };
}
