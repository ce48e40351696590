/** Runs `bin/rumpusb.js` as a user does, and reads its JSON lines. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../../bin/rumpusb.js", import.meta.url));
const EVENT_MS = 15_000;

export type JsonEvent = Readonly<Record<string, unknown>> & { readonly event: string };

export class RunningCommand implements AsyncDisposable {
  readonly events: JsonEvent[] = [];
  /** Of stdout, all of them. */
  readonly lines: string[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #exit: Promise<number>;
  #stderr = "";
  #ended = false;
  #waiting: (() => void)[] = [];

  /** @param args  The last may be a program that starts the command, such as strace, with arguments of its own. */
  constructor(...args: (string | { readonly under: readonly string[] })[]) {
    const own = args.filter((one) => typeof one === "string");
    const under = args.flatMap((one) => (typeof one === "string" ? [] : one.under));
    const [program, ...before] = [...under, process.execPath];
    this.#child = spawn(program, [...before, COMMAND, ...own], { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stderr.on("data", (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.lines.push(line);
      if (line.startsWith("{")) this.events.push(JSON.parse(line) as JsonEvent);
      this.#wake();
    });
    this.#exit = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => {
        this.#ended = true;
        this.#wake();
        resolve(code ?? (signal === "SIGKILL" ? 137 : -1));
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The first event of this name that fits; waits for it. @throws Error when the command ends without. */
  async event(name: string, fits: (event: JsonEvent) => boolean = () => true): Promise<JsonEvent> {
    const deadline = Date.now() + EVENT_MS;
    for (;;) {
      const found = this.events.find((event) => event.event === name && fits(event));
      if (found !== undefined) return found;
      if (this.#ended) throw new Error(`ended without "${name}": ${this.#stderr}`);
      if (Date.now() > deadline)
        throw new Error(`no "${name}" within ${EVENT_MS} ms; so far ${JSON.stringify(this.events)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now() + 1);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  say(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Sends a signal and waits for the end. @returns the exit status. */
  async end(signal: NodeJS.Signals = "SIGINT"): Promise<number> {
    this.signal(signal);
    return await this.exit();
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async exit(): Promise<number> {
    return await this.#exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) await this.end("SIGKILL");
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** Runs a command to its end. */
export async function runToEnd(...args: string[]): Promise<{ status: number; events: JsonEvent[]; stderr: string }> {
  await using command = new RunningCommand(...args);
  const status = await command.exit();
  return { status, events: command.events, stderr: command.stderr };
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
