/**
 * Which control requests a driver may send on the default pipe: rows beside the driver, everything else is refused here.
 *
 * A driver that was talked into it by its device, or by its bytes, sends no firmware: a storage driver has no vendor request and
 * no DFU request in its rows. Standard requests that change the state of the whole device are the stack's own (USB 2.0 §9.4).
 * Whoever has taken over the whole process can go round this; the descriptor is confined by the kernel for that.
 */
import { ENDPOINT_IN, FEATURE, REQUEST, REQUEST_TYPE } from "./usb.js";
import type {
  ControlPipe,
  ControlRequest,
  InCompletion,
  OutCompletion,
  RequestRule,
  TransferOptions,
} from "./usbdi.js";
import type { LogLevel } from "../../rumpuser/rumpuser.js";

/** The driver asked for a request that is not among its rows. Nothing was sent. */
export class RequestRefusedError extends Error {
  readonly code = "USB_REFUSED";

  constructor(request: string) {
    super(`${request} is not among the requests that this driver declares`);
    this.name = "RequestRefusedError";
  }
}

/** Standard requests of any driver: they read, or clear what the driver's own transfers have caused (USB 2.0 §9.4). */
export const STANDARD_REQUESTS: readonly RequestRule[] = [
  { direction: "in", type: "standard", recipient: "device", request: REQUEST.GET_STATUS },
  { direction: "in", type: "standard", recipient: "interface", request: REQUEST.GET_STATUS },
  { direction: "in", type: "standard", recipient: "endpoint", request: REQUEST.GET_STATUS },
  { direction: "in", type: "standard", recipient: "device", request: REQUEST.GET_DESCRIPTOR },
  { direction: "in", type: "standard", recipient: "interface", request: REQUEST.GET_DESCRIPTOR },
  { direction: "in", type: "standard", recipient: "device", request: REQUEST.GET_CONFIGURATION },
  { direction: "in", type: "standard", recipient: "interface", request: REQUEST.GET_INTERFACE },
  { direction: "in", type: "standard", recipient: "endpoint", request: REQUEST.SYNCH_FRAME },
  {
    direction: "out",
    type: "standard",
    recipient: "endpoint",
    request: REQUEST.CLEAR_FEATURE,
    value: FEATURE.ENDPOINT_HALT,
  },
];

const TYPES = { standard: REQUEST_TYPE.STANDARD, class: REQUEST_TYPE.CLASS, vendor: REQUEST_TYPE.VENDOR } as const;
const RECIPIENTS = {
  device: REQUEST_TYPE.DEVICE,
  interface: REQUEST_TYPE.INTERFACE,
  endpoint: REQUEST_TYPE.ENDPOINT,
  other: REQUEST_TYPE.OTHER,
} as const;

/** bmRequestType of a row (USB 2.0 Table 9-2). */
export function requestTypeOf({ direction, type, recipient }: RequestRule): number {
  return (direction === "in" ? ENDPOINT_IN : 0) | TYPES[type] | RECIPIENTS[recipient];
}

/**
 * @param rules  The driver's; undefined: it declares none, and may send every class and vendor request.
 * @param value  wValue.
 */
export function isAllowed(
  rules: readonly RequestRule[] | undefined,
  bmRequestType: number,
  bRequest: number,
  value: number,
): boolean {
  const fits = (rule: RequestRule): boolean =>
    requestTypeOf(rule) === bmRequestType && rule.request === bRequest && (rule.value ?? value) === value;
  if (STANDARD_REQUESTS.some(fits)) return true;
  if (rules !== undefined) return rules.some(fits);
  return (bmRequestType & REQUEST_TYPE.TYPE_MASK) !== REQUEST_TYPE.STANDARD;
}

/** A refusal is worth a line; a driver that goes on asking is not worth a log full of them. */
const MAX_LOGGED = 8;

export interface RequestGuardOptions {
  readonly rules: readonly RequestRule[] | undefined;
  readonly log: (level: LogLevel, message: string) => void;
}

/** The default pipe of one attachment. Rejects with RequestRefusedError what the driver does not declare. */
export class RequestGuard implements ControlPipe {
  readonly #pipe: ControlPipe;
  readonly #options: RequestGuardOptions;
  #refused = 0;

  constructor(pipe: ControlPipe, options: RequestGuardOptions) {
    this.#pipe = pipe;
    this.#options = options;
  }

  /** How many requests were refused. */
  get refused(): number {
    return this.#refused;
  }

  async in(request: ControlRequest, maxBytes: number, options?: TransferOptions): Promise<InCompletion> {
    this.#check(request, "in");
    return await this.#pipe.in(request, maxBytes, options);
  }

  async out(request: ControlRequest, data?: Uint8Array, options?: TransferOptions): Promise<OutCompletion> {
    this.#check(request, "out");
    return await this.#pipe.out(request, data, options);
  }

  #check(request: ControlRequest, direction: "in" | "out"): void {
    const bmRequestType = requestTypeOf({ ...request, direction });
    const { rules, log } = this.#options;
    if (isAllowed(rules, bmRequestType, request.request, request.value)) return;
    this.#refused++;
    const hex = (byte: number): string => `${byte.toString(16).padStart(2, "0")}h`;
    const what = `control request ${hex(bmRequestType)} ${hex(request.request)}, value ${request.value.toString(16)}h`;
    if (this.#refused <= MAX_LOGGED)
      log("warn", `refused (${this.#refused}): ${what}, which the driver does not declare`);
    throw new RequestRefusedError(what);
  }
}
