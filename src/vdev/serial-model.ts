/**
 * The base of serial adapters as device models: UARTs behind the endpoints of a USB function.
 *
 * A chip family says what its packets look like and which requests it knows; a request that it does not know, or that has
 * a wrong length, is stalled.
 */
import type { Clock } from "../rumpuser/rumpuser.js";
import type { SetupPacket } from "../dev/usb/usb.js";
import type { FunctionDescription } from "./descriptor-set.js";
import type { InEndpoint, OutEndpoint } from "./endpoint.js";
import { ACKNOWLEDGED, type ControlReply, UsbFunction } from "./function.js";
import { type SerialFault, SerialFaults } from "./serial-faults.js";
import { connectFarEnd } from "./serial-far-end.js";
import { Uart, type UartError, type UartOutputs, type UartSettings } from "./serial-uart.js";

/** What every family is made with. */
export interface SerialOptions {
  readonly clock: Clock;
  /** Bytes take the time of the rate. Default: they cross at once. */
  readonly paced?: boolean;
  /**
   * "loopback": each port hears itself; "null-modem": ports 0 and 1 hear each other; "listener", "talker": each has somebody at
   * the far end (serial-far-end.ts), which needs `paced`; "open": nothing is connected.
   */
  readonly wiring?: "loopback" | "null-modem" | "listener" | "talker" | "open";
  readonly faults?: readonly SerialFault[];
  /** idVendor and idProduct instead of the chip's. */
  readonly vendorId?: number;
  readonly productId?: number;
}

export interface PortLayout {
  readonly bulkIn: number;
  readonly bulkOut: number;
  readonly interruptIn?: number;
  readonly transmitBytes: number;
  readonly receiveBytes: number;
}

/** One UART with its endpoints. */
export interface SerialPort {
  readonly index: number;
  readonly uart: Uart;
  readonly faults: SerialFaults;
  readonly bulkIn: InEndpoint;
  readonly bulkOut: OutEndpoint;
  readonly interruptIn: InEndpoint | undefined;
  /** Lines or errors that the host has not been told. */
  toldLines: number;
  errors: UartError[];
  receivedBytes: number;
  /** What observers were told last. */
  toldLine: { readonly settings: UartSettings; readonly outputs: UartOutputs };
}

export abstract class SerialModel extends UsbFunction {
  readonly ports: readonly SerialPort[];
  protected readonly clock: Clock;
  #running = false;
  #again = false;

  /** @throws RangeError for a null modem on one port. */
  constructor(description: FunctionDescription, layouts: readonly PortLayout[], options: SerialOptions) {
    super({
      ...description,
      vendor: options.vendorId ?? description.vendor,
      product: options.productId ?? description.product,
    });
    const { clock, paced = false } = options;
    this.clock = clock;
    this.ports = layouts.map((layout, index) => {
      const uart = new Uart({ clock, paced, transmitBytes: layout.transmitBytes, receiveBytes: layout.receiveBytes });
      return {
        index,
        uart,
        faults: new SerialFaults(options.faults),
        bulkIn: this.inEndpoint(layout.bulkIn),
        bulkOut: this.outEndpoint(layout.bulkOut),
        interruptIn: layout.interruptIn === undefined ? undefined : this.inEndpoint(layout.interruptIn),
        toldLines: 0,
        errors: [],
        receivedBytes: 0,
        toldLine: { settings: uart.settings, outputs: uart.outputs },
      };
    });
    this.#connect(options.wiring ?? "loopback", paced);
    for (const port of this.ports) port.uart.onChange(() => this.onEndpointReady());
  }

  /** @throws RangeError: no such port. */
  port(index: number): SerialPort {
    const port = this.ports[index];
    if (port === undefined) throw new RangeError(`no port ${index}: the adapter has ${this.ports.length}`);
    return port;
  }

  /** Sends what the port has to the host. Called whenever something may have changed. */
  protected abstract serveIn(port: SerialPort): void;

  /** Tells lines and errors on the interrupt endpoint. */
  protected serveNotifications(_port: SerialPort): void {
    return;
  }

  /** A class or vendor request that has the right direction and length. */
  protected abstract request(setup: SetupPacket, out: Uint8Array): ControlReply;

  protected override onRequest(setup: SetupPacket, out: Uint8Array): ControlReply {
    const reply = this.request(setup, out);
    this.onEndpointReady();
    return reply;
  }

  protected override onEndpointReady(): void {
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    try {
      do {
        this.#again = false;
        for (const port of this.ports) this.#serve(port);
      } while (this.#again && this.configured);
    } finally {
      this.#running = false;
    }
  }

  protected override onReset(): void {
    for (const port of this.ports) {
      port.uart.reset();
      port.toldLines = 0;
      port.errors = [];
      port.receivedBytes = 0;
      this.#tellLine(port);
    }
  }

  /** Received bytes, with line faults that are due. */
  protected takeReceived(port: SerialPort, maxBytes: number): Uint8Array {
    const data = port.uart.takeReceived(maxBytes);
    port.receivedBytes += data.length;
    const errors = port.faults.takeErrors(port.receivedBytes);
    port.errors.push(...errors);
    if (errors.length > 0) this.onEndpointReady();
    return data;
  }

  /** Plain packets, and an empty one behind a full one. */
  protected servePlain(port: SerialPort): void {
    const { bulkIn, uart } = port;
    for (let room = bulkIn.room; room !== undefined; room = bulkIn.room) {
      if (port.faults.take("zlp")) {
        bulkIn.sendZlp();
        continue;
      }
      if (uart.receive.length === 0) return;
      const data = this.takeReceived(port, room);
      bulkIn.send(data, true);
      if (data.length % bulkIn.maxPacketBytes === 0 && data.length < room) bulkIn.sendZlp();
    }
  }

  /** Sends a status on the interrupt endpoint when it is new, there are errors, or a flood is asked for. */
  protected serveStatus(port: SerialPort, lines: number, encode: (errors: readonly UartError[]) => Uint8Array): void {
    const { interruptIn } = port;
    while (interruptIn?.room !== undefined) {
      const isNew = lines !== port.toldLines || port.errors.length > 0;
      if (!isNew && !port.faults.take("notify")) return;
      port.toldLines = lines;
      const notification = encode(port.errors.splice(0));
      for (let at = 0; at < notification.length; at += interruptIn.room ?? notification.length) {
        if (interruptIn.room === undefined) return;
        interruptIn.send(notification.subarray(at, at + interruptIn.room), true);
      }
    }
  }

  #serve(port: SerialPort): void {
    const { bulkOut, uart } = port;
    port.errors.push(...uart.takeErrors());
    this.#tellLine(port);
    for (let waiting = bulkOut.available; waiting !== undefined; waiting = bulkOut.available) {
      const taken = uart.transmit.push(waiting);
      if (taken === 0 && waiting.length > 0) break;
      bulkOut.take(taken);
      uart.run();
    }
    this.serveNotifications(port);
    this.serveIn(port);
  }

  #tellLine(port: SerialPort): void {
    const { settings, outputs } = port.uart;
    const told = port.toldLine;
    const sameSettings = settings === told.settings || isSame(settings, told.settings);
    if (sameSettings && isSame(outputs, told.outputs)) return;
    port.toldLine = { settings, outputs };
    this.tell({ kind: "line", port: port.index, settings, outputs });
  }

  #connect(wiring: NonNullable<SerialOptions["wiring"]>, paced: boolean): void {
    if (wiring === "loopback") for (const { uart } of this.ports) uart.loopBack();
    if (wiring === "null-modem") Uart.connect(this.port(0).uart, this.port(1).uart);
    if (wiring !== "listener" && wiring !== "talker") return;
    if (!paced) throw new RangeError(`wiring=${wiring} needs paced`);
    for (const { uart } of this.ports) connectFarEnd(uart, this.clock, wiring === "talker");
  }
}

/** All that `a` has is the same in `b`. */
function isSame<T extends object>(a: T, b: T): boolean {
  return Object.entries(a).every(([key, value]) => b[key as keyof T] === value);
}

/** A request as tables name it: `40 03` is a vendor request to the device, bRequest 3. */
export function requestKey(setup: SetupPacket): number {
  return (setup.bmRequestType << 8) | setup.bRequest;
}

/** Carries the request out when it is right, and stalls when not. */
export function when(right: boolean, then: () => void): ControlReply {
  if (!right) return "stalled";
  then();
  return ACKNOWLEDGED;
}
