/** One request on a serial line, other than a write. */
import type { DeviceError, DeviceErrorCode } from "../rump/devsw.js";
import { type FrameFields, HostRequest } from "./host-request.js";
import { decodeTtyFailure } from "./tty-payloads.js";

/** Whoever asked. */
export interface TtyAsker {
  /** The reply has come: `error` is undefined when it says yes. May throw a LinkError: the reply cannot be. */
  answered(request: TtyRequest, error: DeviceError | undefined, payload: Uint8Array): void;
}

export interface TtyRequestFields extends FrameFields {
  /** Reads a reply that says yes, to see that it can be. @throws LinkError */
  readonly check?: (payload: Uint8Array) => unknown;
  /** It may be cancelled without a signal. */
  readonly mayCancel?: boolean;
}

export class TtyRequest extends HostRequest {
  readonly #asker: TtyAsker;
  readonly #check: ((payload: Uint8Array) => unknown) | undefined;
  readonly #mayCancel: boolean;

  constructor({ check, mayCancel = false, ...fields }: TtyRequestFields, asker: TtyAsker) {
    super(fields);
    this.#mayCancel = mayCancel;
    this.#asker = asker;
    this.#check = check;
  }

  override get cancellable(): boolean {
    return this.#mayCancel || super.cancellable;
  }

  replyMemory(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  answered(failure: DeviceErrorCode | undefined, payload: Uint8Array): void {
    if (failure === undefined) this.#check?.(payload);
    const error = failure === undefined ? undefined : decodeTtyFailure(failure, payload, 0);
    this.#asker.answered(this, error, payload);
  }
}
