/**
 * One command, as often as it is worth: the only place above the transport that sends anything twice.
 *
 * | outcome                                   | then                                                    |
 * | the transport failed, or data are missing | once more                                               |
 * | not answered in its time, and `verify`    | once more, but not at a unit that `isUnresponsive`      |
 * | ABORTED COMMAND, no readable sense        | once more                                               |
 * | unit attention (29h, 2Ah, …)              | `verify`, then once more for each kind, 4 kinds at most |
 * | unit attention 28h, 2Ah/09h               | never: another medium, another size                     |
 * | becoming ready                            | again every 500 ms, 30 s in all                         |
 * | needs START UNIT                          | one START UNIT, then again                              |
 * | deferred error (of an earlier command)    | `onDeferred`, then once more                            |
 * | anything else                             | ScsiError                                               |
 *
 * A command of an attached disk that was not answered in time is repeated as Linux and NetBSD do, and no more than once: it
 * was aborted, so nobody knows whether it was done, and READ, WRITE, UNMAP and SYNCHRONIZE CACHE may be done twice.
 *
 * Beside other commands only the first attempt is made; what comes after a failure is done alone.
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import { type CommandBlock, startUnit } from "./cdb.js";
import { ScsiError } from "./sd-errors.js";
import type { Sense } from "./sense.js";
import { type ScsiData, ScsiTransportError } from "./transport.js";
import { type LogicalUnit, NO_DATA, type Outcome, sleep } from "./unit.js";

const MAX_REPEATS = 1;
const MAX_ATTENTION_KINDS = 4;
const MAX_STARTS = 1;
const READY_POLL_MS = 500;
const READY_WAIT_MS = 30_000;

export interface RetryContext {
  readonly unit: LogicalUnit;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Resolves when nothing else runs at the unit. Left out: nothing does. */
  readonly alone?: () => Promise<void>;
  /**
   * Called before a command is repeated after a unit attention or a failed transport. Throws to forbid it.
   * `afterOwnReset`: as the outcome says.
   */
  readonly verify?: (sense: Sense | undefined, afterOwnReset: boolean) => Promise<void>;
  readonly onDeferred?: (sense: Sense) => void;
}

export interface RetryCommand {
  readonly block: CommandBlock;
  readonly data?: ScsiData;
  /** Nothing less than all data counts as success. */
  readonly whole?: boolean;
}

/** What has been spent on one command; made when something is. */
class Budget {
  repeats = 0;
  starts = 0;
  readonly attentions = new Set<number>();
  /** From the first time that the unit says it is becoming ready. */
  readyUntilMs: number | undefined;
}

/**
 * @returns the data that came in.
 * @throws ScsiError, ScsiTransportError, or what `verify` throws.
 */
export async function runCommand(context: RetryContext, command: RetryCommand): Promise<Uint8Array> {
  let budget: Budget | undefined;
  for (;;) {
    let outcome: Outcome;
    try {
      outcome = await context.unit.command(command.block, command.data ?? NO_DATA, context.signal);
    } catch (error) {
      if (!(error instanceof ScsiTransportError) || !isRepeatable(error, context)) throw error;
      if (error.code === "SCSI_TIMED_OUT" && (budget?.repeats ?? 0) > 0) context.unit.isUnresponsive = true;
      await context.alone?.();
      if (!isRepeatable(error, context)) throw error; // others have been repeated in vain meanwhile
      await repeatOnce(context, (budget ??= new Budget()), undefined, error);
      continue;
    }
    if (context.verify !== undefined) context.unit.isUnresponsive = false;
    if (outcome.status === "good" || outcome.sense.meaning === "recovered") {
      if (command.whole !== true || outcome.residueBytes === 0) return outcome.data;
      await context.alone?.();
      await repeatOnce(context, (budget ??= new Budget()), undefined, missing(command, outcome.residueBytes));
    } else {
      await context.alone?.();
      await answerSense(context, command.block.what, outcome, (budget ??= new Budget()));
    }
  }
}

function isRepeatable({ code }: ScsiTransportError, { unit, verify }: RetryContext): boolean {
  if (code === "SCSI_TIMED_OUT") return verify !== undefined && !unit.isUnresponsive;
  return code === "SCSI_TRANSPORT";
}

/** Returns when the command may be sent again; else throws. */
async function answerSense(
  context: RetryContext,
  what: string,
  { sense, afterOwnReset }: Extract<Outcome, { readonly status: "check" }>,
  budget: Budget,
): Promise<void> {
  const failure = new ScsiError(what, sense);
  if (sense.deferred) {
    context.onDeferred?.(sense);
    return repeatOnce(context, budget, sense, failure);
  }
  switch (sense.meaning) {
    case "retry":
      return repeatOnce(context, budget, sense, failure);
    case "attention":
      if (budget.attentions.has(sense.asc) || budget.attentions.size === MAX_ATTENTION_KINDS) throw failure;
      budget.attentions.add(sense.asc);
      return context.verify?.(sense, afterOwnReset);
    case "becomingReady":
      budget.readyUntilMs ??= context.clock.nowMs() + READY_WAIT_MS;
      if (context.clock.nowMs() >= budget.readyUntilMs) throw failure;
      return sleep(context.clock, READY_POLL_MS, context.signal);
    case "needsStart":
      if (budget.starts++ === MAX_STARTS) throw failure;
      await context.unit.command(startUnit(), NO_DATA, context.signal);
      return;
    case "recovered":
    case "mediumChanged":
    case "capacityChanged":
    case "noMedium":
    case "notReady":
    case "mediumError":
    case "hardware":
    case "illegalRequest":
    case "outOfRange":
    case "writeProtected":
    case "noSpace":
    case "unknown":
      throw failure;
  }
}

async function repeatOnce(
  context: RetryContext,
  budget: Budget,
  sense: Sense | undefined,
  failure: Error,
): Promise<void> {
  if (budget.repeats++ === MAX_REPEATS) throw failure;
  await context.verify?.(sense, false);
}

function missing({ block }: RetryCommand, residueBytes: number): ScsiTransportError {
  const message = `${block.what}: reported as good with ${residueBytes} bytes not moved`;
  return new ScsiTransportError("SCSI_TRANSPORT", message);
}
