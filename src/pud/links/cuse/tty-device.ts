/**
 * A tty's calls as /dev/cuse brings them: each request is answered once, in any order; one program has it open at a time.
 *
 * What is bounded: requests that wait (MAX_WAITING), the bytes of each (the protocol), the queues of the line.
 */
import { constants } from "node:fs";
import type { Tty } from "../../../rump/devsw.js";
import type { LinkLog } from "../link.js";
import { messageOf } from "../errors.js";
import { FRESH_TERMIOS, type Termios } from "../tty/termios.js";
import { CallError, errnoOf } from "./call-error.js";
import { OpenLine } from "./open-line.js";
import {
  type CuseRequest,
  decodeRequest,
  encodeAnswer,
  encodeError,
  encodeIoctl,
  encodeIoctlRetry,
  encodeOpen,
  encodePoll,
  encodePollWakeup,
  encodeWritten,
  FUSE_IOCTL_32BIT,
  FUSE_POLL_SCHEDULE_NOTIFY,
  interruptIn,
  ioctlIn,
  OPCODES,
  openIn,
  pollIn,
  transferIn,
} from "./protocol.js";
import { ONLY_64_BIT, TTY_IOCTLS } from "./tty-ioctls.js";

/** Threads of one program that wait in calls. */
const MAX_WAITING = 64;

const POLLIN = 0x1 | 0x40;
const POLLOUT = 0x4 | 0x100;
const POLLHUP = 0x10;

export interface TtyDeviceOptions {
  readonly nodeName: string;
  readonly tty: Tty;
  readonly log: LinkLog;
  /** Gives bytes to the kernel, whole. */
  readonly answer: (bytes: Uint8Array) => void;
}

export class TtyDevice {
  readonly #options: TtyDeviceOptions;
  readonly #waiting = new Map<bigint, AbortController>();
  /** Stays from one program to the next, as with the kernel's ports. */
  #termios: Termios = FRESH_TERMIOS;
  #line: OpenLine | undefined;
  /** Names the open file in requests. */
  #handle = 0n;
  #inUse = false;
  /** What the kernel wants to be told of. */
  #polled: bigint | undefined;
  #closed = false;

  constructor(options: TtyDeviceOptions) {
    this.#options = options;
  }

  /** One request of the kernel's. `bytes` are lent for the call. */
  take(bytes: Uint8Array): void {
    const request = decodeRequest(bytes);
    if (request.opcode === OPCODES.interrupt) return this.#interrupt(request);
    void this.#serve(request);
  }

  /** Ends every call that waits, and closes the line. */
  async close(): Promise<void> {
    this.#closed = true;
    const line = this.#line;
    this.#line = undefined;
    await line?.close();
  }

  /** The kernel asks again until it is answered or what it interrupts is: nothing to say of requests that are not here. */
  #interrupt({ body }: CuseRequest): void {
    this.#waiting.get(interruptIn.decode(body).unique)?.abort();
  }

  async #serve(request: CuseRequest): Promise<void> {
    const { unique } = request;
    const cancel = new AbortController();
    const isRelease = request.opcode === OPCODES.release;
    try {
      if (this.#waiting.size >= MAX_WAITING && !isRelease)
        throw new CallError("ENOMEM", `${MAX_WAITING} calls wait already`);
      this.#waiting.set(unique, cancel);
      this.#answer(encodeAnswer(unique, await this.#call(request, cancel.signal)));
    } catch (error) {
      this.#answer(encodeError(unique, this.#errnoOf(error)));
    } finally {
      this.#waiting.delete(unique);
    }
  }

  #answer(bytes: Uint8Array): void {
    if (!this.#closed) this.#options.answer(bytes);
  }

  #errnoOf(error: unknown): number {
    const known = errnoOf(error);
    if (known !== undefined) return known;
    const { log, nodeName } = this.#options;
    log.write({ level: "error", source: nodeName, message: `tty-cuse: ${messageOf(error)}` });
    return errnoOf(new CallError("EIO", "failed")) ?? 5;
  }

  /** @returns the body of the answer */
  async #call({ opcode, body }: CuseRequest, signal: AbortSignal): Promise<Uint8Array> {
    switch (opcode) {
      case OPCODES.open:
        return await this.#open(body);
      case OPCODES.release:
        return await this.#release();
      case OPCODES.read:
        return await this.#read(body, signal);
      case OPCODES.write:
        return await this.#write(body, signal);
      case OPCODES.ioctl:
        return await this.#ioctl(body, signal);
      case OPCODES.poll:
        return this.#poll(body);
      default:
        throw new CallError("ENOSYS", `request ${opcode} is not a call of a character device`);
    }
  }

  async #open(body: Uint8Array): Promise<Uint8Array> {
    openIn.decode(body);
    if (this.#inUse) throw new CallError("EBUSY", "a program has it open");
    this.#inUse = true;
    try {
      if (this.#line?.ended === true) this.#line = undefined;
      if (this.#line === undefined)
        this.#line = await OpenLine.open(this.#options.tty, this.#termios, () => this.#wakePolled());
      else await this.#line.resume();
    } catch (error) {
      this.#inUse = false;
      throw error;
    }
    return encodeOpen(++this.#handle);
  }

  async #release(): Promise<Uint8Array> {
    const line = this.#line;
    if (line !== undefined) {
      this.#termios = line.termios;
      const stays = await line.leave();
      if (!stays && this.#line === line) this.#line = undefined;
    }
    this.#polled = undefined;
    this.#inUse = false;
    return new Uint8Array();
  }

  async #read(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { size, flags } = transferIn.decode(body);
    return await this.#openLine.read(size, isNonBlocking(flags), signal);
  }

  async #write(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { size, flags } = transferIn.decode(body);
    const data = body.subarray(transferIn.size, transferIn.size + size);
    return encodeWritten(await this.#openLine.write(data, isNonBlocking(flags), signal));
  }

  async #ioctl(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { cmd, flags, arg, inSize, outSize } = ioctlIn.decode(body);
    const ioctl = TTY_IOCTLS.get(cmd);
    if (ioctl === undefined || ((flags & FUSE_IOCTL_32BIT) !== 0 && ONLY_64_BIT.has(cmd)))
      throw new CallError("ENOTTY", `ioctl 0x${cmd.toString(16)} is not a tty's`);
    const { inBytes, outBytes } = ioctl;
    // The kernel has no memory of the program's with it before it is told how much.
    if (inSize < inBytes || outSize < outBytes) return encodeIoctlRetry(arg, inBytes, outBytes);
    const input = body.subarray(ioctlIn.size, ioctlIn.size + inBytes);
    if (input.length < inBytes) throw new CallError("EINVAL", `${input.length} bytes of ${inBytes}`);
    const argument = Number(BigInt.asIntN(32, arg));
    return encodeIoctl((await ioctl.run({ line: this.#openLine, argument, input, signal })) ?? undefined);
  }

  #poll(body: Uint8Array): Uint8Array {
    const { kh, flags } = pollIn.decode(body);
    if ((flags & FUSE_POLL_SCHEDULE_NOTIFY) !== 0) this.#polled = kh;
    const { readable, writable, ended } = this.#openLine;
    return encodePoll((readable ? POLLIN : 0) | (writable ? POLLOUT : 0) | (ended ? POLLHUP : 0));
  }

  /** The kernel asks anew when it is woken; once is enough until then. */
  #wakePolled(): void {
    const polled = this.#polled;
    if (polled === undefined) return;
    this.#polled = undefined;
    this.#answer(encodePollWakeup(polled));
  }

  get #openLine(): OpenLine {
    if (this.#line === undefined) throw new CallError("EIO", "the line has ended");
    return this.#line;
  }
}

function isNonBlocking(flags: number): boolean {
  return (flags & constants.O_NONBLOCK) !== 0;
}
