/**
 * A serial line whose far end sends everything back, served by a link: for checks of links on a real kernel.
 *
 *   node test/lab/loop-line.mjs LINK RUNTIME_DIR
 *
 * Prints what reaches the line, one call a line, and "ready PATH" first. CTS and DSR follow RTS and DTR. Ends on SIGTERM;
 * SIGUSR1 takes the device away, after which it cannot be opened.
 */
import { openLink, parseLink } from "../../dist/pud/links/links.js";
import { LocalRights } from "../../dist/pud/links/rights/local-rights.js";
import { DeviceError } from "../../dist/rump/devsw.js";

const [, , linkText, runtimeDir] = process.argv;

class LoopPort {
  #receiver;
  #waiting = [];
  #granted = 0;

  constructor({ settings, outputs }, receiver) {
    this.settings = settings;
    this.outputs = outputs;
    this.#receiver = receiver;
  }

  status() {
    const { dtr, rts } = this.outputs;
    const lines = { cts: rts, dsr: dtr, dcd: false, ri: false };
    return Promise.resolve({ lines, errors: { framing: 0, parity: 0, overrun: 0, break: 0 } });
  }

  async configure(settings) {
    const { baud, dataBits, parity, stopBits, flowControl } = settings;
    console.log(`configure ${baud} ${dataBits} ${parity} ${stopBits} ${flowControl}`);
    this.settings = settings;
    return settings;
  }

  async setOutputs(outputs) {
    this.outputs = { ...this.outputs, ...outputs };
    console.log(`outputs dtr=${this.outputs.dtr} rts=${this.outputs.rts}`);
    this.#receiver.changed(await this.status());
  }

  async setBreak(on) {
    console.log(`break ${on}`);
  }

  async setLatency(latencyMs) {
    console.log(`latency ${latencyMs}`);
    return latencyMs;
  }

  async write(data) {
    this.#waiting.push(data.slice());
    queueMicrotask(() => this.#deliver());
  }

  grant(bytes) {
    this.#granted += bytes;
    this.#deliver();
  }

  #deliver() {
    while (this.#granted > 0 && this.#waiting.length > 0) {
      const part = this.#waiting[0].subarray(0, this.#granted);
      this.#granted -= part.length;
      if (part.length === this.#waiting[0].length) this.#waiting.shift();
      else this.#waiting[0] = this.#waiting[0].subarray(part.length);
      this.#receiver.received(part);
    }
  }

  async drain() {}

  async flush(queue) {
    console.log(`flush ${queue}`);
    this.#waiting = [];
  }

  async close() {
    if (line.port !== this) return;
    line.port = undefined;
    console.log("close");
  }

  end(error) {
    line.port = undefined;
    this.#receiver.closed(error);
  }
}

const line = {
  kind: "tty",
  info: { model: "loop", minBaud: 50, maxBaud: 4_000_000 },
  port: undefined,
  gone: false,
  async open(how, receiver) {
    if (line.gone) throw new DeviceError("ENODEV", "unplugged");
    if (line.port !== undefined) throw new DeviceError("EBUSY", "open already");
    console.log(`open ${how.settings.baud}`);
    line.port = new LoopPort(how, receiver);
    return line.port;
  },
};

const log = { write: ({ message }) => console.log(`log ${message}`) };
const link = await openLink(parseLink(linkText), { runtimeDir, log, rights: new LocalRights() });
const node = await link.serve("ttyU0", line);
process.once("SIGTERM", () => void link.close());
process.once("SIGUSR1", () => {
  line.gone = true;
  line.port?.end(new DeviceError("ENODEV", "unplugged"));
});
console.log(`ready ${node.path}`);
