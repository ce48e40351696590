/**
 * Transfer chains out of single transfers: for every controller that has no faster way of its own.
 *
 * The contract is `HostController.submitChain` (usbdivar.ts); test/contract/host-controller-chains.ts holds it.
 */
import { MAX_CHAIN_STEPS, type StepCondition, type StepConditions } from "../../rumpuser/rumpuser.js";
import type { HcCompletion } from "./usbdivar.js";

type Step<T> = StepConditions & { readonly transfer: T };
type Result = readonly (HcCompletion | undefined)[];

/** @throws RangeError for a chain with no step or too many, with a condition on a later step, or of which nothing starts. */
export function checkChain(steps: readonly StepConditions[]): void {
  if (steps.length === 0 || steps.length > MAX_CHAIN_STEPS)
    throw new RangeError(`a chain of ${steps.length} steps; 1 to ${MAX_CHAIN_STEPS} are allowed`);
  steps.forEach((step, index) => {
    for (const condition of [step.after, step.with])
      if (condition !== undefined && !(condition.step >= 0 && condition.step < index))
        throw new RangeError(`step ${index} of a chain depends on step ${condition.step}, which is not before it`);
    // A step that is never submitted does not end, and nothing else would end what runs with it.
    if (step.with !== undefined && steps[step.with.step]?.after !== undefined)
      throw new RangeError(`step ${index} of a chain runs with step ${step.with.step}, which waits itself`);
  });
  if (!steps.some((step) => step.after === undefined)) throw new RangeError("a chain needs a step that starts at once");
}

/** The step ended as the condition wants it. */
function fulfils(completion: HcCompletion, { minBytes, maxBytes = Number.POSITIVE_INFINITY }: StepCondition): boolean {
  return completion.status === "ok" && completion.actualBytes >= minBytes && completion.actualBytes <= maxBytes;
}

/**
 * Runs a chain with `submit`, whose `done` must never be called synchronously.
 * @returns cancels what is in flight and keeps the rest from starting.
 * @throws RangeError as `checkChain`.
 */
export function runChain<T>(
  submit: (transfer: T, done: (completion: HcCompletion) => void) => () => void,
  steps: readonly Step<T>[],
  done: (result: Result) => void,
): () => void {
  checkChain(steps);
  const results: (HcCompletion | undefined)[] = steps.map(() => undefined);
  /** Steps in flight, in the order of their submission. */
  const cancels = new Map<number, () => void>();
  const dropped = new Set<number>();
  let cancelled = false;

  const start = (index: number, { transfer }: Step<T>): void => {
    const cancel = submit(transfer, (completion) => {
      cancels.delete(index);
      results[index] = completion;
      if (!cancelled) ended(index, completion);
      if (cancels.size === 0) done(results);
    });
    cancels.set(index, cancel);
  };

  const ended = (finished: number, completion: HcCompletion): void => {
    steps.forEach((step, index) => {
      if (step.with?.step !== finished || fulfils(completion, step.with)) return;
      dropped.add(index);
      cancels.get(index)?.();
    });
    steps.forEach((step, index) => {
      if (step.after?.step === finished && fulfils(completion, step.after) && !dropped.has(index)) start(index, step);
    });
  };

  steps.forEach((step, index) => {
    if (step.after === undefined) start(index, step);
  });
  return () => {
    cancelled = true;
    for (const cancel of Array.from(cancels.values()).reverse()) cancel();
  };
}
