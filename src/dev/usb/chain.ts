/**
 * Transfer chains out of single transfers: for every controller that has no faster way of its own.
 *
 * The contract is `HostController.submitChain` (usbdivar.ts); test/contract/host-controller.ts holds it.
 */
import type { ChainResult, ChainStep, HcCompletion, HcTransfer } from "./usbdivar.js";

type Submit = (transfer: HcTransfer, done: (completion: HcCompletion) => void) => () => void;

/**
 * Runs a chain with `submit`. A step is submitted at once, or as soon as the one it waits for ended "ok" with enough
 * bytes; `done` is called once, when nothing is in flight and nothing more can start.
 * @returns cancels what is in flight and keeps the rest from starting.
 * @throws RangeError for a chain of which nothing starts by itself.
 */
export function runChain(submit: Submit, steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void {
  if (!steps.some((step) => step.after === undefined)) throw new RangeError("a chain needs a step that starts at once");
  const results: (HcCompletion | undefined)[] = steps.map(() => undefined);
  const cancels = new Map<number, () => void>();
  let cancelled = false;

  const start = (index: number, step: ChainStep): void => {
    const cancel = submit(step.transfer, (completion) => {
      cancels.delete(index);
      results[index] = completion;
      if (!cancelled) startWaiting(index, completion);
      if (cancels.size === 0) done(results);
    });
    cancels.set(index, cancel);
  };

  const startWaiting = (finished: number, completion: HcCompletion): void => {
    if (completion.status !== "ok") return;
    steps.forEach((step, index) => {
      if (step.after?.step === finished && completion.actualBytes >= step.after.minBytes) start(index, step);
    });
  };

  steps.forEach((step, index) => {
    if (step.after === undefined) start(index, step);
  });
  return () => {
    cancelled = true;
    for (const cancel of cancels.values()) cancel();
  };
}
