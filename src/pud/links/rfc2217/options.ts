/**
 * Which telnet options are on, in each direction.
 *
 * The rules are RFC 854's and those of RFC 1143 that keep two ends from answering each other for ever: only a change is
 * acknowledged, and what was asked for is not answered again. Nothing is switched off from here, so the states in which
 * RFC 1143 waits for that do not occur.
 */
import { DO, DONT, type Verb, WILL, WONT } from "./telnet.js";

/** "us": what this end does (WILL, and the other's DO). "them": what the other end does (DO, and the other's WILL). */
export type Side = "us" | "them";

export interface OptionChoice {
  readonly option: number;
  readonly side: Side;
  /** Ask for it, in place of waiting for the other end to ask. */
  readonly ask: boolean;
}

type State = "off" | "asked" | "on";

/** What each verb of the other end says: about whom, whether on, and how that is agreed to and refused. */
const MEANING = {
  [DO]: { side: "us", on: true },
  [DONT]: { side: "us", on: false },
  [WILL]: { side: "them", on: true },
  [WONT]: { side: "them", on: false },
} as const;

const SAY = { us: { on: WILL, off: WONT }, them: { on: DO, off: DONT } } as const;

export class TelnetOptions {
  /** Only options that may be switched on are in here. */
  readonly #states: ReadonlyMap<string, { state: State }>;
  readonly #choices: readonly OptionChoice[];
  readonly #say: (verb: Verb, option: number) => void;
  readonly #changed: (side: Side, option: number, on: boolean) => void;

  constructor(
    choices: readonly OptionChoice[],
    say: (verb: Verb, option: number) => void,
    changed: (side: Side, option: number, on: boolean) => void,
  ) {
    this.#choices = choices;
    this.#states = new Map(choices.map(({ side, option }) => [keyOf(side, option), { state: "off" }]));
    this.#say = say;
    this.#changed = changed;
  }

  /** Asks for what is to be asked for. */
  start(): void {
    for (const { ask, side, option } of this.#choices) {
      const entry = this.#states.get(keyOf(side, option));
      if (!ask || entry?.state !== "off") continue;
      entry.state = "asked";
      this.#say(SAY[side].on, option);
    }
  }

  isOn(side: Side, option: number): boolean {
    return this.#states.get(keyOf(side, option))?.state === "on";
  }

  /** What the other end said. */
  heard(verb: Verb, option: number): void {
    const { side, on } = MEANING[verb];
    const entry = this.#states.get(keyOf(side, option));
    if (entry === undefined) {
      if (on) this.#say(SAY[side].off, option);
      return;
    }
    const before = entry.state;
    entry.state = on ? "on" : "off";
    if (on === (before === "on")) return;
    if (before !== "asked") this.#say(on ? SAY[side].on : SAY[side].off, option);
    this.#changed(side, option, on);
  }
}

function keyOf(side: Side, option: number): string {
  return `${side} ${option}`;
}
