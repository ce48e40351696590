/**
 * A SCSI command in progress: the data that the device means to move, and how it ends.
 *
 * Nothing is allocated from a length in the CDB: data is read from the medium as the host takes it, and written as it
 * arrives; parameter data has a bound.
 */
import { ImageError } from "../image.js";
import { CheckCondition, SENSE, type Sense } from "./sense.js";

/** Data to the host: `bytes` in all. */
export interface DataIn {
  readonly direction: "in";
  readonly bytes: number;
  /** @returns exactly `count` bytes from `at`, lent until the next write to the medium. */
  read(at: number, count: number): Uint8Array;
}

/** Data from the host: `bytes` in all, in order. `data` is lent for the call. */
export interface DataOut {
  readonly direction: "out";
  readonly bytes: number;
  write(at: number, data: Uint8Array): void;
  /** All of it has arrived. */
  finish(): void;
}

/** What a command wants to do after its checks; undefined = no data and done. Calls may throw CheckCondition. */
export type CommandData = DataIn | DataOut | undefined;

/** Parameter data at most: a parameter list length has 16 bits (SPC-4 §4.2.5.5). */
export const MAX_PARAMETER_BYTES = 0xffff;

/** Parameter data to the host, cut to the allocation length (SPC-4 §4.2.5.6). */
export function parameterData(data: Uint8Array, allocationLength = data.length): CommandData {
  const cut = data.subarray(0, allocationLength);
  if (cut.length === 0) return undefined;
  return { direction: "in", bytes: cut.length, read: (at, count) => cut.subarray(at, at + count) };
}

/** Collects a parameter list and hands it on when it is complete. `bytes` is at most MAX_PARAMETER_BYTES. */
export function parameterList(bytes: number, use: (list: Uint8Array) => void): CommandData {
  if (bytes === 0) return undefined;
  const list = new Uint8Array(Math.min(bytes, MAX_PARAMETER_BYTES));
  return {
    direction: "out",
    bytes: list.length,
    write: (at, data) => list.set(data, at),
    finish: () => use(list),
  };
}

/** A command between its CDB and its status. Never throws: what goes wrong becomes its sense data. */
export class ScsiTask {
  readonly #setSense: (sense: Sense) => void;
  #data: CommandData;
  #failure: Sense | undefined;

  /** `begin` checks the command and says what data it moves. `setSense` takes the sense data of a failure. */
  constructor(begin: () => CommandData, setSense: (sense: Sense) => void) {
    this.#setSense = setSense;
    this.#data = this.#guard(begin);
  }

  /** Direction and bytes that the device means to move. */
  get data(): { readonly direction: "in" | "out"; readonly bytes: number } | undefined {
    return this.#data;
  }

  /** The command ends with CHECK CONDITION. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Why it failed, for a transport that sends sense data with the status (SAM-5 §5.13 autosense). */
  get sense(): Sense | undefined {
    return this.#failure;
  }

  /** @returns the bytes, or undefined when the medium could not be read: the command has failed. */
  read(at: number, count: number): Uint8Array | undefined {
    const data = this.#data;
    if (data?.direction !== "in") return undefined;
    return this.#guard(() => data.read(at, count));
  }

  write(at: number, bytes: Uint8Array): void {
    const data = this.#data;
    if (data?.direction !== "out" || this.failed) return;
    this.#guard(() => data.write(at, bytes));
  }

  /** The data stage is complete. */
  finish(): void {
    const data = this.#data;
    if (data?.direction !== "out" || this.failed) return;
    this.#guard(() => data.finish());
  }

  /** The data stage ended before its time. */
  abort(): void {
    this.#fail(SENSE.DATA_PHASE_ERROR);
  }

  #guard<T>(act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      if (error instanceof CheckCondition) this.#fail(error.sense);
      else if (error instanceof ImageError) this.#fail(error.access === "write" ? SENSE.WRITE_ERROR : SENSE.READ_ERROR);
      else throw error;
      return undefined;
    }
  }

  #fail(sense: Sense): void {
    if (this.#failure !== undefined) return;
    this.#failure = sense;
    this.#setSense(sense);
  }
}
