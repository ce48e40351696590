/**
 * Every session of a run, in its pud process or where that is not apart: starts them, tells how they end, ends them all. That a driver
 * which died is started again is the session's own business.
 */
import { HostError, hostErrorOf } from "../host/errors.js";
import { DeviceSession, type SessionContext } from "./session.js";
import type { SessionSource } from "./rights.js";
import { deferred } from "../host/waits.js";

/** A session that was started. Neither promise rejects; failures have been told as events. */
export interface Launched {
  /** Resolves when it has attached, or with the reason why it did not. */
  readonly attached: Promise<HostError | undefined>;
  /** Resolves when everything is undone, with the error it ended with. */
  readonly ended: Promise<HostError | undefined>;
  readonly session: Pick<DeviceSession, "lost" | "unplugged" | "replugged">;
}

export class Supervisor {
  readonly #context: SessionContext;
  readonly #sessions = new Map<DeviceSession, Promise<unknown>>();
  #stopReason: string | undefined;

  constructor(context: SessionContext) {
    this.#context = context;
  }

  launch(source: SessionSource): Launched {
    const session = new DeviceSession(source, this.#context);
    const attached = deferred<HostError | undefined>();
    const ended = this.#run(session, () => attached.resolve(undefined));
    void ended.then((error) =>
      attached.resolve(error ?? new HostError("FAILED", `${source.key}: stopped before it attached`)),
    );
    this.#sessions.set(session, ended);
    if (this.#stopReason !== undefined) session.stop(this.#stopReason);
    return { session, attached: attached.promise, ended };
  }

  /** Ends every session, and every one that is launched later. Bounded in time. */
  async stopAll(reason: string): Promise<void> {
    this.#stopReason = reason;
    for (const session of this.#sessions.keys()) session.stop(reason);
    await Promise.all(this.#sessions.values());
  }

  /** Tries every device again that is in quarantine. */
  resumeAll(): void {
    for (const session of this.#sessions.keys()) session.resume();
  }

  /** Ends every rump process now. */
  killAll(): void {
    for (const session of this.#sessions.keys()) session.kill();
  }

  async #run(session: DeviceSession, attached: () => void): Promise<HostError | undefined> {
    try {
      await session.run(attached);
      return undefined;
    } catch (error) {
      const failure = hostErrorOf(error);
      this.#context.emit({ event: "error", code: failure.code, message: failure.message, device: session.key });
      return failure;
    } finally {
      this.#sessions.delete(session);
    }
  }
}
