/**
 * A scope of transfers: one owner (a device, a driver's attachment) whose end ends them all.
 *
 * Hardware, timer, abort and detach race to end a transfer. The controller's completion settles it, always; what the others
 * do is ask for cancellation and leave their name, which decides the error when the controller says "cancelled".
 */
import type { Clock, Timer } from "../../rumpuser/rumpuser.js";
import { type TransferErrorCode, TransferError } from "./errors.js";
import { DEFAULT_TIMEOUT_MS, type StepResult, type TransferOptions } from "./usbdi.js";
import type {
  ChainResult,
  ChainStep,
  HcCompletion,
  HcReadEnd,
  HcReadQueue,
  HcReads,
  HcTransfer,
  TransferStatus,
} from "./usbdivar.js";

/** Why we asked the controller to cancel. */
export type EndCause = "timedOut" | "cancelled" | "disconnected";

/** The controller as a scope needs it. */
export interface TransferTarget {
  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void;
  submitChain(steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void;
  openReads(reads: HcReads, told: (ends: readonly HcReadEnd[]) => void): HcReadQueue;
}

const CANCELLED: HcCompletion = { status: "cancelled", actualBytes: 0 };
const NO_DATA = new Uint8Array(0);
const NOT_STARTED: StepResult = { status: "notStarted", actualBytes: 0 };

export class TransferScope {
  readonly #target: TransferTarget;
  readonly #clock: Clock;
  /** Signals that are listened to, each once however many transfers name it: most name the same one. */
  readonly #heard = new WeakSet<AbortSignal>();
  /**
   * In any order. An array: V8 links each table of a Set to the one that takes its place, and once one of them is old, what they
   * held, a flight for each transfer, survives until the next collection of everything.
   */
  readonly #inFlight: Flight[] = [];
  readonly #readQueues = new Set<ScopedReads>();
  #ended: EndCause | undefined;

  constructor(target: TransferTarget, clock: Clock) {
    this.#target = target;
    this.#clock = clock;
  }

  /** Runs one transfer; the completion's status says why when it was we who cancelled. Never rejects. */
  run(transfer: HcTransfer, options: TransferOptions = {}): Promise<HcCompletion> {
    return new Promise((resolve) => {
      const cause = this.#ended ?? (options.signal?.aborted === true ? "cancelled" : undefined);
      if (cause !== undefined) return resolve({ status: cause, actualBytes: 0 });
      const flight = this.#fly(options);
      flight.cancel = this.#target.submit(transfer, (completion) => {
        this.#land(flight);
        resolve(flight.cause === undefined ? completion : renamed(completion, flight.cause));
      });
    });
  }

  /** Runs a chain; as `run`, for each step. */
  runChain(steps: readonly ChainStep[], options: TransferOptions = {}): Promise<readonly StepResult[]> {
    return new Promise((resolve) => {
      const cause = this.#ended ?? (options.signal?.aborted === true ? "cancelled" : undefined);
      if (cause !== undefined) return resolve(steps.map(() => ({ status: cause, actualBytes: 0 })));
      const flight = this.#fly(options);
      flight.cancel = this.#target.submitChain(steps, (result) => {
        this.#land(flight);
        const { cause: ended } = flight;
        if (ended === undefined) resolve(result.map((completion) => completion ?? NOT_STARTED));
        else resolve(result.map((completion) => renamed(completion ?? CANCELLED, ended)));
      });
    });
  }

  /** As HostController.openReads, without a deadline: the statuses say why when it was we who cancelled. Close it. */
  openReads(reads: HcReads, told: (ends: readonly HcReadEnd[]) => void): HcReadQueue {
    const queue = new ScopedReads(
      this.#clock,
      (ended) => this.#target.openReads(reads, ended),
      told,
      () => this.#readQueues.delete(queue),
    );
    this.#readQueues.add(queue);
    if (this.#ended !== undefined) queue.end(this.#ended);
    return queue;
  }

  /** Cancels everything in flight and refuses what comes later, with the same cause. */
  end(cause: EndCause): void {
    this.#ended ??= cause;
    for (const flight of this.#inFlight.slice()) flight.end(cause);
    for (const queue of this.#readQueues) queue.end(cause);
  }

  #fly(options: TransferOptions): Flight {
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const { signal } = options;
    const flight = new Flight(signal);
    if (signal !== undefined && !this.#heard.has(signal)) this.#listen(signal);
    if (timeoutMs > 0) flight.timer = this.#clock.startTimer(timeoutMs, () => flight.end("timedOut"));
    flight.at = this.#inFlight.push(flight) - 1;
    return flight;
  }

  #land(flight: Flight): void {
    flight.timer?.cancel();
    const last = this.#inFlight.pop();
    if (last === undefined || last === flight) return;
    this.#inFlight[flight.at] = last;
    last.at = flight.at;
  }

  #listen(signal: AbortSignal): void {
    this.#heard.add(signal);
    const abort = (): void => {
      for (const flight of this.#inFlight.slice()) if (flight.signal === signal) flight.end("cancelled");
    };
    signal.addEventListener("abort", abort, { once: true });
  }
}

class Flight {
  /** Its place among those in flight. */
  at = 0;
  timer: Timer | undefined;
  cancel: () => void = () => {};
  /** Who asked first. */
  cause: EndCause | undefined;
  readonly signal: AbortSignal | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.signal = signal;
  }

  end(cause: EndCause): void {
    if (this.cause !== undefined) return;
    this.cause = cause;
    this.cancel();
  }
}

/** A queue of reads that ends with the scope. */
class ScopedReads implements HcReadQueue {
  readonly #clock: Clock;
  readonly #queue: HcReadQueue;
  readonly #told: (ends: readonly HcReadEnd[]) => void;
  readonly #closed: () => void;
  #cause: EndCause | undefined;

  constructor(
    clock: Clock,
    open: (told: (ends: readonly HcReadEnd[]) => void) => HcReadQueue,
    told: (ends: readonly HcReadEnd[]) => void,
    closed: () => void,
  ) {
    this.#clock = clock;
    this.#told = told;
    this.#closed = closed;
    this.#queue = open((ends) => this.#tell(ends));
  }

  start(count: number, bytes: number): void {
    const cause = this.#cause;
    if (cause === undefined) return this.#queue.start(count, bytes);
    const refused = Array.from({ length: count }, () => ({ status: cause, data: NO_DATA }));
    this.#clock.startTimer(0, () => this.#told(refused));
  }

  tellRepeats(on: boolean): void {
    this.#queue.tellRepeats(on);
  }

  cancel(): void {
    this.#queue.cancel();
  }

  close(): void {
    this.#queue.close();
    this.#closed();
  }

  end(cause: EndCause): void {
    if (this.#cause !== undefined) return;
    this.#cause = cause;
    this.#queue.cancel();
  }

  #tell(ends: readonly HcReadEnd[]): void {
    const cause = this.#cause;
    if (cause === undefined) return this.#told(ends);
    this.#told(ends.map((end) => (end.status === "cancelled" ? { ...end, status: cause } : end)));
  }
}

/** A transfer that we cancelled says why; one that the hardware ended first keeps its own word. */
function renamed(completion: HcCompletion, cause: EndCause): HcCompletion {
  return completion.status === "cancelled" ? { ...completion, status: cause } : completion;
}

const ERROR_CODES: Readonly<Record<Exclude<TransferStatus, "ok">, TransferErrorCode>> = {
  error: "USB_IO",
  timedOut: "USB_TIMED_OUT",
  cancelled: "USB_CANCELLED",
  stalled: "USB_STALLED",
  disconnected: "USB_DISCONNECTED",
  overflow: "USB_OVERFLOW",
};

/** The error for a completion that ends the conversation. `what` names the transfer: `bulk in 81h, 512 bytes`. */
export function transferError(status: Exclude<TransferStatus, "ok">, what: string, actualBytes: number): TransferError {
  return new TransferError(ERROR_CODES[status], `${what}: ${status} after ${actualBytes} bytes`);
}
