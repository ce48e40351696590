/**
 * Which driver fits best: rules ranked by how much they say.
 *
 * Each field of a rule has a weight, a power of two, so that vendor + product beats any class rule and two different
 * rules never tie by accident (the ladder of NetBSD's UMATCH_*, made additive). The order of drivers is irrelevant.
 */
import type { MatchRule } from "./usbdi.js";

/** The numbers a rule is held against: those of the device and of one alternate setting of one interface. */
export type MatchIds = Required<MatchRule>;

const WEIGHTS: Readonly<Record<keyof MatchRule, number>> = {
  interfaceProtocol: 1 << 0,
  interfaceSubClass: 1 << 1,
  interfaceClass: 1 << 2,
  deviceProtocol: 1 << 3,
  deviceSubClass: 1 << 4,
  deviceClass: 1 << 5,
  interfaceNumber: 1 << 6,
  vendor: 1 << 7,
  product: 1 << 8,
  revision: 1 << 9,
};
/** The least specific first. */
export const FIELDS = Object.keys(WEIGHTS) as (keyof MatchRule)[];

/** The rank of a rule: 0 when any of its fields differs (or it has none), else the sum of their weights. */
export function rankMatch(rule: MatchRule, ids: MatchIds): number {
  let rank = 0;
  for (const field of FIELDS) {
    const wanted = rule[field];
    if (wanted === undefined) continue;
    if (wanted !== ids[field]) return 0;
    rank += WEIGHTS[field];
  }
  return rank;
}

export interface Match<D> {
  readonly driver: D;
  readonly rule: MatchRule;
  readonly rank: number;
}

/** Every driver with a rule that fits, best first; a driver counts with its best rule. */
export function findMatches<D extends { readonly match: readonly MatchRule[] }>(
  drivers: readonly D[],
  ids: MatchIds,
): Match<D>[] {
  const matches: Match<D>[] = [];
  for (const driver of drivers) {
    const best = driver.match
      .map((rule) => ({ driver, rule, rank: rankMatch(rule, ids) }))
      .reduce((a, b) => (b.rank > a.rank ? b : a), { driver, rule: {}, rank: 0 });
    if (best.rank > 0) matches.push(best);
  }
  return matches.sort((a, b) => b.rank - a.rank);
}
