/** The workloads, as fio and bench/direct.mjs both run them. */
export const WORKLOADS = [
  { name: "read 1 MiB, depth 4", bytes: 1 << 20, depth: 4, write: false, random: false },
  { name: "write 1 MiB, depth 4", bytes: 1 << 20, depth: 4, write: true, random: false },
  { name: "read 64 KiB, depth 8", bytes: 1 << 16, depth: 8, write: false, random: false },
  { name: "write 64 KiB, depth 8", bytes: 1 << 16, depth: 8, write: true, random: false },
  { name: "random read 4 KiB, depth 1", bytes: 4096, depth: 1, write: false, random: true },
  { name: "random read 4 KiB, depth 8", bytes: 4096, depth: 8, write: false, random: true },
  { name: "random read 4 KiB, depth 32", bytes: 4096, depth: 32, write: false, random: true },
];
