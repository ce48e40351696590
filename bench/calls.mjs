/** What c/calls.c counts in the processes of the lab's guest. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const FOLDER = "/run/rumpusb-calls";
const PRELOADED = "/etc/ld.so.preload";
const NAME_BYTES = 16;

/** From now on processes count. @param {string} library  c/calls.c, compiled */
export function startCounting(library) {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(PRELOADED, `${library}\n`);
}

/** Processes that start later do not. */
export function stopCounting() {
  rmSync(PRELOADED);
}

/**
 * What a process has counted up to now, with what Linux counts itself.
 *
 * @typedef {object} Counts
 * @property {Record<string, Tally>} main  by call
 * @property {Record<string, Tally>} others  of the threads beside the main one
 * @property {Record<string, Tally>} between  by "call, next call"
 * @property {number} faults  page faults without I/O
 * @property {number} gaveWay  switches of its own accord, of the main thread
 * @property {number} wasInterrupted  other switches of the main thread
 * @property {number} othersSwitched  switches of all other threads
 *
 * @typedef {{ count: number, us: number }} Tally
 *
 * @returns {Counts}
 */
export function countsOf(pid) {
  return { ...talliesOf(readFileSync(`${FOLDER}/${pid}`)), ...kernelCountsOf(pid) };
}

/** @param {Counts} after @param {Counts} before @returns {Counts} of one of so many requests; what did not happen is left out */
export function countsEach(after, before, requests) {
  const each = (key) => (after[key] - before[key]) / requests;
  const tallies = (key) =>
    Object.fromEntries(
      Object.entries(after[key])
        .map(([name, { count, us }]) => [
          name,
          { count: (count - before[key][name].count) / requests, us: (us - before[key][name].us) / requests },
        ])
        .filter(([, { count }]) => count > 0),
    );
  return {
    main: tallies("main"),
    others: tallies("others"),
    between: tallies("between"),
    faults: each("faults"),
    gaveWay: each("gaveWay"),
    wasInterrupted: each("wasInterrupted"),
    othersSwitched: each("othersSwitched"),
  };
}

function talliesOf(bytes) {
  const names = [];
  while (bytes[names.length * NAME_BYTES] !== 0)
    names.push(
      bytes.toString("latin1", names.length * NAME_BYTES, (names.length + 1) * NAME_BYTES).replace(/\0+$/, ""),
    );
  let at = (names.length + 1) * NAME_BYTES;
  const next = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const ticksPerUs = next() / 1e6;
  const tally = (name) => [name, { count: next(), us: next() / ticksPerUs }];
  const main = Object.fromEntries(names.map(tally));
  const others = Object.fromEntries(names.map(tally));
  const between = Object.fromEntries(names.flatMap((from) => names.map((to) => tally(`${from}, ${to}`))));
  return { main, others, between };
}

function kernelCountsOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) => ({
    isMain: thread === String(pid),
    ...switchesOf(`/proc/${pid}/task/${thread}/status`),
  }));
  const sum = (of) => threads.reduce((total, thread) => total + of(thread), 0);
  return {
    faults: Number(fields[7]),
    gaveWay: sum((thread) => (thread.isMain ? thread.gaveWay : 0)),
    wasInterrupted: sum((thread) => (thread.isMain ? thread.wasInterrupted : 0)),
    othersSwitched: sum((thread) => (thread.isMain ? 0 : thread.gaveWay + thread.wasInterrupted)),
  };
}

function switchesOf(path) {
  const text = readFileSync(path, "latin1");
  const count = (name) => Number(new RegExp(`^${name}_ctxt_switches:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  return { gaveWay: count("voluntary"), wasInterrupted: count("nonvoluntary") };
}

/** Microseconds of what the kernel does most often (c/costs.c). @returns {Record<string, number>} */
export function kernelCosts(program) {
  return JSON.parse(execFileSync(program, { encoding: "utf8" }));
}
