/** The kernel's side of /dev/cuse, as fs/fuse/cuse.c plays it, for one device. */
import { getSystemErrorName } from "node:util";
import { concat, viewOf } from "../../../../src/bytes.js";
import { TtyDevice } from "../../../../src/pud/links/cuse/tty-device.js";
import {
  inHeader,
  interruptIn,
  ioctlIn,
  OPCODES,
  openIn,
  pollIn,
  transferIn,
} from "../../../../src/pud/links/cuse/protocol.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";

const NONBLOCK = 0o4000;
const RETRY = 4;

export interface PendingCall {
  readonly unique: bigint;
  /** The body of the answer. @throws Error with the errno's name */
  readonly answered: Promise<Uint8Array>;
}

export class Kernel {
  readonly tty: MemoryTty;
  readonly device: TtyDevice;
  /** Poll handles that were woken. */
  readonly woken: bigint[] = [];
  readonly log: string[] = [];
  #unique = 0n;
  readonly #calls = new Map<bigint, { resolve: (body: Uint8Array) => void; reject: (error: Error) => void }>();

  constructor(tty = new MemoryTty()) {
    this.tty = tty;
    this.device = new TtyDevice({
      nodeName: "ttyU0",
      tty,
      log: { write: ({ message }) => this.log.push(message) },
      answer: (bytes) => this.#answered(bytes),
    });
  }

  get waitingCalls(): number {
    return this.#calls.size;
  }

  start(opcode: number, body: Uint8Array): PendingCall {
    const unique = (this.#unique += 2n);
    const answered = new Promise<Uint8Array>((resolve, reject) => this.#calls.set(unique, { resolve, reject }));
    this.device.take(this.#request(opcode, unique, body));
    return { unique, answered };
  }

  call(opcode: number, body: Uint8Array): Promise<Uint8Array> {
    return this.start(opcode, body).answered;
  }

  interrupt({ unique }: PendingCall): void {
    this.device.take(this.#request(OPCODES.interrupt, unique | 1n, interruptIn.encode({ unique })));
  }

  async open(): Promise<void> {
    await this.call(OPCODES.open, openIn.encode({ flags: 2, openFlags: 0 }));
  }

  async release(): Promise<void> {
    await this.call(OPCODES.release, new Uint8Array(24));
  }

  startRead(size: number, nonBlocking = false): PendingCall {
    return this.start(OPCODES.read, this.#transfer(size, nonBlocking));
  }

  async read(size: number, nonBlocking = false): Promise<string> {
    return Buffer.from(await this.startRead(size, nonBlocking).answered).toString("latin1");
  }

  startWrite(data: string | Uint8Array, nonBlocking = false): PendingCall {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    return this.start(OPCODES.write, concat([this.#transfer(bytes.length, nonBlocking), bytes]));
  }

  async write(data: string | Uint8Array, nonBlocking = false): Promise<number> {
    return viewOf(await this.startWrite(data, nonBlocking).answered).getUint32(0, true);
  }

  /** `memory`: what lies at the argument; what the call writes there is returned. */
  async ioctl(cmd: number, argument: number | Uint8Array = 0, flags = 2): Promise<Uint8Array> {
    const memory = typeof argument === "number" ? undefined : argument;
    const arg = typeof argument === "number" ? BigInt.asUintN(64, BigInt(argument)) : 0x7fff_1234_0000n;
    const first = await this.call(OPCODES.ioctl, ioctlIn.encode({ fh: 1n, flags, cmd, arg, inSize: 0, outSize: 0 }));
    const view = viewOf(first);
    if ((view.getUint32(4, true) & RETRY) === 0) return first.subarray(16);
    const inIovs = view.getUint32(8, true);
    const lengths = Array.from({ length: inIovs + view.getUint32(12, true) }, (_, index) => {
      if (view.getBigUint64(16 + 16 * index, true) !== arg) throw new Error("memory elsewhere is asked for");
      return Number(view.getBigUint64(24 + 16 * index, true));
    });
    const inSize = inIovs === 0 ? 0 : (lengths[0] ?? 0);
    const outSize = lengths[inIovs] ?? 0;
    const input = (memory ?? new Uint8Array(inSize)).subarray(0, inSize);
    const second = await this.call(
      OPCODES.ioctl,
      concat([ioctlIn.encode({ fh: 1n, flags, cmd, arg, inSize, outSize }), input]),
    );
    return second.subarray(16, 16 + outSize);
  }

  async int(cmd: number, value?: number): Promise<number> {
    const memory = new Uint8Array(4);
    if (value !== undefined) viewOf(memory).setInt32(0, value, true);
    const answer = await this.ioctl(cmd, memory);
    return answer.length === 4 ? viewOf(answer).getInt32(0, true) : 0;
  }

  async poll(notify = false): Promise<number> {
    const body = pollIn.encode({ fh: 1n, kh: 77n, flags: notify ? 1 : 0, events: 0xffff });
    return viewOf(await this.call(OPCODES.poll, body)).getUint32(0, true);
  }

  #transfer(size: number, nonBlocking: boolean): Uint8Array {
    const flags = nonBlocking ? NONBLOCK : 0;
    return transferIn.encode({ fh: 1n, offset: 0n, size, transferFlags: 0, lockOwner: 0n, flags, padding: 0 });
  }

  #request(opcode: number, unique: bigint, body: Uint8Array): Uint8Array {
    const header = { opcode, unique, nodeid: 0n, uid: 0, gid: 0, pid: 1, totalExtlen: 0, padding: 0 };
    return concat([inHeader.encode({ len: inHeader.size + body.length, ...header }), body]);
  }

  #answered(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    const error = view.getInt32(4, true);
    const unique = view.getBigUint64(8, true);
    if (view.getUint32(0, true) !== bytes.length) throw new Error("the answer has another length than it says");
    if (unique === 0n) {
      this.woken.push(view.getBigUint64(16, true));
      return;
    }
    const call = this.#calls.get(unique);
    if (call === undefined) throw new Error(`answer ${unique} to nothing, or a second one`);
    this.#calls.delete(unique);
    if (error === 0) call.resolve(bytes.slice(16));
    else call.reject(new Error(getSystemErrorName(error)));
  }
}
