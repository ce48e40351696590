/** What the host controller contract works with: transfers to the echo device, and a watch over `done`. */
import { expect } from "vitest";
import { setupPacket } from "../../src/dev/usb/usb.js";
import type { ChainResult, ChainStep, HcCompletion, HcTransfer, HostController } from "../../src/dev/usb/usbdivar.js";
import { ECHO, type EchoModel } from "../fakes/echo-model.js";

/** What a controller brings to the contract. */
export interface ControllerRig {
  /** With the model plugged into root port 1; nothing has been reset. */
  readonly hc: HostController;
  readonly model: EchoModel;
  /** Pulls the device out. */
  readonly unplug: () => void;
  /** Lets what is under way happen until the promise settles. */
  readonly until: <T>(promise: Promise<T>) => Promise<T>;
  readonly dispose: () => Promise<void>;
}

export const ADDRESS = 5;
export const NOTHING = new Uint8Array(0);

interface Control {
  readonly type: number;
  readonly request: number;
  readonly value?: number;
  readonly index?: number;
}

export const GET_DEVICE: Control = { type: 0x80, request: 6, value: 0x0100 };
export const SET_HALT: Control = { type: 0x02, request: 3, index: ECHO.COUNT_IN };
export const CLEAR_HALT: Control = { type: 0x02, request: 1, index: ECHO.COUNT_IN };

/** A control transfer; `data` is what is sent or the memory to fill. */
export function control(request: Control, data = NOTHING, address = ADDRESS): HcTransfer {
  const setup = setupPacket.encode({
    bmRequestType: request.type,
    bRequest: request.request,
    wValue: request.value ?? 0,
    wIndex: request.index ?? 0,
    wLength: data.length,
  });
  return { address, endpointAddress: 0, type: "control", setup, data };
}

export function bulk(endpointAddress: number, data: Uint8Array | number): HcTransfer {
  const type = endpointAddress === ECHO.SCRIPT_IN ? "interrupt" : "bulk";
  return { address: ADDRESS, endpointAddress, type, data: typeof data === "number" ? new Uint8Array(data) : data };
}

/** Something that was submitted. */
export interface Started<T> {
  readonly ended: Promise<T>;
  readonly cancel: () => void;
}

/** A rig that is made anew for every test, with ways to use it. */
export class Bench {
  #rig: ControllerRig | undefined;
  /** What `done` did and must not do. */
  #broken: string[] = [];

  get hc(): HostController {
    return this.#current().hc;
  }

  get model(): EchoModel {
    return this.#current().model;
  }

  async open(made: Promise<ControllerRig>): Promise<void> {
    this.#rig = await made;
    this.#broken = [];
  }

  /** Closes the controller; every `done` must have been called once and never from inside a submission. */
  async close(): Promise<void> {
    await this.until(this.hc.close());
    await this.#current().dispose();
    expect(this.#broken).toEqual([]);
  }

  readonly unplug = (): void => this.#current().unplug();

  readonly until = <T>(promise: Promise<T>): Promise<T> => this.#current().until(promise);

  readonly start = (transfer: HcTransfer): Started<HcCompletion> =>
    this.#watch("submit", (done) => this.hc.submit(transfer, done));

  readonly startChain = (steps: readonly ChainStep[]): Started<ChainResult> =>
    this.#watch("submitChain", (done) => this.hc.submitChain(steps, done));

  readonly run = (transfer: HcTransfer): Promise<HcCompletion> => this.until(this.start(transfer).ended);

  readonly all = (started: readonly Started<HcCompletion>[]): Promise<HcCompletion[]> =>
    this.until(Promise.all(started.map(({ ended }) => ended)));

  /** Default state, address, configured: USB 2.0 §9.1.2. */
  readonly bringUp = async (): Promise<void> => {
    await this.until(this.hc.ports.reset(1));
    const addressed = await this.run(control({ type: 0, request: 5, value: ADDRESS }, NOTHING, 0));
    const configured = await this.run(control({ type: 0, request: 9, value: 1 }));
    expect([addressed.status, configured.status]).toEqual(["ok", "ok"]);
    await this.until(this.hc.claimInterface(ADDRESS, 0));
  };

  /** What was submitted before has reached the device when this has come back. */
  readonly barrier = (): Promise<HcCompletion> => this.run(control(GET_DEVICE, new Uint8Array(18)));

  #current(): ControllerRig {
    if (this.#rig === undefined) throw new Error("no rig is open");
    return this.#rig;
  }

  #watch<T>(call: string, submit: (done: (result: T) => void) => () => void): Started<T> {
    let inside = true;
    let calls = 0;
    let cancel = (): void => undefined;
    const ended = new Promise<T>((resolve) => {
      cancel = submit((result) => {
        if (inside) this.#broken.push(`done was called inside ${call}`);
        if (++calls > 1) this.#broken.push(`done of ${call} was called ${calls} times`);
        resolve(result);
      });
    });
    inside = false;
    return { ended, cancel };
  }
}
