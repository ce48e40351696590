/**
 * The referee in the lab's guest: `node bench/lab-guest.mjs ROUNDS KERNEL-DISK GROUP SECOND THIRD [VARIANT]`, where SECOND and THIRD
 * are the devices beside the kernel's own (bench/lab.sh). Prints one line of JSON for each figure.
 *
 * The contenders of a group live side by side, each on a device of its own, and take turns of a fraction of a second; what is told is
 * the median over the rounds of the ratio to the first contender in the same round: of the rates, and of the median latencies, which
 * what else the machine does disturbs less.
 */
import { fileURLToPath } from "node:url";
import { countsEach, countsOf, kernelCosts, startCounting, stopCounting } from "./calls.mjs";
import { atSwitch, byNbdkit, direct, kernelDisk, wholePath } from "./lab-contenders.mjs";
import { systemCalls } from "./processes.mjs";
import { median } from "./tables.mjs";

const [, , roundsText, kernelNode, group, second, third, variant = ""] = process.argv;
const rounds = Number(roundsText);
const built = (program) => fileURLToPath(new URL(`../.lab/bench/${program}`, import.meta.url));
const [bot, nbd] = [built("bot"), built("nbd")];

const MODES = ["sequence", "overlap", "together"];
/** The driver compiles while it is used for the first time; the compiler has the same processor here. */
const WARM_UP_REQUESTS = 6000;
/** About so many seconds a turn, so that what drifts, drifts for all. */
const TURN_S = 0.15;
/** Requests a second that a first guess of the turns starts from. */
const GUESS_BYTES_PER_S = 60e6;
const MAX_PER_S = 1500;
const COUNTED_REQUESTS = 300;
const PROFILED_REQUESTS = 1500;

const read = (bytes, depth, order = "random") => ({ direction: "read", order, bytes, depth });
const write = (bytes, depth, order = "random") => ({ direction: "write", order, bytes, depth });
const SIZES = [4096, 65536, 1 << 20];
const AT_SWITCH = [...SIZES.map((bytes) => read(bytes, 1)), read(4096, 8)];
const THROUGH_PATH = [
  read(4096, 1),
  read(4096, 8),
  read(4096, 32),
  read(4096, 1, "sequential"),
  read(65536, 1, "sequential"),
  read(65536, 8, "sequential"),
  read(1 << 20, 1, "sequential"),
  read(1 << 20, 4, "sequential"),
  write(4096, 1),
  write(4096, 8),
  write(4096, 8, "sequential"),
  write(65536, 8, "sequential"),
  write(1 << 20, 4, "sequential"),
];
const AGAINST_PATH = [read(4096, 1), read(4096, 8), read(4096, 32), read(65536, 8, "sequential"), write(4096, 8)];
const BY_LEVEL = [read(4096, 1), read(4096, 8), read(65536, 8, "sequential"), read(1 << 20, 4, "sequential")];

const GROUPS = {
  switch: async () => {
    for (const mode of MODES)
      await compare(
        `switch ${mode}`,
        [kernelDisk(bot, kernelNode), direct(`C ${mode}`, bot, mode, second), atSwitch(`rumpusb ${mode}`, mode, third)],
        AT_SWITCH,
      );
  },
  /** SECOND is driven in the default mode, THIRD with all phases together; by their ids. */
  path: async () => {
    for (const [mode, device] of [
      ["overlap", second],
      ["together", third],
    ])
      await compare(
        `path ${mode}`,
        [
          kernelDisk(bot, kernelNode),
          await byNbdkit(nbd, kernelNode),
          await wholePath(nbd, `rumpusb ${mode}`, [device]),
        ],
        THROUGH_PATH,
      );
  },
  levels: async () => {
    for (const [level, options] of Object.entries({ standard: [], strict: ["--strict"] }))
      await compare(
        `level ${level}`,
        [
          await wholePath(nbd, "rumpusb --no-sandbox", [second, "--no-sandbox"]),
          await wholePath(nbd, `rumpusb ${level}`, [third, ...options]),
        ],
        BY_LEVEL,
      );
  },
  /** The first is the mode that waits for every phase. */
  slow: async () => {
    await compare(
      `slow ${variant}, C`,
      [direct("C sequence", bot, "sequence", second), direct("C together", bot, "together", third)],
      [read(4096, 1), read(65536, 1)],
    );
    await compare(
      `slow ${variant}`,
      [atSwitch("rumpusb sequence", "sequence", second), atSwitch("rumpusb together", "together", third)],
      [read(4096, 1), read(65536, 1)],
    );
  },
  /** Random reads of 4 KiB; SECOND and THIRD are nodes, VARIANT is what THIRD is called on the command line. */
  profile: async () => {
    console.log(JSON.stringify({ group, costs: kernelCosts(built("costs")) }));
    for (const mode of ["overlap", "together"]) {
      startCounting(built("calls.so"));
      const contenders = [
        kernelDisk(bot, kernelNode),
        direct(`C ${mode}`, bot, mode, second),
        atSwitch(`rumpusb ${mode}`, mode, third),
      ];
      await profile("profile switch", contenders, [read(4096, 1)]);
      const path = await wholePath(nbd, `rumpusb ${mode}`, [variant, "--no-sandbox", "--mode", mode]);
      await profile("profile path", [path], [read(4096, 1), read(4096, 8)]);
      stopCounting();
    }
  },
  /** SECOND and THIRD are what the devices are called on the command line, VARIANT is another checkout, built, and their nodes. */
  against: async () => {
    const [root, secondNode, thirdNode] = variant.split(" ");
    for (const mode of ["overlap", "together"]) {
      const switches = [
        atSwitch(`rumpusb ${mode}, other`, mode, secondNode, root),
        atSwitch(`rumpusb ${mode}`, mode, thirdNode),
      ];
      await compare(`against, switch ${mode}`, switches, AT_SWITCH);
      const paths = [
        await wholePath(nbd, `rumpusb ${mode}, other`, [second, "--mode", mode], root),
        await wholePath(nbd, `rumpusb ${mode}`, [third, "--mode", mode]),
      ];
      await compare(`against, path ${mode}`, paths, AGAINST_PATH);
    }
  },
  growth: () =>
    compare(
      "growth",
      [atSwitch("64 MiB", "overlap", second), atSwitch("2 TiB", "overlap", third)],
      [read(4096, 1), read(4096, 8), read(4096, 32)],
    ),
};

await GROUPS[group]();

/** @param {import("./lab-contenders.mjs").Contender[]} contenders  stopped at the end */
async function compare(group, contenders, workloads) {
  for (const contender of contenders) await contender.run(read(4096, 8), warmUpOf(contender));
  for (const workload of workloads) {
    const perSecond = Math.min(MAX_PER_S, GUESS_BYTES_PER_S / workload.bytes);
    const count = Math.max(workload.depth, 4, Math.round(perSecond * TURN_S));
    const able = contenders.filter(({ name }) => workload.direction === "read" || !name.startsWith("C "));
    const turns = new Map(able.map((contender) => [contender, []]));
    for (let round = 0; round < rounds; round++)
      for (const contender of round % 2 === 0 ? able : able.toReversed()) {
        console.error(`${group}: ${contender.name}, ${JSON.stringify(workload)}, round ${round + 1}`); // where it is, if it stops here
        turns.get(contender).push(await contender.run(workload, count));
      }
    for (const contender of able) {
      const calls = isCounted(workload) ? await callsOf(contender, workload) : {};
      tell(group, contender, workload, count, turns.get(contender), turns.get(able[0]), calls);
    }
  }
  for (const contender of contenders) await contender.stop();
}

/** What its processes do for one request. The round in the middle is told. @param contenders  stopped at the end */
async function profile(group, contenders, workloads) {
  for (const contender of contenders) await contender.run(read(4096, 8), warmUpOf(contender));
  for (const workload of workloads) {
    const turns = new Map(contenders.map((contender) => [contender, []]));
    for (let round = 0; round < rounds; round++)
      for (const contender of contenders) turns.get(contender).push(await profiledTurn(contender, workload));
    for (const [{ name }, ofContender] of turns) {
      const sorted = ofContender.sort((a, b) => a.usEach - b.usEach);
      console.log(JSON.stringify({ group, name, ...workload, ...sorted[Math.floor(sorted.length / 2)] }));
    }
  }
  for (const contender of contenders) await contender.stop();
}

async function profiledTurn({ name, pids, clientPid, run }, workload) {
  const roles = Object.entries(name === "kernel" ? { client: clientPid } : pids);
  const before = roles.map(([, pid]) => countsOf(pid));
  const { seconds } = await run(workload, PROFILED_REQUESTS);
  const profiles = roles.map(([role, pid], at) => [role, countsEach(countsOf(pid), before[at], PROFILED_REQUESTS)]);
  return { usEach: (seconds * 1e6) / PROFILED_REQUESTS, profiles: Object.fromEntries(profiles) };
}

/** What is not JavaScript is warm at once. */
function warmUpOf({ name }) {
  return /^rumpusb|^\d/.test(name) ? WARM_UP_REQUESTS : 100;
}

/** Its system calls are counted, which is slow. */
function isCounted({ direction, order, bytes, depth }) {
  return direction === "read" && order === "random" && bytes === 4096 && depth <= 8;
}

/** clock_gettime is no system call where the kernel has a vDSO, as every other has. */
async function callsOf({ pids, run }, workload) {
  const calls = {};
  for (const [role, pid] of Object.entries(pids))
    calls[role] = (await systemCalls(pid, () => run(workload, COUNTED_REQUESTS), ["clock_gettime"])) / COUNTED_REQUESTS;
  return calls;
}

function tell(group, { name }, workload, count, turns, firstTurns, calls) {
  const sorted = turns.flatMap(({ us }) => us).sort((a, b) => a - b);
  const gib = (turns.length * count * workload.bytes) / 2 ** 30;
  const sum = (field) =>
    Object.fromEntries(
      Object.keys(turns[0][field]).map((role) => [role, turns.reduce((total, turn) => total + turn[field][role], 0)]),
    );
  const each = (values, divisor) =>
    Object.fromEntries(Object.entries(values).map(([role, value]) => [role, value / divisor]));
  console.log(
    JSON.stringify({
      group,
      name,
      ...workload,
      perSecond: median(turns.map(({ seconds }) => count / seconds)),
      ratio: median(turns.map(({ seconds }, round) => firstTurns[round].seconds / seconds)),
      medianRatio: median(turns.map(({ us }, round) => median(firstTurns[round].us) / median(us))),
      us: [0.5, 0.99, 0.999].map((p) => sorted[Math.floor(p * (sorted.length - 1))]),
      cpuPerGib: each(sum("cpu"), gib),
      woken: each(sum("woken"), turns.length * count),
      calls,
    }),
  );
}
