/** What is asked of an open line, apart from the writes: by the opener, and by the host to bring the line back. */
import { DeviceError, type RequestOptions } from "../rump/devsw.js";
import type { HostChannel } from "./host-channel.js";
import { type TtyAsker, TtyRequest, type TtyRequestFields } from "./host-tty-request.js";

/** Unanswered requests of the opener. */
const MAX_REQUESTS = 1024;

/** The process that serves the line, and how far it has come with it. */
export interface Remote {
  readonly channel: HostChannel;
  readonly nodeNumber: number;
  /** It has said that the line is open, and not that it is closed. */
  isOpen: boolean;
}

export interface RequestsContext {
  /** A request in flight when so many processes were lost is given up. */
  readonly maxLosses: number;
  /** The device has gone, says the driver. @returns true when it may come back: the request waits. */
  readonly departed: (error: DeviceError) => boolean;
  /** The driver has answered the opener. */
  readonly onAnswered: () => void;
}

export class LineRequests implements TtyAsker {
  readonly #context: RequestsContext;
  /** Of the opener, in their order; and those of them that are in flight. */
  readonly #pending = new Set<TtyRequest>();
  readonly #inFlight = new Set<TtyRequest>();
  /** Of the host itself: asked of one process, and not of the next. */
  readonly #own = new Set<TtyRequest>();
  /** Where the opener's requests go. */
  #remote: Remote | undefined;

  constructor(context: RequestsContext) {
    this.#context = context;
  }

  /** The host waits for answers of its own. */
  get hasOwn(): boolean {
    return this.#own.size > 0;
  }

  /**
   * Asks for the opener, of the process there is or of the next.
   * @param decode  Reads the reply; called when it comes, and again for the caller. @throws LinkError
   * @throws DeviceError as the driver says; ECANCELED, EBUSY, EIO.
   */
  async ask<T>(fields: TtyRequestFields, decode: (payload: Uint8Array) => T, options: RequestOptions): Promise<T> {
    const { signal } = options;
    if (signal?.aborted === true) throw cancelled();
    if (this.#pending.size >= MAX_REQUESTS)
      throw new DeviceError("EBUSY", `${this.#pending.size} requests wait already`);
    const request = new TtyRequest({ ...fields, check: decode }, this);
    if (signal !== undefined) request.watch(signal, () => this.#cancel(request));
    this.#pending.add(request);
    this.#send(request);
    return decode(await request.result);
  }

  /** Asks for the host, of this process only. @throws DeviceError as the driver says; ECANCELED: the channel was lost. */
  async askOwn<T>(
    { channel, nodeNumber }: Remote,
    fields: TtyRequestFields,
    decode: (payload: Uint8Array) => T,
  ): Promise<T> {
    const request = new TtyRequest({ ...fields, check: decode }, this);
    this.#own.add(request);
    channel.sendRequest(nodeNumber, request);
    return decode(await request.result);
  }

  /** What waits goes to this process, and so does what comes. */
  begin(remote: Remote): void {
    this.#remote = remote;
    for (const request of this.#pending) this.#send(request);
  }

  /** What comes waits. */
  hold(): void {
    this.#remote = undefined;
  }

  /** Asks the driver to stop working on what the host asks. */
  cancelOwn(remote: Remote): void {
    for (const own of this.#own) remote.channel.sendCancel(own);
  }

  /** The process is lost: what is unanswered waits for the next one. As NodeHalf.unbind. */
  unbind(isLoss: boolean): void {
    this.#remote = undefined;
    this.#dropOwn();
    for (const request of this.#inFlight) {
      if (isLoss) request.losses++;
      if (request.cancelled) this.#settle(request, cancelled());
      else if (request.losses >= this.#context.maxLosses) this.#settle(request, killer(request.losses, "this request"));
    }
    this.#inFlight.clear();
  }

  /** Everything of the opener ends now. */
  end(error: DeviceError): void {
    this.#remote = undefined;
    for (const request of this.#pending) request.reject(error);
    this.#pending.clear();
    this.#inFlight.clear();
  }

  answered(request: TtyRequest, error: DeviceError | undefined, payload: Uint8Array): void {
    const isOwn = this.#own.delete(request);
    if (!isOwn) {
      if (!this.#inFlight.delete(request)) return; // ended meanwhile; the caller has its answer
      if (error?.code === "ENODEV" && this.#context.departed(error)) return;
      this.#pending.delete(request);
      this.#context.onAnswered();
    }
    if (error === undefined) request.succeed(payload);
    else request.reject(error);
  }

  /** Not sent: it ends here. Sent: the driver is asked to stop, and its answer is the end. */
  #cancel(request: TtyRequest): void {
    if (this.#inFlight.has(request)) this.#remote?.channel.sendCancel(request);
    else this.#settle(request, cancelled());
  }

  #send(request: TtyRequest): void {
    if (this.#remote === undefined) return;
    this.#inFlight.add(request);
    this.#remote.channel.sendRequest(this.#remote.nodeNumber, request);
  }

  #settle(request: TtyRequest, error: DeviceError): void {
    this.#pending.delete(request);
    request.reject(error);
  }

  #dropOwn(): void {
    for (const own of this.#own) own.fail("ECANCELED", "the channel was lost");
    this.#own.clear();
  }
}

export function cancelled(): DeviceError {
  return new DeviceError("ECANCELED", "given up by the caller");
}

/** Why something is not tried again. */
export function killer(losses: number, what: string): DeviceError {
  return new DeviceError("EIO", `the driver process ended ${losses} times while it had ${what}`);
}
