/** A program that uses a serial line: Python, which does what the test says line by line. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";

/** Names that the lines may use: os, termios, fcntl, select, struct, time, array, serial (pyserial), open_raw(path). */
const INTERPRETER = `
import array, errno, fcntl, json, os, select, struct, sys, termios, time
try:
    import serial
except ImportError:
    pass
def open_raw(path, flags=0):
    return os.open(path, os.O_RDWR | os.O_NOCTTY | flags)
def read_all(fd, count, seconds=5):
    data = b""
    while len(data) < count and select.select([fd], [], [], seconds)[0]:
        part = os.read(fd, count - len(data))
        if not part: break
        data += part
    return data
def modes(fd, **changes):
    names = ["iflag", "oflag", "cflag", "lflag", "ispeed", "ospeed", "cc"]
    state = termios.tcgetattr(fd)
    for name, value in changes.items(): state[names.index(name)] = value
    if changes: termios.tcsetattr(fd, termios.TCSANOW, state)
    return state
def rate(fd, baud):
    state = array.array("i", [0] * 64)
    fcntl.ioctl(fd, 0x802c542a, state)
    state[2] = (state[2] & ~0o10017) | 0o10000
    state[9] = state[10] = baud
    fcntl.ioctl(fd, 0x402c542b, state)
def rate_of(fd):
    state = array.array("i", [0] * 64)
    fcntl.ioctl(fd, 0x802c542a, state)
    return state[10]
names = dict(globals())
for line in sys.stdin:
    try:
        try:
            answer = eval(line, names)
        except SyntaxError:
            exec(line, names)
            answer = None
        print(json.dumps(["ok", answer], default=lambda data: data.decode("latin1")), flush=True)
    except Exception as failure:
        print(json.dumps(["failed", getattr(failure, "errno", None) and errno.errorcode[failure.errno] or repr(failure)]), flush=True)
`;

const PYTHON = "/usr/bin/python3";

export interface ProgramOptions {
  /** Without the right of the super-user to open what is exclusive. */
  readonly ordinary?: boolean;
}

export class SerialProgram {
  readonly #process: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor(options: ProgramOptions = {}) {
    const command = [PYTHON, "-u", "-c", INTERPRETER];
    const root = process.getuid?.() === 0;
    if (options.ordinary === true && root) command.unshift("setpriv", "--bounding-set", "-sys_admin", "--");
    const [file = PYTHON, ...args] = command;
    this.#process = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    if (this.#process.stdout === null) throw new Error("no standard output");
    this.#lines = createInterface({ input: this.#process.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Runs one line: an expression, or a statement (null). Bytes come as one character each. @throws Error with the errno's name */
  async run(line: string): Promise<unknown> {
    this.#process.stdin?.write(`${line}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error(`the program ended at: ${line}`);
    const [state, answer] = JSON.parse(value) as [string, unknown];
    if (state === "ok") return answer;
    throw new Error(String(answer));
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lines.close();
    await this.kill();
  }
}
