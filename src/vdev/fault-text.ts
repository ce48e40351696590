/**
 * Faults as text, for a command line: `PHASE:ACTION[:NAME=VALUE]...`, several joined by `;`.
 *
 *     csw:tag:nth=3                      the third CSW has a wrong tag
 *     dataIn:stall:after=512:op=28h      READ (10) stalls after 512 bytes, once
 *     control:corrupt:descriptor=1:at=7:value=0:every
 *     dataIn:reply:op=25h:hex=ffffffff00000200:every
 */
import { FAULT_PHASES, type Fault, type FaultAction, type FaultPhase } from "./faults.js";

/** The text of a fault cannot be understood; the message shows the part and what may stand there. */
export class FaultTextError extends Error {
  readonly code = "FAULT_TEXT";

  constructor(text: string, message: string) {
    super(`fault "${text}": ${message}`);
    this.name = "FaultTextError";
  }
}

type ActionKind = FaultAction["kind"];

interface ActionRow {
  readonly phases: readonly FaultPhase[];
  /** The parameters it takes, with their defaults; null = has to be given. */
  readonly parameters: Readonly<Record<string, number | null>>;
  readonly make: (read: Parameters) => FaultAction;
}

const STAGES = ["dataIn", "dataOut"] as const satisfies readonly FaultPhase[];
const IN_COMMAND = ["cbw", ...STAGES, "csw", "ready"] as const satisfies readonly FaultPhase[];
/** What UAS sends on its status pipe. */
const STATUS_IUS = ["csw", "ready", "task"] as const satisfies readonly FaultPhase[];
/** dCSWSignature that some devices send: "USBU" (BOT 1.0 §5.2 wants 53425355h). */
const WRONG_SIGNATURE = 0x55425355;
/** Above any bCSWStatus that is defined (BOT 1.0 Table 5.3). */
const RESERVED_STATUS = 0xff;
/** SAM-5 Table 33. */
const TASK_SET_FULL = 0x28;
/** RESPONSE CODE of a RESPONSE IU (UAS r04). */
const FUNCTION_NOT_SUPPORTED = 0x04;

const ACTIONS: Readonly<Record<ActionKind, ActionRow>> = {
  stall: {
    phases: FAULT_PHASES,
    parameters: { after: 0 },
    make: (read) => ({ kind: "stall", afterBytes: read.number("after") }),
  },
  short: {
    phases: ["dataIn"],
    parameters: { bytes: 0 },
    make: (read) => ({ kind: "short", bytes: read.number("bytes") }),
  },
  extra: {
    phases: ["dataIn"],
    parameters: { bytes: 1 },
    make: (read) => ({ kind: "extra", bytes: read.number("bytes") }),
  },
  corrupt: {
    phases: ["control", "dataIn", ...STATUS_IUS],
    parameters: { at: null, value: null, descriptor: -1 },
    make: (read) => ({ kind: "corrupt", at: read.number("at"), value: read.number("value"), ...read.descriptor() }),
  },
  reply: {
    phases: ["control", "dataIn"],
    parameters: { descriptor: -1 },
    make: (read) => ({ kind: "reply", bytes: read.hex(), ...read.descriptor() }),
  },
  signature: {
    phases: ["csw"],
    parameters: { value: WRONG_SIGNATURE },
    make: (read) => ({ kind: "signature", value: read.number("value") }),
  },
  tag: {
    phases: STATUS_IUS,
    parameters: { offset: 1 },
    make: (read) => ({ kind: "tag", offset: read.number("offset") }),
  },
  length: {
    phases: STATUS_IUS,
    parameters: { bytes: 12 },
    make: (read) => ({ kind: "length", bytes: read.number("bytes") }),
  },
  residue: {
    phases: ["csw"],
    parameters: { value: null },
    make: (read) => ({ kind: "residue", value: read.number("value") }),
  },
  status: {
    phases: ["csw"],
    parameters: { value: RESERVED_STATUS },
    make: (read) => ({ kind: "status", value: read.number("value") }),
  },
  refuse: {
    phases: ["cbw"],
    parameters: { value: TASK_SET_FULL },
    make: (read) => ({ kind: "refuse", value: read.number("value") }),
  },
  response: {
    phases: ["cbw", "task"],
    parameters: { value: FUNCTION_NOT_SUPPORTED },
    make: (read) => ({ kind: "response", value: read.number("value") }),
  },
  iu: {
    phases: STATUS_IUS,
    parameters: { value: null },
    make: (read) => ({ kind: "iu", value: read.number("value") }),
  },
  duplicate: { phases: STATUS_IUS, parameters: {}, make: () => ({ kind: "duplicate" }) },
  phaseError: { phases: ["cbw", "csw"], parameters: {}, make: () => ({ kind: "phaseError" }) },
  delay: {
    phases: ["control", "task", ...IN_COMMAND],
    parameters: { ms: null },
    make: (read) => ({ kind: "delay", ms: read.number("ms") }),
  },
  nak: { phases: ["control", "task", ...IN_COMMAND], parameters: {}, make: () => ({ kind: "nak" }) },
  disconnect: {
    phases: FAULT_PHASES,
    parameters: { after: 0 },
    make: (read) => ({ kind: "disconnect", afterBytes: read.number("after") }),
  },
  powerCut: {
    phases: FAULT_PHASES,
    parameters: { seed: 1 },
    make: (read) => ({ kind: "powerCut", seed: read.number("seed") }),
  },
};

/** Parameters that every fault takes. */
const COMMON = ["nth", "every", "op", "request", "hex"];
/** `hex=` at most: nobody types more, and a reply has its bound. */
const MAX_REPLY_BYTES = 4096;

/** @returns the faults of a text; none for an empty one. @throws FaultTextError */
export function parseFaults(text: string): Fault[] {
  return text
    .split(";")
    .filter((one) => one.trim() !== "")
    .map((one) => parseFault(one.trim()));
}

/** @throws FaultTextError */
export function parseFault(text: string): Fault {
  const [phaseText = "", kindText = "", ...rest] = text.split(":");
  const phase = FAULT_PHASES.find((one) => one === phaseText);
  if (phase === undefined) throw new FaultTextError(text, `phase "${phaseText}" is none of ${FAULT_PHASES.join(", ")}`);
  const kinds = Object.keys(ACTIONS).filter(isActionKind);
  const kind = kinds.find((one) => one === kindText);
  const possible = kinds.filter((one) => ACTIONS[one].phases.includes(phase));
  if (kind === undefined || !possible.includes(kind))
    throw new FaultTextError(text, `action "${kindText}" is none of ${possible.join(", ")} that ${phase} has`);
  const read = new Parameters(text, rest, ACTIONS[kind].parameters);
  if (kind !== "reply" && read.has("hex")) throw new FaultTextError(text, "hex= belongs to the action reply");
  const operationCode = read.optional("op", 0, 0xff);
  const request = read.optional("request", 0, 0xff);
  if (operationCode !== undefined && !IN_COMMAND.some((one) => one === phase))
    throw new FaultTextError(text, `op= belongs to ${IN_COMMAND.join(", ")}`);
  if (request !== undefined && phase !== "control") throw new FaultTextError(text, "request= belongs to control");
  return {
    phase,
    nth: read.has("every") ? "every" : (read.optional("nth", 1, 0xffffffff) ?? 1),
    ...(operationCode === undefined ? {} : { operationCode }),
    ...(request === undefined ? {} : { request }),
    action: ACTIONS[kind].make(read),
  };
}

function isActionKind(key: string): key is ActionKind {
  return Object.hasOwn(ACTIONS, key);
}

/** The `NAME=VALUE` parts of one fault, checked against what the action takes. */
class Parameters {
  readonly #text: string;
  readonly #defaults: Readonly<Record<string, number | null>>;
  readonly #values = new Map<string, string>();

  constructor(text: string, parts: readonly string[], defaults: Readonly<Record<string, number | null>>) {
    this.#text = text;
    this.#defaults = defaults;
    for (const part of parts) {
      const equals = part.indexOf("=");
      const name = equals < 0 ? part : part.slice(0, equals);
      const known = [...Object.keys(defaults), ...COMMON];
      if (!known.includes(name)) throw new FaultTextError(text, `parameter "${name}" is none of ${known.join(", ")}`);
      if (this.#values.has(name)) throw new FaultTextError(text, `parameter "${name}" stands there twice`);
      if (equals < 0 && name !== "every") throw new FaultTextError(text, `parameter "${name}" needs a value`);
      this.#values.set(name, equals < 0 ? "" : part.slice(equals + 1));
    }
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  number(name: string): number {
    const value = this.optional(name, 0, 0xffffffff) ?? this.#defaults[name];
    if (value === undefined || value === null)
      throw new FaultTextError(this.#text, `parameter "${name}" has to be given`);
    return value;
  }

  /** Decimal, `0x` hexadecimal, or hexadecimal with `h` behind it as the standards print it. */
  optional(name: string, min: number, max: number): number | undefined {
    const text = this.#values.get(name);
    if (text === undefined) return undefined;
    const hexadecimal = /^(?:0x([0-9a-f]{1,8})|0?([0-9a-f]{1,8})h)$/i.exec(text);
    const digits = hexadecimal?.[1] ?? hexadecimal?.[2];
    const value =
      digits === undefined ? (/^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN) : parseInt(digits, 16);
    if (!(value >= min && value <= max))
      throw new FaultTextError(this.#text, `${name}="${text}" is not a number from ${min} to ${max} (12, 0x0c or 0Ch)`);
    return value;
  }

  descriptor(): { readonly descriptor?: number } {
    const descriptor = this.optional("descriptor", 0, 0xff);
    return descriptor === undefined ? {} : { descriptor };
  }

  hex(): Uint8Array {
    const text = this.#values.get("hex");
    if (text === undefined) throw new FaultTextError(this.#text, 'parameter "hex" has to be given');
    if (!/^(?:[0-9a-f]{2})*$/i.test(text) || text.length > 2 * MAX_REPLY_BYTES)
      throw new FaultTextError(this.#text, `hex= takes up to ${MAX_REPLY_BYTES} bytes as pairs of hexadecimal digits`);
    return Buffer.from(text, "hex");
  }
}
