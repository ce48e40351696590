/**
 * Scripted faults of a flash drive: rows of data, each a match and an action.
 *
 * An occurrence of a phase is: a transfer arriving on a bulk endpoint (`transfer`), a request on the default pipe
 * (`control`), a CBW arriving (`cbw`), a data stage beginning (`dataIn`, `dataOut`), a CSW about to be sent (`csw`; once
 * more after the host has cleared a halt). Over UAS a COMMAND IU is a `cbw` and a SENSE IU a `csw`; a READ READY or WRITE
 * READY IU about to be sent is a `ready`, the answer to a TASK MANAGEMENT IU a `task`. Each row counts the occurrences that it matches.
 */

export const FAULT_PHASES = ["transfer", "control", "cbw", "dataIn", "dataOut", "csw", "ready", "task"] as const;
export type FaultPhase = (typeof FAULT_PHASES)[number];

/** What goes wrong. Bytes are counted from the start of the stage. */
export type FaultAction =
  /** Halts the endpoint of the phase, in a data stage after `afterBytes`. */
  | { readonly kind: "stall"; readonly afterBytes: number }
  /** Ends the data stage with a short packet after `bytes`; the residue stays honest. */
  | { readonly kind: "short"; readonly bytes: number }
  /** Sends `bytes` more than the data stage has. */
  | { readonly kind: "extra"; readonly bytes: number }
  /** Puts `value` at byte `at` of the data, the CSW or the descriptor (`descriptor`: its type; absent = any reply). */
  | { readonly kind: "corrupt"; readonly at: number; readonly value: number; readonly descriptor?: number }
  /** Replaces the whole reply. */
  | { readonly kind: "reply"; readonly bytes: Uint8Array; readonly descriptor?: number }
  | { readonly kind: "signature"; readonly value: number }
  /** The tag of the CBW or of the IU plus `offset`. */
  | { readonly kind: "tag"; readonly offset: number }
  /** A CSW of so many bytes: cut, or with zeroes behind it. */
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "residue"; readonly value: number }
  | { readonly kind: "status"; readonly value: number }
  /** UAS: the command is answered with this status and not carried out (SAM-5 §5.3.1: 08h BUSY, 28h TASK SET FULL). */
  | { readonly kind: "refuse"; readonly value: number }
  /** UAS: answered with a RESPONSE IU of this code, and nothing is done. */
  | { readonly kind: "response"; readonly value: number }
  /** UAS: the IU has this id. */
  | { readonly kind: "iu"; readonly value: number }
  /** UAS: the IU is sent twice. */
  | { readonly kind: "duplicate" }
  /** bCSWStatus 02h (BOT 1.0 §5.3.3.1). */
  | { readonly kind: "phaseError" }
  | { readonly kind: "delay"; readonly ms: number }
  /** Answers nothing until a reset (of the bus or the transport), or for ever on the default pipe. */
  | { readonly kind: "nak" }
  /** Unplugs, in a data stage after `afterBytes`. */
  | { readonly kind: "disconnect"; readonly afterBytes: number }
  /** Unplugs and loses part of the write cache. */
  | { readonly kind: "powerCut"; readonly seed: number };

export interface Fault {
  readonly phase: FaultPhase;
  /** The occurrence that is hit, from 1; "every" hits them all. */
  readonly nth: number | "every";
  /** Only occurrences within a command with this operation code (`cbw`, `dataIn`, `dataOut`, `csw`, `ready`). */
  readonly operationCode?: number;
  /** Only requests with this bRequest (`control`). */
  readonly request?: number;
  readonly action: FaultAction;
}

/** What an occurrence is matched by. */
export interface Occurrence {
  readonly operationCode?: number;
  readonly request?: number;
}

/** The rows of one device, with their counts. */
export class FaultScript {
  readonly #rows: { readonly fault: Fault; seen: number }[];

  constructor(faults: readonly Fault[] = []) {
    this.#rows = faults.map((fault) => ({ fault, seen: 0 }));
  }

  /** Adds a row at run time; it counts from now on. */
  add(fault: Fault): void {
    this.#rows.push({ fault, seen: 0 });
  }

  clear(): void {
    this.#rows.length = 0;
  }

  /** Counts an occurrence. @returns the actions that hit it, in the order of their rows. */
  at(phase: FaultPhase, occurrence: Occurrence = {}): FaultAction[] {
    const actions: FaultAction[] = [];
    for (const row of this.#rows) {
      const { fault } = row;
      if (fault.phase !== phase) continue;
      if (fault.operationCode !== undefined && fault.operationCode !== occurrence.operationCode) continue;
      if (fault.request !== undefined && fault.request !== occurrence.request) continue;
      row.seen++;
      if (fault.nth === "every" || fault.nth === row.seen) actions.push(fault.action);
    }
    return actions;
  }
}

type ActionOf<K extends FaultAction["kind"]> = Extract<FaultAction, { readonly kind: K }>;

/** The action of one kind among those that hit. */
export function actionOf<K extends FaultAction["kind"]>(
  actions: readonly FaultAction[],
  kind: K,
): ActionOf<K> | undefined {
  return actions.find((action): action is ActionOf<K> => action.kind === kind);
}
