/** Chains as the addon takes them and reports them: numbers in one array (native/port.h, native/chain.h). */
import {
  MAX_CHAIN_STEPS,
  type PortChainResult,
  type PortChainStep,
  type PortCompletion,
  type StepCondition,
  type TransferStatus,
} from "../rumpuser.js";
import { statusOfRefusal, transferStatus, transferType } from "./libusb-words.js";

const FIELDS_PER_STEP = 10;
const NO_STEP = -1;
const MAX_BYTES = 0x7fffffff;
/** Chain::kNotStarted. */
const NOT_STARTED = 99;

/** Memory for the plan of one chain; the addon reads it before it returns. */
export function newPlan(): Int32Array {
  return new Int32Array(MAX_CHAIN_STEPS * FIELDS_PER_STEP);
}

/**
 * Writes what the addon needs to know of each step.
 * @throws RangeError for more steps than fit, and for transfers that are neither bulk nor interrupt.
 */
export function writePlan(plan: Int32Array, steps: readonly PortChainStep[]): void {
  if (steps.length === 0 || steps.length > MAX_CHAIN_STEPS)
    throw new RangeError(`a chain of ${steps.length} steps; 1 to ${MAX_CHAIN_STEPS} are allowed`);
  let at = 0;
  for (const { transfer, after, with: beside } of steps) {
    if (transfer.type !== "bulk" && transfer.type !== "interrupt")
      throw new RangeError(`a chain takes bulk and interrupt transfers, not ${transfer.type}`);
    plan[at++] = transferType(transfer);
    plan[at++] = transfer.endpointAddress;
    plan[at++] = transfer.sendZlp === true ? 1 : 0;
    plan[at++] = transfer.streamId ?? 0;
    at = writeCondition(plan, at, after);
    at = writeCondition(plan, at, beside);
  }
}

function writeCondition(plan: Int32Array, at: number, condition: StepCondition | undefined): number {
  plan[at] = condition?.step ?? NO_STEP;
  plan[at + 1] = Math.min(condition?.minBytes ?? 0, MAX_BYTES);
  plan[at + 2] = Math.min(condition?.maxBytes ?? MAX_BYTES, MAX_BYTES);
  return at + 3;
}

/** How one step ended, from what the addon says of it. */
export function stepCompletion(status: number, actualBytes: number): PortCompletion | undefined {
  if (status === NOT_STARTED) return undefined;
  return status < 0
    ? { status: statusOfRefusal(status), actualBytes: 0 }
    : { status: transferStatus(status), actualBytes };
}

/** The result of a chain that ended at once: status and bytes of each step. */
export function immediateResult(ends: Int32Array): PortChainResult {
  return Array.from({ length: ends.length / 2 }, (_, i) => stepCompletion(ends[i * 2] ?? -1, ends[i * 2 + 1] ?? 0));
}

/** The result of a chain of which nothing more is known: what started at once ended so. */
export function abandonedResult(steps: readonly PortChainStep[], status: TransferStatus): PortChainResult {
  return steps.map((step) => (step.after === undefined ? { status, actualBytes: 0 } : undefined));
}
