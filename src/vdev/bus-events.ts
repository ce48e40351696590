/** What a model tells an observer: bus events as they happen, and the counters that follow from them. */
import type { SetupPacket } from "../dev/usb/usb.js";
import type { TransferStatus } from "../rumpuser/rumpuser.js";
import type { UartOutputs, UartSettings } from "./serial-uart.js";

/** One thing that happened at the device, seen from the device. */
export type BusEvent =
  | {
      readonly kind: "control";
      readonly setup: SetupPacket;
      readonly status: TransferStatus;
      /** The data stage, lent for the call: what the host sent, or what the device answers. */
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "transfer";
      readonly endpointAddress: number;
      readonly status: TransferStatus;
      readonly bytes: number;
    }
  | { readonly kind: "halted" | "haltCleared"; readonly endpointAddress: number }
  | { readonly kind: "configured"; readonly configurationValue: number }
  | { readonly kind: "busReset" | "transportReset" | "unplugged" }
  | {
      readonly kind: "command";
      readonly lun: number;
      readonly tag: number;
      readonly cdb: Uint8Array;
      /** "READ (10)". */
      readonly name: string;
    }
  | { readonly kind: "status"; readonly tag: number; readonly status: number; readonly residueBytes: number }
  /** A serial line has other settings, or drives its outputs otherwise, than it was last told. */
  | {
      readonly kind: "line";
      readonly port: number;
      readonly settings: UartSettings;
      readonly outputs: UartOutputs;
    };

export type BusListener = (event: BusEvent) => void;

/** Counts since the model was made. */
export class BusCounters {
  /** Transfers completed on any endpoint but the default pipe. */
  transfers = 0;
  controlRequests = 0;
  /** CLEAR_FEATURE(ENDPOINT_HALT) requests, also for an endpoint that was not halted. */
  haltsCleared = 0;
  busResets = 0;
  /** Bulk-Only Mass Storage Resets (BOT 1.0 §3.1). */
  transportResets = 0;
  readonly #commands = new Map<number, number>();

  /** SCSI commands received with this operation code. */
  commands(operationCode: number): number {
    return this.#commands.get(operationCode) ?? 0;
  }

  count(event: BusEvent): void {
    switch (event.kind) {
      case "transfer":
        this.transfers++;
        break;
      case "control":
        this.controlRequests++;
        break;
      case "haltCleared":
        this.haltsCleared++;
        break;
      case "busReset":
        this.busResets++;
        break;
      case "transportReset":
        this.transportResets++;
        break;
      case "command": {
        const operationCode = event.cdb[0] ?? 0;
        this.#commands.set(operationCode, this.commands(operationCode) + 1);
        break;
      }
      case "halted":
      case "configured":
      case "unplugged":
      case "status":
      case "line":
        break;
    }
  }
}
