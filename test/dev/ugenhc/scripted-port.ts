/** A USB port that does what a test says: every call and transfer is kept, and ends when the test ends it. */
import { runChain } from "../../../src/dev/usb/chain.js";
import type {
  PortChainResult,
  PortChainStep,
  PortCompletion,
  PortResult,
  PortTransfer,
  UsbPort,
} from "../../../src/rumpuser/rumpuser.js";

export interface HeldTransfer {
  readonly transfer: PortTransfer;
  readonly end: (completion: PortCompletion) => void;
  cancelled: boolean;
}

export class ScriptedPort implements UsbPort {
  readonly speed = "super";
  /** "clearHalt 129", in order. */
  readonly calls: string[] = [];
  readonly held: HeldTransfer[] = [];
  /** The setup packet of every control transfer that ever came. */
  readonly sent: Uint8Array[] = [];
  /** What each call answers; "ok" where nothing is said. An Error makes the call reject. */
  readonly answers: Record<string, PortResult | Error> = {};
  /** Calls wait for `release` while this is set. */
  hold = false;
  active = 1;
  closed = false;
  /** Transfers end at once, as "ok" with everything moved. */
  immediate = false;
  #release: (() => void)[] = [];
  #gone: (() => void) | undefined;

  submit(transfer: PortTransfer, done: (completion: PortCompletion) => void): () => void {
    const held: HeldTransfer = {
      transfer,
      cancelled: false,
      end: (completion) => {
        this.held.splice(this.held.indexOf(held), 1);
        done(completion);
      },
    };
    this.held.push(held);
    if (transfer.setup !== undefined) this.sent.push(transfer.setup);
    if (this.immediate)
      void Promise.resolve().then(() => held.end({ status: "ok", actualBytes: transfer.data.length }));
    return () => {
      held.cancelled = true;
    };
  }

  submitChain(steps: readonly PortChainStep[], done: (result: PortChainResult) => void): () => void {
    return runChain<PortTransfer>((transfer, stepDone) => this.submit(transfer, stepDone), steps, done);
  }

  async configuration(): Promise<number> {
    const answer = await this.#call("configuration");
    if (answer !== "ok") throw new Error(`configuration: ${answer}`);
    return this.active;
  }

  setConfiguration(value: number): Promise<PortResult> {
    return this.#call("setConfiguration", value);
  }

  claimInterface(interfaceNumber: number): Promise<PortResult> {
    return this.#call("claimInterface", interfaceNumber);
  }

  releaseInterface(interfaceNumber: number): Promise<PortResult> {
    return this.#call("releaseInterface", interfaceNumber);
  }

  setInterface(interfaceNumber: number, alternateSetting: number): Promise<PortResult> {
    return this.#call("setInterface", interfaceNumber, alternateSetting);
  }

  clearHalt(endpointAddress: number): Promise<PortResult> {
    return this.#call("clearHalt", endpointAddress);
  }

  async allocStreams(count: number, endpointAddresses: readonly number[]): Promise<number | PortResult> {
    const answer = await this.#call("allocStreams", count, ...endpointAddresses);
    return answer === "ok" ? count : answer;
  }

  freeStreams(endpointAddresses: readonly number[]): Promise<PortResult> {
    return this.#call("freeStreams", ...endpointAddresses);
  }

  reset(): Promise<PortResult> {
    return this.#call("reset");
  }

  onDisconnect(gone: () => void): void {
    this.#gone = gone;
  }

  close(): void {
    this.closed = true;
    for (const held of Array.from(this.held)) held.end({ status: "cancelled", actualBytes: 0 });
  }

  disconnect(): void {
    this.#gone?.();
  }

  release(): void {
    this.hold = false;
    for (const resolve of this.#release.splice(0)) resolve();
  }

  async #call(name: string, ...numbers: number[]): Promise<PortResult> {
    this.calls.push([name, ...numbers].join(" "));
    if (this.hold)
      await new Promise<void>((resolve) => {
        this.#release.push(resolve);
      });
    const answer = this.answers[name] ?? "ok";
    if (answer instanceof Error) throw answer;
    return answer;
  }
}
