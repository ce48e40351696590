/** A serial line's node on the host: the tty that links see, and whoever has it open. */
import {
  DeviceError,
  type DeviceErrorCode,
  type RequestOptions,
  type Tty,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
} from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { deviceErrorCodeOf, type FrameHeader, KIND_BY_NUMBER, KINDS } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import type { NodeContext, NodeHalf } from "./host-node.js";
import type { HostLine } from "./host-tty-line.js";
import { decodeText } from "./text.js";

const LINE_FRAMES: ReadonlySet<number> = new Set(
  [KINDS.ttyData, KINDS.ttyChanged, KINDS.ttyClosed].map(({ number }) => number),
);

/** A busy machine must not cost bytes: those that a process holds go with it. */
const PATIENCE_MS = 1_000;

export class TtyNode implements NodeHalf {
  readonly patienceMs = PATIENCE_MS;
  /** The same object for as long as the node exists, also across driver processes where the host holds on to it. */
  readonly device: Tty;
  readonly #context: NodeContext;
  #served: { readonly channel: HostChannel; readonly nodeNumber: number } | undefined;
  /** Open, being opened, or being closed. */
  #line: HostLine | undefined;
  /** Somebody opens it, and its code is being loaded. */
  #isLoading = false;
  #closed: DeviceError | undefined;
  /** The device has gone and may come back. */
  #isAway = false;

  constructor(info: TtyInfo, context: NodeContext) {
    this.#context = context;
    this.device = { kind: "tty", info, open: (how, receiver, options) => this.#open(how, receiver, options) };
  }

  get bound(): boolean {
    return this.#served !== undefined;
  }

  begin(channel: HostChannel, nodeNumber: number): void {
    this.resume(channel, nodeNumber, false);
  }

  resume(channel: HostChannel, nodeNumber: number, isDoubtful: boolean): undefined {
    this.#served = { channel, nodeNumber };
    this.#isAway = false;
    this.#line?.bind(channel, nodeNumber, isDoubtful);
  }

  unbind(isLoss: boolean): void {
    this.#served = undefined;
    this.#isAway = !isLoss;
    this.#line?.unbind(isLoss);
  }

  pump(): void {
    this.#line?.pump();
  }

  admit(header: FrameHeader): void {
    const name = KIND_BY_NUMBER.get(header.kind)?.name ?? `kind ${header.kind}`;
    if (!LINE_FRAMES.has(header.kind)) throw new LinkError("PUD_KIND", `${name} from node ${header.node}, a tty`);
    if (this.#line === undefined) throw new LinkError("PUD_ORDER", `${name}: nobody has the line open`);
    this.#line.admit(header);
  }

  take(header: FrameHeader, payload: Uint8Array): void {
    if (header.kind !== KINDS.ttyClosed.number) return this.#line?.take(header, payload);
    const code = deviceErrorCodeOf(header.status);
    if (code === undefined) throw new LinkError("PUD_LINE", `TTY_CLOSED with status ${header.status}`);
    this.#line?.closedByDriver(new DeviceError(code, decodeText(payload)));
  }

  close(code: DeviceErrorCode, reason: string): void {
    this.#closed ??= new DeviceError(code, reason);
    this.#line?.refuse(this.#closed);
  }

  /** The opener of a device that has gone is told that it has; what waits of a disk is said to have failed. */
  end(code: DeviceErrorCode, reason: string): void {
    const error = new DeviceError(code === "EIO" && !this.#isAway ? "EIO" : "ENODEV", reason);
    this.#closed = error;
    this.#served = undefined;
    this.#line?.end(error);
  }

  async whenIdle(): Promise<void> {
    await this.#line?.linger(this.#closed ?? new DeviceError("ENODEV", "the device is being shut down"));
  }

  async #open(how: TtyOpen, receiver: TtyReceiver, { signal }: RequestOptions = {}): Promise<TtyPort> {
    const { info } = this.device;
    this.#checkOpen(signal);
    if (this.#line !== undefined || this.#isLoading)
      throw new DeviceError("EBUSY", `open: ${info.model} is open already`);
    this.#isLoading = true;
    let Line: typeof HostLine;
    try {
      Line = await this.#context.loadTtyLine();
    } catch (error) {
      throw new DeviceError("EIO", `open: its code cannot be loaded: ${String(error)}`, { cause: error });
    } finally {
      this.#isLoading = false;
    }
    this.#checkOpen(signal);
    const line: HostLine = new Line(how, receiver, {
      ...this.#context,
      info,
      onGone: () => {
        if (this.#line === line) this.#line = undefined;
      },
    });
    this.#line = line;
    const opened = line.opened(signal);
    if (this.#served !== undefined) line.bind(this.#served.channel, this.#served.nodeNumber, false);
    return await opened;
  }

  #checkOpen(signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) throw new DeviceError("ECANCELED", "open: given up by the caller");
    if (this.#closed !== undefined) throw new DeviceError(this.#closed.code, `open: ${this.#closed.message}`);
  }
}
