/**
 * A rump process that several devices share, as the host sees it: a slot for each, and each slot looks like a process with one
 * device. What one does to the process, it does to all of them.
 *
 * | descriptor        | what                                                                                        |
 * | 0, 1, 2           | as with one device (spawn.ts)                                                               |
 * | 3                 | orders, a line of JSON each; and from there two bytes for each device that has ended        |
 * | 4                 | the way by which devices come, each before its order                                        |
 * | 5 to 4 + N        | the devices                                                                                 |
 * | 5 + N to 4 + 2 N  | their pud channels                                                                          |
 */
import type net from "node:net";
import { streamOfSocket } from "../rumpuser/real/byte-stream.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";
import type { DeviceConfig, DeviceOrder, SharedProcessConfig } from "../rump-process/config.js";
import type { ProcessExit } from "./process-exit.js";
import { type RumpPlace, type RumpStart, startProcess, type StartedProcess } from "./spawn.js";
import { type Deferred, deferred } from "./waits.js";

export interface SharedSpawn extends RumpStart {
  readonly config: Omit<SharedProcessConfig, "lock">;
}

/** @throws HostError as `spawnRump`. */
export async function spawnShared(options: SharedSpawn): Promise<SharedProcess> {
  return new SharedProcess(await startProcess(options, options.config));
}

interface Slot {
  readonly ended: Deferred<ProcessExit>;
  /** Its device was sent; who ends is the process. */
  begun: boolean;
  isOver: boolean;
}

export class SharedProcess {
  readonly #process: StartedProcess;
  readonly #orders: ByteStream;
  readonly #channels: readonly net.Socket[];
  readonly #slots: Slot[] = [];
  /** The first half of a report. */
  #reported: number | undefined;
  #isOver = false;

  constructor(process: StartedProcess) {
    const [orders, ...channels] = process.channels;
    if (orders === undefined) throw new Error("spawn made no way for orders");
    this.#process = process;
    this.#channels = channels;
    this.#orders = streamOfSocket(orders);
    this.#orders.onData((chunk) => {
      for (const byte of chunk) this.#hear(byte);
    });
    void process.exited.then((exit) => {
      this.#isOver = true;
      for (const { ended, isOver } of this.#slots) if (!isOver) ended.resolve(exit);
    });
  }

  get exited(): Promise<ProcessExit> {
    return this.#process.exited;
  }

  /** A slot that was not used before; undefined: there is none, or the process is ending. */
  lease(config: DeviceConfig): RumpPlace | undefined {
    const index = this.#slots.length;
    const channel = this.#channels[index];
    if (channel === undefined || this.#isOver) return undefined;
    const slot: Slot = { ended: deferred(), begun: false, isOver: false };
    this.#slots.push(slot);
    const process = this.#process;
    return {
      get pid() {
        return process.pid;
      },
      channel,
      hasMemory: false,
      locked: process.locked,
      sendDevice: (device) => {
        process.sendDevice(device);
        slot.begun = true;
        const order: DeviceOrder = { slot: index, device: config };
        this.#orders.write([new TextEncoder().encode(`${JSON.stringify(order)}\n`)]);
      },
      exited: slot.ended.promise,
      lastWords: process.lastWords,
      processorWaitMs: process.processorWaitMs,
      kill: () => {
        if (!slot.isOver) process.kill();
      },
      discard: () => {
        channel.destroy(); // the process lets go of the device, and says so
        if (!slot.begun) this.#end(slot, 0);
      },
    };
  }

  /** What comes from the process; what makes no sense means nothing. */
  #hear(byte: number): void {
    const index = this.#reported;
    this.#reported = index === undefined ? byte : undefined;
    const slot = index === undefined ? undefined : this.#slots[index];
    if (slot?.begun === true) this.#end(slot, byte);
  }

  /** The last one takes the process with it, and has ended when that has. */
  #end(slot: Slot, code: number): void {
    if (slot.isOver) return;
    slot.isOver = true;
    const isLast = this.#slots.every(({ isOver }) => isOver);
    if (isLast) {
      this.#isOver = true;
      this.#process.kill();
    }
    const exit = { code, signal: null };
    if (isLast) void this.#process.exited.then(() => slot.ended.resolve(exit));
    else slot.ended.resolve(exit);
  }
}
