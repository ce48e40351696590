/** Figures as people read them. */
import os from "node:os";

/** @returns the lines of a Markdown table. */
export function table(head, rows) {
  return [tableRow(head), tableRow(head.map(() => "---")), ...rows.map(tableRow)];
}

export function tableRow(cells) {
  return `| ${cells.join(" | ")} |`;
}

export function median(numbers) {
  const sorted = numbers.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Large operations by their bytes, small ones by their number. */
export function bytesPerSecond(workload, operations) {
  if (!Number.isFinite(operations)) return "–";
  return workload.bytes >= 1 << 16
    ? `${((operations * workload.bytes) / 1e6).toFixed(0)} MB/s`
    : `${operations.toFixed(0)} /s`;
}

export function describeMachine(sizeMiB, rounds, seconds) {
  const [cpu] = os.cpus();
  return `${os.cpus().length} × ${cpu?.model ?? "unknown processor"}, Linux ${os.release()}, Node.js ${process.version}, load ${os.loadavg()[0].toFixed(1)} at the start; flash drives of ${sizeMiB} MiB in memory; median of ${rounds} rounds of ${seconds} s.`;
}
