/** A bus for one device model: transfers as promises, and what a mass-storage host sends over them. */
import { concat } from "../../src/bytes.js";
import type { Clock, Timer, TransferStatus, TransferType } from "../../src/rumpuser/rumpuser.js";
import { commandBlockWrapper, commandStatusWrapper } from "../../src/vdev/bot-wire.js";
import type { DeviceModel, Urb } from "../../src/vdev/model.js";

export interface Completion {
  readonly status: TransferStatus;
  readonly data: Uint8Array;
  readonly bytes: number;
}

/** Fires nothing by itself. */
export class ManualClock implements Clock {
  #now = 0;
  #timers: { at: number; fire: () => void }[] = [];

  nowMs(): number {
    return this.#now;
  }

  startTimer(delayMs: number, fire: () => void): Timer {
    const timer = { at: this.#now + delayMs, fire };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((one) => one !== timer)) };
  }

  get pendingTimers(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((one) => one !== due);
      this.#now = due.at;
      due.fire();
    }
    this.#now = until;
  }
}

/** A transfer on the test bus. */
export interface TestTransfer {
  readonly urb: Urb;
  /** Undefined while it is pending. */
  readonly completion: Completion | undefined;
  completions: number;
}

export interface CommandStatus {
  readonly tag: number;
  readonly residueBytes: number;
  readonly status: number;
}

export const BULK_IN = 0x81;
export const BULK_OUT = 0x02;

export class TestBus {
  readonly model: DeviceModel;
  #tag = 0;

  constructor(model: DeviceModel) {
    this.model = model;
  }

  start(
    type: TransferType,
    endpointAddress: number,
    of: { setup?: Uint8Array; out?: Uint8Array; maxBytes?: number; streamId?: number | undefined },
  ) {
    const transfer: { urb: Urb; completion: Completion | undefined; completions: number } = {
      urb: {
        type,
        endpointAddress,
        ...(of.setup === undefined ? {} : { setup: of.setup }),
        ...(of.streamId === undefined ? {} : { streamId: of.streamId }),
        out: of.out ?? new Uint8Array(0),
        maxBytes: of.maxBytes ?? 0,
        complete(status, data = new Uint8Array(0), actualBytes = data.length) {
          transfer.completions++;
          transfer.completion ??= { status, data: data.slice(), bytes: actualBytes };
        },
      },
      completion: undefined,
      completions: 0,
    };
    this.model.submit(transfer.urb);
    return transfer;
  }

  in(maxBytes: number, endpointAddress = BULK_IN): TestTransfer {
    return this.start("bulk", endpointAddress, { maxBytes });
  }

  out(out: Uint8Array, endpointAddress = BULK_OUT): TestTransfer {
    return this.start("bulk", endpointAddress, { out });
  }

  /** A control request; `data`: bytes to send, or how many to read. */
  control(bmRequestType: number, bRequest: number, wValue: number, wIndex: number, data: Uint8Array | number = 0) {
    const wLength = typeof data === "number" ? data : data.length;
    const setup = new Uint8Array(8);
    const view = new DataView(setup.buffer);
    setup.set([bmRequestType, bRequest]);
    view.setUint16(2, wValue, true);
    view.setUint16(4, wIndex, true);
    view.setUint16(6, wLength, true);
    return this.start("control", 0, typeof data === "number" ? { setup, maxBytes: data } : { setup, out: data });
  }

  /** Address and configuration 1, as a host would. */
  configure(): this {
    this.control(0x00, 9, 1, 0);
    return this;
  }

  clearHalt(endpointAddress: number): void {
    done(this.control(0x02, 1, 0, endpointAddress));
  }

  botReset(): void {
    done(this.control(0x21, 0xff, 0, 0));
  }

  /** A CBW; `bytes` negative = data goes to the host. */
  cbw(
    cdb: readonly number[],
    dataBytes: number,
    direction: "in" | "out",
    lun = 0,
  ): { tag: number; packet: Uint8Array } {
    const tag = ++this.#tag;
    const packet = commandBlockWrapper.encode({
      dCBWSignature: 0x43425355,
      dCBWTag: tag,
      dCBWDataTransferLength: dataBytes,
      bmCBWFlags: direction === "in" ? 0x80 : 0,
      bCBWLUN: lun,
      bCBWCBLength: Math.max(cdb.length, 1),
      CBWCB: Uint8Array.from(cdb),
    });
    return { tag, packet };
  }

  /** CBW, data in, CSW one after another, clearing halts as a host does. */
  read(cdb: readonly number[], bytes: number, lun = 0): CommandStatus & { data: Uint8Array; stalled: boolean } {
    const { packet } = this.cbw(cdb, bytes, "in", lun);
    done(this.out(packet));
    const parts: Uint8Array[] = [];
    let stalled = false;
    if (bytes > 0) {
      const { status, data } = done(this.in(bytes));
      parts.push(data);
      stalled = status === "stalled";
      if (stalled) this.clearHalt(BULK_IN);
    }
    return { ...this.csw(), data: concat(parts), stalled };
  }

  write(cdb: readonly number[], data: Uint8Array, lun = 0): CommandStatus & { sent: number; stalled: boolean } {
    const { packet } = this.cbw(cdb, data.length, "out", lun);
    done(this.out(packet));
    let sent = 0;
    let stalled = false;
    if (data.length > 0) {
      const { status, bytes } = done(this.out(data));
      sent = bytes;
      stalled = status === "stalled";
      if (stalled) this.clearHalt(BULK_OUT);
    }
    return { ...this.csw(), sent, stalled };
  }

  /** Reads the status stage, once more after a halt (BOT 1.0 §5.3.3). */
  csw(): CommandStatus {
    let completion = done(this.in(13));
    if (completion.status === "stalled") {
      this.clearHalt(BULK_IN);
      completion = done(this.in(13));
    }
    const csw = commandStatusWrapper.decode(completion.data);
    return { tag: csw.dCSWTag, residueBytes: csw.dCSWDataResidue, status: csw.bCSWStatus };
  }

  /** Key, ASC and ASCQ of REQUEST SENSE as hexadecimal: "5/24/00". */
  sense(lun = 0): string {
    const { data } = this.read([0x03, 0, 0, 0, 18, 0], 18, lun);
    const two = (at: number): string => (data[at] ?? 0).toString(16).padStart(2, "0");
    return `${((data[2] ?? 0) & 0xf).toString(16)}/${two(12)}/${two(13)}`;
  }
}

/** The completion of a transfer that must be over. */
export function done(transfer: TestTransfer): Completion {
  if (transfer.completion === undefined)
    throw new Error(`transfer on endpoint ${transfer.urb.endpointAddress.toString(16)}h is still pending`);
  return transfer.completion;
}

/** Bytes that differ from place to place. */
export function pattern(bytes: number, seed = 1): Uint8Array {
  const data = new Uint8Array(bytes);
  let state = seed >>> 0;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[at] = state >>> 24;
  }
  return data;
}
