/**
 * Faults of a serial adapter, as rows and as text: `KIND[:count=N|:every][:after=BYTES]`, several joined by `;`.
 *
 *     framing:after=1000          the character after 1000 received ones is damaged
 *     zlp:count=100               the next 100 reads end with nothing
 *     shortStatus:count=5         five packets of one byte where two status bytes belong
 *     notify:every                the interrupt endpoint never rests
 */
import { OptionError } from "./options.js";
import type { UartError } from "./serial-uart.js";

export const LINE_FAULTS = ["framing", "parity", "overrun", "break"] as const satisfies readonly UartError[];
export const PACKET_FAULTS = ["zlp", "shortStatus", "notify"] as const;
type FaultKind = (typeof LINE_FAULTS)[number] | (typeof PACKET_FAULTS)[number];

export interface SerialFault {
  readonly kind: FaultKind;
  /** How often it happens. */
  readonly count: number;
  /** Line faults: received bytes before the first. */
  readonly afterBytes: number;
}

/** Reads in a row that a model answers with nothing, at most: one that never rests is stopped by its bus. */
const MAX_COUNT = 1_000_000_000;

/** The faults of one port, with what is left of each. */
export class SerialFaults {
  readonly #rows: { readonly fault: SerialFault; left: number }[] = [];

  constructor(faults: readonly SerialFault[] = []) {
    for (const fault of faults) this.add(fault);
  }

  add(fault: SerialFault): void {
    this.#rows.push({ fault, left: fault.count });
  }

  clear(): void {
    this.#rows.length = 0;
  }

  /** Uses one of this kind up. */
  take(kind: (typeof PACKET_FAULTS)[number]): boolean {
    const row = this.#rows.find(({ fault, left }) => fault.kind === kind && left > 0);
    if (row === undefined) return false;
    row.left--;
    return true;
  }

  /** Line errors that are due when so many bytes were received. */
  takeErrors(receivedBytes: number): UartError[] {
    const due: UartError[] = [];
    for (const row of this.#rows) {
      const kind = LINE_FAULTS.find((one) => one === row.fault.kind);
      if (kind === undefined || row.left === 0 || receivedBytes <= row.fault.afterBytes) continue;
      row.left--;
      due.push(kind);
    }
    return due;
  }
}

/** @throws OptionError */
export function parseSerialFaults(text: string): SerialFault[] {
  return text
    .split(";")
    .filter((one) => one.trim() !== "")
    .map((one) => parseFault(one.trim()));
}

function parseFault(text: string): SerialFault {
  const [name = "", ...parts] = text.split(":");
  const kinds: readonly FaultKind[] = [...LINE_FAULTS, ...PACKET_FAULTS];
  const kind = kinds.find((one) => one === name);
  if (kind === undefined) throw new OptionError(`fault "${text}": "${name}" is none of ${kinds.join(", ")}`);
  let count = 1;
  let afterBytes = 0;
  for (const part of parts) {
    const [, key, value] = /^(count|after)=([0-9]{1,9})$/.exec(part) ?? [];
    if (part === "every") count = MAX_COUNT;
    else if (key === "count") count = Number(value);
    else if (key === "after") afterBytes = Number(value);
    else throw new OptionError(`fault "${text}": "${part}" is none of every, count=N, after=BYTES`);
  }
  return { kind, count, afterBytes };
}
