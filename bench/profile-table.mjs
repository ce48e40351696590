/** What calls.mjs has counted, as people read it. */
import { table } from "./tables.mjs";

/** Calls that are told together. */
const CALLS = {
  submit: ["submit"],
  reap: ["reap"],
  poll: ["poll"],
  "event loop": ["epoll_wait", "epoll_ctl"],
  "clock readings": ["clock_gettime"],
  "files and sockets": ["read", "write", "writev", "readv", "sendmsg", "recvmsg", "pread", "pwrite"],
  memory: ["mmap", "munmap", "mprotect", "madvise"],
  other: ["ioctl", "sched_yield", "syscall"],
};
/** Pairs of calls that take less between them are not told. */
const MIN_BETWEEN_US = 2;

/** A row for each process: how often and how many microseconds for one request; waits are part of it. */
export function callTable(figures) {
  const rows = rowsOf(figures, (profile) => {
    const between = total(Object.values(profile.between));
    return [
      ...Object.values(CALLS).map((names) => cell(total(names.map((name) => profile.main[name])))),
      between.us.toFixed(0),
      profile.faults.toFixed(2),
      `${profile.gaveWay.toFixed(1)} + ${profile.wasInterrupted.toFixed(1)}`,
      `${total(Object.values(profile.others)).count.toFixed(2)}, ${profile.othersSwitched.toFixed(2)}`,
    ];
  });
  const head = [
    ...Object.keys(CALLS),
    "between the calls, µs",
    "page faults",
    "switches",
    "other threads: calls, switches",
  ];
  return table(["group", "contender", "depth", "µs each", "process", ...head], rows);
}

/** A row for each process and pair of calls: what is computed between the two. */
export function betweenTable(figures) {
  const rows = figures.flatMap(({ group, name, depth, profiles }) =>
    Object.entries(profiles).flatMap(([role, { between }]) =>
      Object.entries(between)
        .filter(([, { us }]) => us >= MIN_BETWEEN_US)
        .sort(([, a], [, b]) => b.us - a.us)
        .map(([pair, tally]) => [group, name, depth, role, pair, cell(tally)]),
    ),
  );
  return table(["group", "contender", "depth", "process", "between", "how often, µs"], rows);
}

function rowsOf(figures, cellsOf) {
  return figures.flatMap(({ group, name, depth, usEach, profiles }) =>
    Object.entries(profiles).map(([role, profile]) => [
      group,
      name,
      depth,
      usEach.toFixed(0),
      role,
      ...cellsOf(profile),
    ]),
  );
}

function total(tallies) {
  return tallies.reduce((sum, tally) => ({ count: sum.count + (tally?.count ?? 0), us: sum.us + (tally?.us ?? 0) }), {
    count: 0,
    us: 0,
  });
}

function cell({ count, us }) {
  return count === 0 ? "" : `${count.toFixed(1)} × ${(us / count).toFixed(0)} = ${us.toFixed(0)}`;
}
