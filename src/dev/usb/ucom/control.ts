/** Class and vendor requests of serial chips: a stall or a short answer is an error, unless the caller says otherwise. */
import { ProtocolError } from "../errors.js";
import type { ControlPipe, ControlRequest } from "../usbdi.js";

/** Chips answer within a frame or two; one that does not is stuck, and the next request must not wait behind it for long. */
const REQUEST_TIMEOUT_MS = 1000;

export class ChipRequests {
  readonly #pipe: ControlPipe;
  /** The document that defines the requests. */
  readonly #spec: string;

  constructor(pipe: ControlPipe, spec: string) {
    this.#pipe = pipe;
    this.#spec = spec;
  }

  /** @throws ProtocolError when the device stalls; TransferError. */
  async out(request: ControlRequest, data?: Uint8Array): Promise<void> {
    if (await this.tryOut(request, data)) return;
    throw new ProtocolError(`${describe(request)} stalled`, this.#spec);
  }

  /** @returns false when the device does not know the request. */
  async tryOut(request: ControlRequest, data?: Uint8Array): Promise<boolean> {
    const { status } = await this.#pipe.out(request, data, { timeoutMs: REQUEST_TIMEOUT_MS });
    return status === "ok";
  }

  /** @returns exactly so many bytes. @throws ProtocolError when the device stalls or answers with fewer; TransferError. */
  async in(request: ControlRequest, bytes: number): Promise<Uint8Array> {
    const data = await this.tryIn(request, bytes);
    if (data === undefined) throw new ProtocolError(`${describe(request)} stalled`, this.#spec);
    if (data.length < bytes)
      throw new ProtocolError(`${describe(request)}: ${data.length} of ${bytes} bytes`, this.#spec, data);
    return data;
  }

  /** @returns what came, at most so many bytes; undefined when the device does not know the request. */
  async tryIn(request: ControlRequest, maxBytes: number): Promise<Uint8Array | undefined> {
    const { status, data } = await this.#pipe.in(request, maxBytes, { timeoutMs: REQUEST_TIMEOUT_MS });
    return status === "ok" ? data : undefined;
  }
}

function describe({ request, value, index }: ControlRequest): string {
  return `request ${request.toString(16)}h, value ${value.toString(16)}h, index ${index.toString(16)}h`;
}
