/**
 * A device to test host controllers with: a vendor-specific high-speed device whose endpoints each do one thing.
 *
 * | endpoint | does                                                                                     |
 * |----------|------------------------------------------------------------------------------------------|
 * | 01 / 81  | loopback, bulk: an IN takes from the oldest OUT that is not used up; none = it waits      |
 * | 82       | bulk IN: four bytes `ca fe 00 NN`, NN counting                                            |
 * | 83 / 03  | bulk: never answers                                                                       |
 * | 84 / 04  | interrupt IN, bulk OUT: ends as `script` says; nothing scripted = it waits                |
 * | 0        | GET_DESCRIPTOR, SET_CONFIGURATION, SET/CLEAR_FEATURE(ENDPOINT_HALT); vendor OUT 01h keeps  |
 * |          | its data, vendor IN 02h returns it; everything else stalls                                |
 *
 * With `streams` it is a SuperSpeed device whose loopback endpoints have 16 bulk streams, a loop for each.
 *
 * Written from USB 2.0 ch. 9. Everything completes inside `submit` where it can: that controllers must not.
 */
import { concat } from "../../src/bytes.js";
import { setupPacket } from "../../src/dev/usb/usb.js";
import type { TransferStatus } from "../../src/rumpuser/rumpuser.js";
import type { DeviceModel, Urb } from "../../src/vdev/model.js";

export const ECHO = {
  LOOP_OUT: 0x01,
  LOOP_IN: 0x81,
  COUNT_IN: 0x82,
  NAK_IN: 0x83,
  NAK_OUT: 0x03,
  SCRIPT_IN: 0x84,
  SCRIPT_OUT: 0x04,
} as const;

const ENDPOINT_TYPES = [
  [0x01, 2],
  [0x81, 2],
  [0x82, 2],
  [0x83, 2],
  [0x03, 2],
  [0x84, 3],
  [0x04, 2],
] as const;

interface Scripted {
  readonly status: TransferStatus;
  readonly data: Uint8Array;
  readonly actualBytes: number;
}

export class EchoModel implements DeviceModel {
  readonly speed: "high" | "super";
  readonly deviceDescriptor = Uint8Array.of(18, 1, 0, 2, 0xff, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0, 1, 0, 0, 0, 1);
  readonly configurationDescriptor: Uint8Array;
  resets = 0;
  closed = false;
  /** URBs that the device has and has not completed, oldest first. */
  readonly pending: Urb[] = [];
  /** Every URB that was submitted, as `type endpoint`. */
  readonly seen: string[] = [];
  /** By stream; 0: none. */
  readonly #loops = new Map<number, Uint8Array[]>();
  readonly #halted = new Set<number>();
  readonly #scripts = new Map<number, Scripted[]>();
  #kept = new Uint8Array(0);
  #count = 0;
  #unplugged: (() => void) | undefined;

  constructor({ streams = false }: { readonly streams?: boolean } = {}) {
    this.speed = streams ? "super" : "high";
    this.configurationDescriptor = configuration(streams);
  }

  /** How the next transfer on a scripted endpoint ends. IN: with these bytes; OUT: having taken so many. */
  script(endpointAddress: number, status: TransferStatus, moved: Uint8Array | number): void {
    const queue = this.#scripts.get(endpointAddress) ?? [];
    this.#scripts.set(endpointAddress, queue);
    queue.push({
      status,
      data: typeof moved === "number" ? new Uint8Array(0) : moved,
      actualBytes: typeof moved === "number" ? moved : moved.length,
    });
    this.#serve();
  }

  /** The device unplugs itself. */
  unplug(): void {
    this.#unplugged?.();
  }

  submit(urb: Urb): void {
    this.seen.push(`${urb.type} ${urb.endpointAddress.toString(16)}`);
    if (urb.endpointAddress === 0) {
      this.#control(urb);
      return;
    }
    if (!ENDPOINT_TYPES.some(([address]) => address === urb.endpointAddress)) {
      urb.complete("error");
      return;
    }
    this.pending.push(urb);
    this.#serve();
  }

  unlink(urb: Urb): void {
    if (this.#take(urb)) urb.complete("cancelled");
  }

  reset(): void {
    this.resets++;
    this.#halted.clear();
    this.#loops.clear();
    for (const urb of this.pending.splice(0)) urb.complete("cancelled");
  }

  onUnplug(unplugged: () => void): void {
    this.#unplugged = unplugged;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #loopOf({ streamId = 0 }: Urb): Uint8Array[] {
    const loop = this.#loops.get(streamId) ?? [];
    this.#loops.set(streamId, loop);
    return loop;
  }

  #take(urb: Urb): boolean {
    const at = this.pending.indexOf(urb);
    if (at >= 0) this.pending.splice(at, 1);
    return at >= 0;
  }

  /** Serves until no endpoint's oldest URB can go on. */
  #serve(): void {
    for (let busy = true; busy; ) {
      busy = false;
      const tried = new Set<string>();
      for (const urb of this.pending) {
        const queue = `${urb.endpointAddress} ${urb.streamId ?? 0}`;
        if (tried.has(queue)) continue;
        tried.add(queue);
        const completion = this.#answer(urb);
        if (completion === undefined) continue;
        this.#take(urb);
        completion();
        busy = true;
        break;
      }
    }
  }

  #answer(urb: Urb): (() => void) | undefined {
    if (this.#halted.has(urb.endpointAddress)) return () => urb.complete("stalled");
    switch (urb.endpointAddress) {
      case ECHO.LOOP_OUT:
        return () => {
          this.#loopOf(urb).push(urb.out.slice());
          urb.complete("ok");
        };
      case ECHO.LOOP_IN: {
        const loop = this.#loopOf(urb);
        const [oldest] = loop;
        if (oldest === undefined) return undefined;
        const rest = oldest.subarray(urb.maxBytes);
        if (rest.length > 0) loop[0] = rest;
        else loop.shift();
        return () => urb.complete("ok", oldest.subarray(0, urb.maxBytes));
      }
      case ECHO.COUNT_IN:
        return () => urb.complete("ok", Uint8Array.of(0xca, 0xfe, 0, ++this.#count));
      case ECHO.SCRIPT_IN:
      case ECHO.SCRIPT_OUT: {
        const scripted = this.#scripts.get(urb.endpointAddress)?.shift();
        return scripted && (() => urb.complete(scripted.status, scripted.data, scripted.actualBytes));
      }
      default:
        return undefined;
    }
  }

  #control(urb: Urb): void {
    const { bmRequestType, bRequest, wValue, wIndex } = setupPacket.decode(urb.setup ?? new Uint8Array(0));
    switch (`${bmRequestType.toString(16)} ${bRequest.toString(16)} ${wValue.toString(16)}`) {
      case "80 6 100":
        return urb.complete("ok", this.deviceDescriptor.subarray(0, urb.maxBytes));
      case "80 6 200":
        return urb.complete("ok", this.configurationDescriptor.subarray(0, urb.maxBytes));
      case "0 9 1":
        return urb.complete("ok");
      case "2 3 0":
        this.#halted.add(wIndex);
        return urb.complete("ok");
      case "2 1 0":
        this.#halted.delete(wIndex);
        return urb.complete("ok");
      case "40 1 0":
        this.#kept = urb.out.slice();
        return urb.complete("ok");
      case "c0 2 0":
        return urb.complete("ok", this.#kept.subarray(0, urb.maxBytes));
      default:
        return urb.complete("stalled");
    }
  }
}

function configuration(streams: boolean): Uint8Array {
  const endpoints = ENDPOINT_TYPES.flatMap(([address, type]) => {
    const descriptor = Uint8Array.of(7, 5, address, type, 0x00, streams ? 0x04 : 0x02, 4);
    const exponent = address === ECHO.LOOP_IN || address === ECHO.LOOP_OUT ? 4 : 0;
    return streams ? [descriptor, Uint8Array.of(6, 48, 0, exponent, 0, 0)] : [descriptor];
  });
  const head = Uint8Array.of(9, 4, 0, 0, ENDPOINT_TYPES.length, 0xff, 0, 0, 0);
  const body = concat([head, ...endpoints]);
  return concat([Uint8Array.of(9, 2, 9 + body.length, 0, 1, 1, 0, 0x80, 50), body]);
}
