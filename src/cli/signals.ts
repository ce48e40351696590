/** The end of a command that runs until it is told to stop. */
import { constants } from "node:os";
import { deferred, waitAtMost } from "../host/waits.js";
import { realClock } from "../rumpuser/real/clock.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Signals this close to the first are the same wish twice: timeout(1) signals its child and then its process group, a
 * terminal that closes sends SIGHUP from the shell and from the kernel. A person is slower.
 */
const SAME_WISH_MS = 200;

/** What is taken back in this time is. */
const LEAVING_MS = 500;

export interface StopSignal {
  /** Resolves with the reason at the first signal, or when nobody reads our output any more. */
  readonly stopped: Promise<string>;
  /** Signals have their usual effect again. */
  dispose(): void;
}

/**
 * @param atOnce  Called at a second signal, before the process exits with 130 (128 + SIGINT): it must end whatever
 *                would outlive this process, at once, and has some time to take back what else there is. A third signal ends that.
 */
export function onStopSignal(atOnce: () => Promise<void>): StopSignal {
  const stop = deferred<string>();
  const status = 128 + constants.signals.SIGINT;
  const exit = (): never => process.exit(status);
  let firstMs: number | undefined;
  let isLeaving = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    const nowMs = realClock.nowMs();
    if (firstMs === undefined) {
      firstMs = nowMs;
      return stop.resolve(signal);
    }
    if (nowMs - firstMs < SAME_WISH_MS) return;
    if (isLeaving) exit();
    isLeaving = true;
    // Also when what the first signal asked for comes to its end meanwhile.
    process.on("exit", () => {
      process.exitCode = status;
    });
    void waitAtMost(realClock, LEAVING_MS, atOnce()).finally(exit);
  };
  const onOutputError = (): void => stop.resolve("nobody reads the output");
  for (const signal of SIGNALS) process.on(signal, onSignal);
  process.stdout.on("error", onOutputError);
  return {
    stopped: stop.promise,
    dispose: () => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
      process.stdout.off("error", onOutputError);
    },
  };
}
