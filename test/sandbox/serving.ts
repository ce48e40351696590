/** A process of the tests that is locked to serve (serve-process.mjs), and what it was given, from outside. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { createSandbox, type ProcessLimits, SERVING_LIMITS } from "../../src/host/sandbox/sandbox.js";
import { innerPid, type SandboxReport, verifySandbox } from "../../src/host/sandbox/verify.js";
import { createMemory, loadAddon, mapMemory, sendFd } from "../../src/rumpuser/real/addon.js";
import { fdOfSocket } from "../../src/rumpuser/real/byte-stream.js";
import { IN_OPEN } from "../../src/rumpuser/real/device-file.js";
import type { LockProfile } from "../../src/rumpuser/real/lock.js";
import { DIST, FOLDER } from "./sandboxed.js";

const SCRIPT = `${FOLDER}/serve-process.mjs`;
const MEMORY_BYTES = 1 << 20;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
const OPEN_FLAGS = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;

export interface Counts {
  readonly served: number;
  readonly sentAway: number;
  readonly acceptErrors: number;
  readonly fileEvents: number;
  readonly ticks: number;
}

export class ServingProcess {
  readonly pid: number;
  readonly report: SandboxReport;
  readonly given: Given;
  readonly #child: ChildProcess;
  readonly #control: Control;
  readonly #way: net.Socket;

  private constructor(
    child: ChildProcess,
    pid: number,
    report: SandboxReport,
    control: Control,
    way: net.Socket,
    given: Given,
  ) {
    this.#child = child;
    this.pid = pid;
    this.report = report;
    this.#control = control;
    this.#way = way;
    this.given = given;
  }

  /** It is locked, that was read back, and then it was given everything. */
  static async start(profile: LockProfile, limits: ProcessLimits = SERVING_LIMITS): Promise<ServingProcess> {
    const plan = await createSandbox({ profile, extraPaths: [FOLDER, DIST] }).plan();
    const { file, args } = plan.command(SCRIPT, [JSON.stringify({ profile })], { limits });
    const child = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "pipe", "pipe"], env: {} });
    const [, , , socket, way] = child.stdio;
    if (!(socket instanceof net.Socket) || !(way instanceof net.Socket)) throw new Error("spawn made no sockets");
    const control = new Control(socket);
    if ((await control.answer())["locked"] !== true) throw new Error("the process is not locked");
    const pid = innerPid(plan, child.pid ?? 0);
    const report = verifySandbox(plan, pid);
    const given = await Given.make((fd) => sendFd(fdOfSocket(way), fd));
    await control.ask("take");
    given.closeOwn();
    return new ServingProcess(child, pid, report, control, way, given);
  }

  /** Gives it one more descriptor, which it closes again. @returns the name of the error that it got, or "" */
  async giveOneMore(): Promise<string> {
    sendFd(fdOfSocket(this.#way), 0);
    return String((await this.#control.ask("more"))["code"]);
  }

  async counts(): Promise<Counts> {
    return (await this.#control.ask("counts")) as unknown as Counts;
  }

  /** How many descriptors it may have, as the kernel says. */
  get openFiles(): number {
    const limits = readFileSync(`/proc/${this.pid}/limits`, "utf8");
    return Number(/^Max open files +(\d+) +(\d+)/m.exec(limits)?.[2]);
  }

  /** @returns how it ended. */
  async end(): Promise<{ readonly code: number | null; readonly signal: string | null }> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exit = once(this.#child, "exit");
      this.#control.send("end");
      await exit;
    }
    return { code: this.#child.exitCode, signal: this.#child.signalCode };
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
    this.given.remove();
  }
}

/** Lines of JSON to the process, and an answer to each. */
class Control {
  readonly #socket: net.Socket;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => {}); // it ended: the next answer says so
    this.#lines = createInterface({ input: socket });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  send(request: string): void {
    this.#socket.write(`${request}\n`);
  }

  async answer(): Promise<Record<string, unknown>> {
    const { done, value } = await this.#answers.next();
    if (done === true) throw new Error("the process has ended");
    return JSON.parse(String(value)) as Record<string, unknown>;
  }

  async ask(request: string): Promise<Record<string, unknown>> {
    this.send(request);
    return await this.answer();
  }
}

export class Given {
  readonly #folder = mkdtempSync(join(tmpdir(), "rumpusb-sp-"));
  readonly socketPath = join(this.#folder, "s.sock");
  /** The first byte is 7 at the start. */
  readonly memory: Uint8Array;
  readonly terminalPath: string;
  /** The other end of the socket that it has. */
  readonly peer: net.Socket;
  port = 0;
  #own: (() => void)[] = [];

  private constructor(send: (fd: number) => void) {
    const terminal = openTerminal();
    this.terminalPath = terminal.path;
    send(terminal.fd);
    const events = loadAddon().watchFile(this.terminalPath, IN_OPEN);
    send(events);
    const memory = createMemory(MEMORY_BYTES);
    this.memory = new Uint8Array(mapMemory(memory, MEMORY_BYTES));
    this.memory[0] = 7;
    send(memory);
    const pair = loadAddon().socketpair(0);
    if (typeof pair === "number") throw new Error(`socketpair: ${pair}`);
    send(pair[1]);
    this.peer = new net.Socket({ fd: pair[0] });
    this.#own.push(terminal.close, ...[events, memory, pair[1]].map((fd) => () => closeSync(fd)));
  }

  static async make(send: (fd: number) => void): Promise<Given> {
    const unix = net.createServer();
    const tcp = net.createServer();
    const folder = mkdtempSync(join(tmpdir(), "rumpusb-ss-"));
    await once(unix.listen(join(folder, "s.sock")), "listening");
    await once(tcp.listen(0, "127.0.0.1"), "listening");
    for (const server of [unix, tcp]) send(fdOfServer(server));
    const given = new Given(send);
    // A server of Node removes the file that it made, under the name that it made it.
    renameSync(join(folder, "s.sock"), given.socketPath);
    rmSync(folder, { recursive: true });
    given.port = (tcp.address() as net.AddressInfo).port;
    given.#own.push(
      () => unix.close(),
      () => tcp.close(),
    );
    return given;
  }

  /** The process has its own of everything. */
  closeOwn(): void {
    for (const close of this.#own.splice(0)) close();
  }

  remove(): void {
    this.closeOwn();
    this.peer.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function fdOfServer(server: net.Server): number {
  return (server as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}

/** The master of a new terminal, whose other side may be opened. */
function openTerminal(): { readonly fd: number; readonly path: string; readonly close: () => void } {
  const fd = openSync("/dev/ptmx", OPEN_FLAGS);
  const file = new (loadAddon().DeviceFile)(() => {});
  const index = new Uint8Array(4);
  const results = [file.open(fd), file.ioctl(TIOCSPTLCK, new Uint8Array(4)), file.ioctl(TIOCGPTN | 0, index)];
  if (results.some((rc) => rc !== 0)) throw new Error(`terminal: ${results.join(" ")}`);
  return { fd, path: `/dev/pts/${new DataView(index.buffer).getUint32(0, true)}`, close: () => file.close() };
}
