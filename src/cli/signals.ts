/** The end of a command that runs until it is told to stop. */
import { constants } from "node:os";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface StopSignal {
  /** Resolves with the reason at the first signal, or when nobody reads our output any more. */
  readonly stopped: Promise<string>;
  /** Signals have their usual effect again. */
  dispose(): void;
}

/**
 * @param atOnce  Called at the second signal, before the process exits with 130 (128 + SIGINT): it must end whatever
 *                would outlive this process.
 */
export function onStopSignal(atOnce: () => void): StopSignal {
  let stop = (_reason: string): void => {};
  const stopped = new Promise<string>((resolve) => {
    stop = resolve;
  });
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals++;
    if (signals === 1) return stop(signal);
    atOnce();
    process.exit(128 + constants.signals.SIGINT);
  };
  const onOutputError = (): void => stop("nobody reads the output");
  for (const signal of SIGNALS) process.on(signal, onSignal);
  process.stdout.on("error", onOutputError);
  return {
    stopped,
    dispose: () => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
      process.stdout.off("error", onOutputError);
    },
  };
}
