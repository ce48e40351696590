/**
 * The base of device models: a USB function with its default pipe (chapter9.ts), its endpoints (endpoint.ts), its events
 * and its counters. What is special about a device goes into the hooks.
 *
 * An endpoint that the current configuration does not have does not answer: its transfers end as "error".
 */
import { REQUEST_TYPE, setupPacket } from "../dev/usb/usb.js";
import type { SetupPacket } from "../dev/usb/usb.js";
import type { Speed, TransferStatus } from "../rumpuser/rumpuser.js";
import { BusCounters, type BusEvent, type BusListener } from "./bus-events.js";
import { Chapter9, type ControlReply } from "./chapter9.js";
import type { FunctionDescription } from "./descriptor-set.js";
import { InEndpoint, OutEndpoint } from "./endpoint.js";
import type { DeviceModel, Urb } from "./model.js";

export { ACKNOWLEDGED, type ControlReply } from "./chapter9.js";

export class UsbFunction implements DeviceModel {
  readonly speed: Speed;
  readonly counters = new BusCounters();
  readonly #chapter9: Chapter9;
  /** Control transfers that a hook holds (NAK). */
  readonly #heldControl = new Set<Urb>();
  readonly #listeners = new Set<BusListener>();
  #unplugged: (() => void) | undefined;

  /** @throws RangeError when a string does not fit its descriptor. */
  constructor(description: FunctionDescription) {
    this.speed = description.speed;
    this.#chapter9 = new Chapter9(description, {
      transferEnded: (endpointAddress, status, bytes) =>
        this.tell({ kind: "transfer", endpointAddress, status, bytes }),
      configured: (configurationValue) => {
        this.tell({ kind: "configured", configurationValue });
        this.onConfigured();
      },
      haltChanged: (endpointAddress, halted) => {
        this.tell({ kind: halted ? "halted" : "haltCleared", endpointAddress });
        if (!halted) this.onHaltCleared(endpointAddress);
      },
    });
  }

  get deviceDescriptor(): Uint8Array {
    return this.#chapter9.descriptors.device;
  }

  get configurationDescriptor(): Uint8Array {
    return this.#chapter9.descriptors.configuration;
  }

  get configured(): boolean {
    return this.#chapter9.configuration !== 0;
  }

  submit(urb: Urb): void {
    if (urb.endpointAddress === 0) this.#control(urb);
    else {
      const endpoint = this.#chapter9.activeEndpoint(urb.endpointAddress);
      if (endpoint === undefined) urb.complete("error");
      else if (this.onTransfer(urb)) endpoint.submit(urb);
    }
    this.onEndpointReady();
  }

  unlink(urb: Urb): void {
    if (this.#heldControl.delete(urb)) urb.complete("cancelled");
    else this.#chapter9.endpoint(urb.endpointAddress)?.unlink(urb);
  }

  reset(): void {
    this.tell({ kind: "busReset" });
    this.#endAll("cancelled");
    this.onReset();
  }

  onUnplug(unplugged: () => void): void {
    this.#unplugged = unplugged;
  }

  /** Pulls the plug: transfers end as "disconnected", the device is back in its default state, the bus is told. */
  unplug(): void {
    this.tell({ kind: "unplugged" });
    this.#endAll("disconnected");
    this.onReset();
    this.#unplugged?.();
  }

  async close(): Promise<void> {
    this.#endAll("disconnected");
    this.onReset();
    await this.onClose();
  }

  /** Calls `listener` for every event from now on. @returns stops that. */
  observe(listener: BusListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Hooks

  /** A class or vendor request. `out` is the data stage of an OUT request, lent for the call. */
  protected onRequest(_setup: SetupPacket, _out: Uint8Array): ControlReply {
    return "stalled";
  }

  /**
   * A chance to change what the default pipe answers; `answer` carries the request out and says what it gives. "held" =
   * NAK for now: until `later` is called with the answer, or the host gives up (`later` does nothing then).
   */
  protected onControl(
    _setup: SetupPacket,
    answer: () => ControlReply,
    _later: (reply: ControlReply) => void,
  ): ControlReply | "held" {
    return answer();
  }

  /** A transfer for an endpoint arrives. @returns false when the hook has completed it itself. */
  protected onTransfer(_urb: Urb): boolean {
    return true;
  }

  /** Something was queued, answered or cleared: go on with whatever waited for it. Must bear re-entry. */
  protected onEndpointReady(): void {
    return;
  }

  /** The host cleared a halt; called before `onEndpointReady`. */
  protected onHaltCleared(_endpointAddress: number): void {
    return;
  }

  /** A configuration or an alternate setting was selected: transport state starts anew. */
  protected onConfigured(): void {
    return;
  }

  /** Bus reset, unplug or close: queues are empty, nothing is halted, nothing is configured. */
  protected onReset(): void {
    return;
  }

  protected onClose(): Promise<void> {
    return Promise.resolve();
  }

  // -------------------------------------------------------------------------------------------------------------------
  // For the model that is built on this

  /** The alternate setting of an interface; undefined when the device is not configured, or has no such interface. */
  protected alternateSetting(interfaceNumber: number): number | undefined {
    return this.#chapter9.alternateSetting(interfaceNumber);
  }

  /** @throws RangeError for an endpoint that the description does not have. */
  protected inEndpoint(endpointAddress: number): InEndpoint {
    const endpoint = this.#chapter9.endpoint(endpointAddress);
    if (endpoint instanceof InEndpoint) return endpoint;
    throw new RangeError(`the description has no IN endpoint ${endpointAddress.toString(16)}h`);
  }

  /** @throws RangeError for an endpoint that the description does not have. */
  protected outEndpoint(endpointAddress: number): OutEndpoint {
    const endpoint = this.#chapter9.endpoint(endpointAddress);
    if (endpoint instanceof OutEndpoint) return endpoint;
    throw new RangeError(`the description has no OUT endpoint ${endpointAddress.toString(16)}h`);
  }

  protected tell(event: BusEvent): void {
    this.counters.count(event);
    for (const listener of this.#listeners) listener(event);
  }

  #control(urb: Urb): void {
    if (urb.setup === undefined || urb.setup.length < setupPacket.size) {
      urb.complete("error");
      return;
    }
    const setup = setupPacket.decode(urb.setup);
    // Held from the start, so that a hook which unplugs or resets the device ends this transfer too.
    this.#heldControl.add(urb);
    const finish = (reply: ControlReply): void => {
      if (this.#heldControl.delete(urb)) this.#completeControl(urb, setup, reply);
    };
    const reply = this.onControl(setup, () => this.#answer(setup, urb.out), finish);
    if (reply !== "held") finish(reply);
  }

  #completeControl(urb: Urb, setup: SetupPacket, reply: ControlReply): void {
    const isOut = (setup.bmRequestType & REQUEST_TYPE.IN) === 0;
    if (reply === "stalled") {
      this.tell({ kind: "control", setup, status: "stalled", data: urb.out });
      urb.complete("stalled");
      return;
    }
    const data = isOut ? urb.out : reply.subarray(0, Math.min(setup.wLength, urb.maxBytes));
    this.tell({ kind: "control", setup, status: "ok", data });
    if (isOut) urb.complete("ok", undefined, data.length);
    else urb.complete("ok", data, data.length);
  }

  #answer(setup: SetupPacket, out: Uint8Array): ControlReply {
    const isIn = (setup.bmRequestType & REQUEST_TYPE.IN) !== 0;
    if (!isIn && out.length !== setup.wLength) return "stalled";
    if ((setup.bmRequestType & REQUEST_TYPE.TYPE_MASK) !== REQUEST_TYPE.STANDARD) return this.onRequest(setup, out);
    return this.#chapter9.request(setup, out);
  }

  #endAll(status: TransferStatus): void {
    this.#chapter9.leaveConfiguration(status);
    const held = [...this.#heldControl];
    this.#heldControl.clear();
    for (const urb of held) urb.complete(status);
  }
}
