/** A controller that rests as those of real devices do: what ends meanwhile is told together. Counts how often that wakes the stack. */
import { runChain } from "../../src/dev/usb/chain.js";
import { RestTimer } from "../../src/dev/usb/rest-timer.js";
import type { HcTransfer, HostController } from "../../src/dev/usb/usbdivar.js";
import type { Clock } from "../../src/rumpuser/rumpuser.js";

export class RestingController {
  readonly controller: HostController;
  /** Moments at which something was told. */
  wakeUps = 0;
  readonly #clock: Clock;
  readonly #rest: RestTimer;
  #held: (() => void)[] | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(inner: HostController, clock: Clock) {
    this.#clock = clock;
    this.#rest = new RestTimer(clock, (on) => this.#hold(on));
    const submit: HostController["submit"] = (transfer, done) =>
      inner.submit(transfer, (completion) => this.#tell(() => done(completion)));
    this.controller = {
      name: inner.name,
      ports: inner.ports,
      submit,
      submitChain: (steps, done) => runChain<HcTransfer>(submit, steps, done),
      rest: (ms) => this.#rest.rest(ms),
      claimInterface: (address, interfaceNumber) => inner.claimInterface(address, interfaceNumber),
      releaseInterface: (address, interfaceNumber) => inner.releaseInterface(address, interfaceNumber),
      allocStreams: (address, endpoints, count) => inner.allocStreams(address, endpoints, count),
      freeStreams: (address, endpoints) => inner.freeStreams(address, endpoints),
      close: () => inner.close(),
    };
  }

  #hold(on: boolean): void {
    const held = this.#held ?? [];
    this.#held = on ? [] : undefined;
    if (on) return;
    for (const tell of held) this.#tell(tell);
  }

  #tell(tell: () => void): void {
    if (this.#held !== undefined) {
      this.#held.push(tell);
      return;
    }
    const nowMs = this.#clock.nowMs();
    if (nowMs !== this.#lastMs) this.wakeUps++;
    this.#lastMs = nowMs;
    tell();
  }
}
