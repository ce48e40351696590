/**
 * A terminal on a serial adapter, without any device of the host: what is typed goes to the line, what the line says is shown.
 *
 *   node examples/tipsy.mjs [DEVICE] [BAUD]      default: a simulated FTDI adapter that hears itself, 115200
 *
 * At the beginning of a line: ~. ends, ~b sends a break, ~d and ~r turn DTR and RTS over, ~s shows the modem lines,
 * ~~ is a ~. Works with a pipe as standard input, too: at its end what was written is sent, and answers are waited for.
 */
import { openTty } from "rumpusb";

const [device = "sim:serial,chip=ftdi", baud = "115200"] = process.argv.slice(2);
const WINDOW_BYTES = 16 * 1024;
/** How long a line may say nothing after the end of a pipe. */
const SILENCE_MS = 500;

const settings = { baud: Number(baud), dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
const hosted = await openTty(device);
let tellEnd = () => {};
const lineEnded = new Promise((resolve) => {
  tellEnd = resolve;
});
let lastHeardMs = Date.now();

const port = await hosted.tty.open(
  { settings, outputs: { dtr: true, rts: true } },
  {
    received(data) {
      lastHeardMs = Date.now();
      // The bytes are lent for the call; more may come when these have been shown.
      process.stdout.write(Buffer.from(data), () => port.grant(data.length));
    },
    changed() {},
    closed: tellEnd,
  },
);
port.grant(WINDOW_BYTES);
say(`connected to ${hosted.tty.info.model} at ${port.settings.baud} baud`);

const outcome = await Promise.race([talk(), lineEnded]).finally(
  () => process.stdin.isTTY && process.stdin.setRawMode(false),
);
if (outcome instanceof Error) say(`the line has ended: ${outcome.message}`);
await port.close();
await hosted.close();
say("disconnected");
process.stdin.destroy();

/** Sends what is typed until ~. or the end of the input. */
async function talk() {
  if (process.stdin.isTTY) process.stdin.setRawMode(true);
  let state = "start of line";
  for await (const chunk of process.stdin) {
    const bytes = [];
    for (const byte of chunk) {
      const key = String.fromCharCode(byte);
      if (state === "tilde") {
        state = key === "~" ? "in line" : "start of line";
        if (key !== "~") await port.write(Uint8Array.from(bytes.splice(0)));
        if (key === ".") return await port.drain();
        if (key !== "~") {
          await escape(key);
          continue;
        }
      } else if (state === "start of line" && key === "~") {
        state = "tilde";
        continue;
      } else state = key === "\r" || key === "\n" ? "start of line" : "in line";
      bytes.push(byte);
    }
    await port.write(Uint8Array.from(bytes));
  }
  await port.drain();
  while (Date.now() - lastHeardMs < SILENCE_MS) await pause(SILENCE_MS / 10);
}

async function escape(key) {
  const { dtr, rts } = port.outputs;
  if (key === "b") {
    await port.setBreak(true);
    await pause(250);
    await port.setBreak(false);
    say("break sent");
  } else if (key === "d") {
    await port.setOutputs({ dtr: !dtr });
    say(`DTR ${dtr ? "off" : "on"}`);
  } else if (key === "r") {
    await port.setOutputs({ rts: !rts });
    say(`RTS ${rts ? "off" : "on"}`);
  } else if (key === "s") {
    const { lines } = await port.status();
    say(
      Object.entries(lines)
        .map(([line, high]) => `${line.toUpperCase()} ${high ? "on" : "off"}`)
        .join(", "),
    );
  } else say("~. ends, ~b break, ~d DTR, ~r RTS, ~s modem lines, ~~ is a ~");
}

function say(words) {
  process.stderr.write(`[${words}]\r\n`);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
