/**
 * When a rump process that died is started again.
 *
 * | what it did since its start                              | then                                                |
 * | it completed a request, or lived for a minute            | the next one at once                                |
 * | neither                                                  | the next one after 100 ms, 200 ms, 400 ms, 800 ms   |
 * | neither, and so it was with the four before it           | quarantine: no more until the user says so          |
 * | it never began: the machine had nothing left for it      | the next one after 100 ms, 200 ms … 5 s, without    |
 * |                                                          | end; that is no fault of the driver                 |
 *
 * A process that was taken for hanging without having done anything may only be slow: the next one gets twice the time.
 */

const MAX_IDLE_LIVES = 5;
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 5_000;
const HEALTHY_MS = 60_000;
/** A hang is found within four beats (pud/host-channel.ts): 240 ms. */
const HEARTBEAT_MS = 60;
const MAX_HEARTBEAT_MS = 2_000;

/** What is known of a rump process that has ended. */
export interface EndedLife {
  readonly completedRequests: number;
  readonly livedMs: number;
  /** It was ended because no sign of life came. */
  readonly wasSilent: boolean;
  /** It never began, because this machine had no descriptor, no process or no memory left for it. */
  readonly outOfResources: boolean;
}

export type RestartDecision =
  | { readonly kind: "restart"; readonly delayMs: number }
  | { readonly kind: "quarantine"; readonly failures: number };

export class RestartPolicy {
  #failures = 0;
  #shortages = 0;
  #heartbeatMs = HEARTBEAT_MS;

  /** For the next process. */
  get heartbeatMs(): number {
    return this.#heartbeatMs;
  }

  /** Lives in a row, up to the last one, that did nothing. */
  get failures(): number {
    return this.#failures;
  }

  /** In a row, up to the last one, that never began because the machine had nothing left for them. */
  get shortages(): number {
    return this.#shortages;
  }

  ended({ completedRequests, livedMs, wasSilent, outOfResources }: EndedLife): RestartDecision {
    if (outOfResources)
      return { kind: "restart", delayMs: Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#shortages++) };
    this.#shortages = 0;
    if (completedRequests > 0 || livedMs >= HEALTHY_MS) {
      this.#failures = 0;
      this.#heartbeatMs = HEARTBEAT_MS;
      return { kind: "restart", delayMs: 0 };
    }
    this.#failures++;
    if (wasSilent) this.#heartbeatMs = Math.min(MAX_HEARTBEAT_MS, this.#heartbeatMs * 2);
    if (this.#failures >= MAX_IDLE_LIVES) return { kind: "quarantine", failures: this.#failures };
    return { kind: "restart", delayMs: FIRST_DELAY_MS * 2 ** (this.#failures - 1) };
  }
}
