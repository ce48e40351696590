/** What a program sets on its terminal, until the chip has it: through the link, the host, the driver's process and the bus. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import { ServedLine } from "../fakes/served-line.js";
import { SerialProgram } from "../pud/links/serial-program.js";

const CHANGES = 11;
const WITHIN_MS = 50;
const GIVE_UP_MS = 2_000;
const RATES = [9600, 57_600, 115_200, 230_400] as const;

test("a rate and stop bits that a program sets on the pseudo terminal have reached the chip within 50 ms", async () => {
  const model = new FtdiModel("ft232r", { clock: realClock });
  await using line = await ServedLine.start(model, "pty");
  await using program = new SerialProgram();
  await program.run(`fd = open_raw(${JSON.stringify(join(line.folder, "ttyU0"))})`);
  const { uart } = model.port(0);
  const tookMs: number[] = [];
  for (let change = 0; change < CHANGES; change++) {
    const baud = RATES[change % RATES.length] ?? 9600;
    const stopBits = change % 2 === 0 ? 2 : 1;
    const cflag = `termios.CREAD | termios.CS8 | termios.CLOCAL ${stopBits === 2 ? "| termios.CSTOPB" : ""}`;
    const startMs = performance.now();
    const isMade = (): boolean =>
      Math.abs(uart.settings.baud - baud) / baud < 0.02 && uart.settings.stopBits === stopBits;
    const set = program.run(`modes(fd, cflag=${cflag}, ispeed=termios.B${baud}, ospeed=termios.B${baud})`);
    while (!isMade()) {
      if (performance.now() - startMs > GIVE_UP_MS)
        throw new Error(`${baud} baud, ${stopBits} stop bits: the chip has ${JSON.stringify(uart.settings)}`);
      await delay(1);
    }
    tookMs.push(performance.now() - startMs);
    await set;
  }
  // A machine that is busy with other things may be late now and then.
  expect(tookMs.toSorted((a, b) => a - b)[Math.floor(CHANGES / 2)]).toBeLessThan(WITHIN_MS);
});
