import { expect, test } from "vitest";
import { LogLines } from "../../src/host/log-lines.js";
import { createVirtualClock } from "../../src/rumpuser/simulated.js";

function collect(): { lines: string[]; log: LogLines; clock: ReturnType<typeof createVirtualClock> } {
  const lines: string[] = [];
  const clock = createVirtualClock();
  return { lines, clock, log: new LogLines(clock, (line) => lines.push(line)) };
}
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("lines are put together from pieces, also in the middle of a character", () => {
  const { lines, log } = collect();
  const text = bytes("one\ntwö\nrest");
  for (const byte of text) log.push(Uint8Array.of(byte));
  expect(lines).toEqual(["one", "twö"]);
  log.end();
  expect(lines).toEqual(["one", "twö", "rest"]);
});

test("control characters are replaced and long lines cut", () => {
  const { lines, log } = collect();
  log.push(bytes(`\u001b[31mred\u0007\n${"x".repeat(100_000)}\n`));
  expect(lines[0]).toBe("?[31mred?");
  expect(lines[1]?.length).toBeLessThan(1100);
  expect(lines[1]).toMatch(/ \(cut\)$/);
});

test("a flood is counted, not kept, and its end is told", async () => {
  const { lines, log, clock } = collect();
  for (let i = 0; i < 10_000; i++) log.push(bytes(`line ${i}\n`));
  expect(lines).toHaveLength(200);
  await clock.advance(10_001);
  log.push(bytes("later\n"));
  expect(lines.slice(200)).toEqual(["(9800 lines left out)", "later"]);
  expect(log.lastWords).toHaveLength(8);
});
