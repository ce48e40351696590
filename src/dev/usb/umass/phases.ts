/**
 * When the phases of a bulk-only command are submitted: one after another, or together.
 *
 * BOT 1.0 forbids a second CBW before the CSW (§6.2.1, §3.3); it does not say that the host may not have the transfers of
 * one command waiting. What that saves is a round trip and a wake-up for each phase. A device that was seen to go wrong
 * in a mode is not driven in it again.
 */
import type { StepCondition, StepConditions } from "../usbdi.js";

/** Each phase against the one before it: submitted `after` it has ended as it should, or `with` it. */
export interface PhaseMode {
  readonly data: keyof StepConditions;
  /** Against the data; without data against the CBW. */
  readonly status: keyof StepConditions;
}

export const PHASE_MODES = {
  sequence: { data: "after", status: "after" },
  overlap: { data: "with", status: "after" },
  together: { data: "with", status: "with" },
} as const satisfies Record<string, PhaseMode>;

export type PhaseModeName = keyof typeof PHASE_MODES;

/**
 * What to fall back to when a device goes wrong. Which phase upset it cannot be told from outside; whatever happens in the
 * end is plain sequence, which every host before us has used.
 */
export const CALMER: Readonly<Record<PhaseModeName, PhaseModeName | undefined>> = {
  together: "overlap",
  overlap: "sequence",
  sequence: undefined,
};

/** Worked on everything that was tried; `together` wrecked some (see the rows with `phases` in quirks.ts). */
const DEFAULT_MODE: PhaseModeName = "overlap";

export interface PhaseChoice {
  readonly name: PhaseModeName;
  /** For the log. */
  readonly reason: string;
}

/**
 * Whether a device takes its status transfer early cannot be tried out: one that does not may be wrecked for good. A command without
 * data is no trial: there nothing but the command is in front of the status, and what goes wrong is a status transfer behind data
 * (QEMU's hw/usb/dev-storage.c: it is taken up while the data transfer is being completed, set aside as early, and forgotten).
 * One with data is the very thing that wrecks. So it is asked for by the user, or known from a table row; otherwise it is not done.
 *
 * @param because  Why it is asked for, or why there was something to choose, where that is not the user's wish.
 */
export function choosePhases(
  asked: PhaseModeName | undefined,
  known: PhaseModeName | undefined,
  because?: string,
): PhaseChoice {
  if (asked !== undefined) return { name: asked, reason: because ?? "asked for" };
  if (known !== undefined) return { name: known, reason: because ?? "known of this device" };
  return { name: DEFAULT_MODE, reason: because ?? "default" };
}

/** The text is the name of a mode. */
export function isPhaseMode(text: string): text is PhaseModeName {
  return Object.hasOwn(PHASE_MODES, text);
}

/** The condition of a phase in its mode. */
export function conditionOf(relation: keyof StepConditions, condition: StepCondition): StepConditions {
  return relation === "after" ? { after: condition, with: undefined } : { after: undefined, with: condition };
}
