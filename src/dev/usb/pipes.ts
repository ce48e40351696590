/** Pipes: a driver's open ends of the endpoints of a device (USB 2.0 §5.3.2). */
import { encodeSetup, clearEndpointHalt } from "./requests.js";
import { TransferScope, transferError } from "./scope.js";
import { type Endpoint, maxStreams } from "./configuration.js";
import { ENDPOINT_IN } from "./usb.js";
import type {
  ControlPipe,
  ControlRequest,
  InCompletion,
  InPipe,
  OutCompletion,
  OutPipe,
  PipeStep,
  ReadEnd,
  ReadQueue,
  ReadQueueOptions,
  StepResult,
  TransferOptions,
} from "./usbdi.js";
import type { ChainStep, HcCompletion, HcReadEnd, HcTransfer } from "./usbdivar.js";

const NO_DATA = new Uint8Array(0);

/** The default pipe (USB 2.0 §5.3.1.2). `address` may change while it lives: a device is addressed once it is there. */
export class DefaultPipe implements ControlPipe {
  readonly #scope: TransferScope;
  readonly #address: () => number;

  constructor(scope: TransferScope, address: () => number) {
    this.#scope = scope;
    this.#address = address;
  }

  async in(request: ControlRequest, maxBytes: number, options?: TransferOptions): Promise<InCompletion> {
    const data = new Uint8Array(maxBytes);
    const completion = await this.#scope.run(this.#transfer(request, "in", data), options);
    const status = accepted(completion, () => `control in ${describe(request)}, ${maxBytes} bytes`);
    return { status, data: data.subarray(0, Math.min(completion.actualBytes, maxBytes)) };
  }

  async out(request: ControlRequest, data = NO_DATA, options?: TransferOptions): Promise<OutCompletion> {
    const completion = await this.#scope.run(this.#transfer(request, "out", data), options);
    const status = accepted(completion, () => `control out ${describe(request)}, ${data.length} bytes`);
    return { status, bytesSent: completion.actualBytes };
  }

  #transfer(request: ControlRequest, direction: "in" | "out", data: Uint8Array): HcTransfer {
    const setup = encodeSetup(request, direction, data.length);
    return { address: this.#address(), endpointAddress: 0, type: "control", setup, data };
  }
}

abstract class EndpointPipe {
  readonly endpointAddress: number;
  readonly maxPacketBytes: number;
  readonly endpoint: Endpoint;
  protected readonly scope: TransferScope;
  protected readonly address: () => number;
  readonly #control: ControlPipe;

  constructor(scope: TransferScope, address: () => number, endpoint: Endpoint, control: ControlPipe) {
    this.scope = scope;
    this.address = address;
    this.endpoint = endpoint;
    this.endpointAddress = endpoint.endpointAddress;
    this.maxPacketBytes = endpoint.maxPacketBytes;
    this.#control = control;
  }

  get maxStreams(): number {
    return maxStreams(this.endpoint);
  }

  async clearHalt(options?: TransferOptions): Promise<void> {
    const { status } = await this.#control.out(clearEndpointHalt(this.endpointAddress), NO_DATA, options);
    if (status === "stalled")
      throw transferError("stalled", `CLEAR_FEATURE(ENDPOINT_HALT) ${this.endpointAddress.toString(16)}h`, 0);
  }

  transferOf(data: Uint8Array, streamId?: number): HcTransfer {
    const transfer = { address: this.address(), endpointAddress: this.endpointAddress, type: this.endpoint.type, data };
    return streamId === undefined ? transfer : { ...transfer, streamId };
  }

  protected describe(bytes: number): string {
    const direction = (this.endpointAddress & ENDPOINT_IN) !== 0 ? "in" : "out";
    return `${this.endpoint.type} ${direction} ${this.endpointAddress.toString(16).padStart(2, "0")}h, ${bytes} bytes`;
  }
}

export class EndpointInPipe extends EndpointPipe implements InPipe {
  readonly direction = "in";

  async transfer(maxBytes: number, options?: TransferOptions): Promise<InCompletion> {
    const data = new Uint8Array(maxBytes);
    const completion = await this.scope.run(this.transferOf(data), options);
    const status = accepted(completion, () => this.describe(maxBytes));
    return { status, data: data.subarray(0, Math.min(completion.actualBytes, maxBytes)) };
  }

  openReads(options: ReadQueueOptions, told: (ends: readonly ReadEnd[]) => void): ReadQueue {
    const { count, bytes, repeatBytes = 0 } = options;
    const { type } = this.endpoint;
    if (type !== "bulk" && type !== "interrupt") throw new TypeError(`${this.describe(bytes)}: no queue of reads`);
    const memory = new Uint8Array(count * bytes);
    const reads = {
      address: this.address(),
      endpointAddress: this.endpointAddress,
      type,
      memory,
      slotBytes: bytes,
      repeatBytes,
    };
    return this.scope.openReads(reads, (ends) => told(ends.map((end) => this.#readEnd(end, bytes))));
  }

  #readEnd({ status, data }: HcReadEnd, bytes: number): ReadEnd {
    if (status === "ok" || status === "stalled") return { status, data };
    return { status: transferError(status, this.describe(bytes), data.length), data };
  }
}

export class EndpointOutPipe extends EndpointPipe implements OutPipe {
  readonly direction = "out";

  async transfer(
    data: Uint8Array,
    options: TransferOptions & { readonly sendZlp?: boolean } = {},
  ): Promise<OutCompletion> {
    const transfer = this.transferOf(data);
    const completion = await this.scope.run(
      options.sendZlp === true ? { ...transfer, sendZlp: true } : transfer,
      options,
    );
    const status = accepted(completion, () => this.describe(data.length));
    return { status, bytesSent: completion.actualBytes };
  }
}

/** A driver's chain as the controller takes it. */
export function runPipeChain(
  scope: TransferScope,
  steps: readonly PipeStep[],
  options?: TransferOptions,
): Promise<readonly StepResult[]> {
  const chain = steps.map((step): ChainStep => {
    if (!(step.pipe instanceof EndpointPipe)) throw new TypeError("a chain takes the pipes of its own attachment");
    const transfer = step.pipe.transferOf("into" in step ? step.into : step.data, step.streamId);
    return { transfer, after: step.after, with: step.with };
  });
  return scope.runChain(chain, options);
}

/** @throws TransferError for every status but "ok" and "stalled". */
function accepted(completion: HcCompletion, what: () => string): "ok" | "stalled" {
  if (completion.status === "ok" || completion.status === "stalled") return completion.status;
  throw transferError(completion.status, what(), completion.actualBytes);
}

function describe(request: ControlRequest): string {
  const { type, recipient, request: code, value, index } = request;
  return `${type} request ${code.toString(16)}h to the ${recipient}, value ${value.toString(16)}h, index ${index}`;
}
