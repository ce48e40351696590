/**
 * A serial line end to end, with its driver killed again and again: a program on a link, the host, rump processes, USB/IP, a
 * chip, and a far end that sends and checks as the program does. Each direction is followed on its own.
 */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, read, write } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { HostEvent } from "../../src/host/events.js";
import { rfc2217Tty } from "../../src/pud/links/rfc2217/client.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import type { SerialModel } from "../../src/vdev/serial-model.js";
import { Uart } from "../../src/vdev/serial-uart.js";
import { ServedLine } from "../fakes/served-line.js";
import { Follower, words } from "./tty-words.js";

const PIECE_BYTES = 32 * 1024;
const WINDOW_BYTES = 128 * 1024;
const FAR_BYTES = 16 * 1024;
/** Nobody is killed when so little is left that what is lost could be the end. */
const LAST_BYTES = 256 * 1024;
const STUCK_MS = 30_000;

export interface SoakOptions {
  readonly link: "pty" | "rfc2217";
  readonly bytes: number;
  /** Between two kills. */
  readonly killMs: number;
  readonly baud: number;
  readonly makeModel: () => SerialModel;
}

export interface Soak {
  readonly kills: readonly number[];
  readonly seconds: number;
  /** From the program to the far end, and the other way. */
  readonly sent: Follower;
  readonly received: Follower;
}

/** A program on the line: it sends the stream, and what it hears is followed. */
interface Program {
  send(bytes: number): Promise<void>;
  close(): Promise<void>;
}

export async function soak(options: SoakOptions): Promise<Soak> {
  const model = options.makeModel();
  const far = new FarEnd(model, options);
  await using line = await ServedLine.start(model, options.link);
  const received = new Follower();
  const { send, close } = await PROGRAMS[options.link](line.folder, options.baud, (data) => received.feed(data));
  const killer = new Killer(line.events, options.killMs, () => {
    return options.bytes - Math.max(received.position, far.received.position) > LAST_BYTES;
  });
  const startedMs = performance.now();
  far.start();
  const isDone = (): boolean => received.position >= options.bytes && far.received.position >= options.bytes;
  await Promise.race([
    Promise.all([send(options.bytes), progress(isDone, () => received.position + far.received.position)]),
    far.failed,
  ]).finally(() => killer.stop());
  const seconds = (performance.now() - startedMs) / 1000;
  await close();
  return { kills: killer.kills, seconds, sent: far.received, received };
}

/** What a soak showed, for people. */
export function describe({ kills, seconds, sent, received }: Soak, bytes: number): string {
  const sizes = ({ jumps }: Follower): string => {
    const all = jumps.map(({ from, to }) => to - from).sort((a, b) => a - b);
    const total = all.reduce((sum, one) => sum + Math.abs(one), 0);
    return `${all.length} jumps, ${total} bytes, from ${all[0] ?? 0} to ${all.at(-1) ?? 0}`;
  };
  const rate = (bytes / 1e6 / seconds).toFixed(2);
  return `${kills.length} kills in ${seconds.toFixed(1)} s, ${rate} MB/s each way; sent: ${sizes(sent)}; received: ${sizes(received)}`;
}

/** The other end of the line, with RTS/CTS. */
class FarEnd {
  readonly received = new Follower();
  /** Rejects when what arrives is nowhere in the stream. */
  readonly failed: Promise<never>;
  readonly #far: Uart;
  readonly #bytes: number;
  #sentBytes = 0;
  #isBusy = false;
  #fail: (error: unknown) => void = () => undefined;

  constructor(model: SerialModel, { bytes, baud }: SoakOptions) {
    this.#bytes = bytes;
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject;
    });
    this.#far = new Uart({ clock: realClock, paced: false, transmitBytes: FAR_BYTES, receiveBytes: FAR_BYTES });
    Uart.connect(model.port(0).uart, this.#far);
    this.#far.configure({ flow: "rtsCts", baud });
    this.#far.onChange(() => this.#serve());
  }

  start(): void {
    this.#far.setOutputs({ dtr: true, rts: true });
    this.#serve();
  }

  #serve(): void {
    if (this.#isBusy || !this.#far.outputs.rts) return;
    this.#isBusy = true;
    try {
      for (let moved = true; moved; ) {
        const data = this.#far.takeReceived(FAR_BYTES);
        this.received.feed(data);
        const room = Math.min(this.#far.transmit.room, this.#bytes - this.#sentBytes);
        if (room > 0) this.#sentBytes += this.#far.transmit.push(words(this.#sentBytes, room));
        if (room > 0) this.#far.run();
        moved = data.length > 0;
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isBusy = false;
    }
  }
}

/** Kills the driver's process every so often, as long as `may`. */
class Killer {
  /** When. */
  readonly kills: number[] = [];
  readonly #timer: NodeJS.Timeout;
  #lastPid = 0;

  constructor(events: readonly HostEvent[], everyMs: number, may: () => boolean) {
    this.#timer = setInterval(() => {
      const last = events.findLast((event) => event.event === "device" || event.event === "restart");
      if (last === undefined || !("pid" in last) || last.pid === this.#lastPid || !may()) return;
      this.#lastPid = last.pid;
      process.kill(last.pid, "SIGKILL");
      this.kills.push(performance.now());
    }, everyMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** Resolves when it is done. @throws Error when nothing has moved for long. */
async function progress(isDone: () => boolean, position: () => number): Promise<void> {
  let last = -1;
  let movedMs = performance.now();
  while (!isDone()) {
    if (position() !== last) movedMs = performance.now();
    if (performance.now() - movedMs > STUCK_MS) throw new Error(`stuck at ${position()} bytes of both directions`);
    last = position();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

type Start = (folder: string, baud: number, onData: (data: Uint8Array) => void) => Promise<Program>;

const PROGRAMS: Readonly<Record<SoakOptions["link"], Start>> = {
  async pty(folder, baud, onData) {
    const path = join(folder, "ttyU0");
    execFileSync("stty", ["-F", path, String(baud), "crtscts", "raw", "-echo"]);
    const line = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
    const part = Buffer.alloc(PIECE_BYTES);
    const reading = (async (): Promise<void> => {
      for (;;) {
        const { bytesRead } = await promisify(read)(line, part, 0, part.length, null);
        if (bytesRead === 0) return;
        onData(part.subarray(0, bytesRead));
      }
    })();
    let isOver = false;
    const ended = reading.catch((error: unknown) => {
      if (!isOver) throw error;
    });
    return {
      async send(bytes) {
        const all = (async (): Promise<void> => {
          for (let at = 0; at < bytes; ) {
            const piece = words(at, Math.min(PIECE_BYTES, bytes - at));
            at += (await promisify(write)(line, piece, 0, piece.length, null)).bytesWritten;
          }
        })();
        await Promise.race([all, ended]);
      },
      // A read that waits in the kernel ends when the link does.
      async close() {
        isOver = true;
        void ended.then(() => closeSync(line));
      },
    };
  },

  async rfc2217(folder, baud, onData) {
    const tty = rfc2217Tty({ unix: join(folder, "ttyU0.rfc2217.sock") }, "rfc2217");
    const settings = { baud, dataBits: 8, parity: "none", stopBits: 1, flowControl: "rtsCts" } as const;
    const receiver = {
      received(data: Uint8Array): void {
        onData(data);
        port.grant(data.length);
      },
      changed(): void {},
      closed(): void {},
    };
    const port = await tty.open({ settings, outputs: { dtr: true, rts: true } }, receiver);
    port.grant(WINDOW_BYTES);
    return {
      async send(bytes) {
        for (let at = 0; at < bytes; at += PIECE_BYTES) await port.write(words(at, Math.min(PIECE_BYTES, bytes - at)));
      },
      close: () => port.close(),
    };
  },
};
