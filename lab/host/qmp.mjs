/** A client of the QEMU Machine Protocol, as much of it as plugging and unplugging takes. */

const MAX_LINE_CHARS = 1 << 20;

/** One connection; commands are answered in order. */
export class Qmp {
  #socket;
  #pending = new Map();
  #eventWaiters = [];
  #nextId = 1;
  #text = "";
  #ready;

  /** @param socket connected, nothing read from it yet. */
  constructor(socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(new Error("QEMU has gone")));
    this.#ready = this.#send("qmp_capabilities", {});
    // A failure is reported by the first command that waits for it.
    this.#ready.catch(() => {});
  }

  /** @returns what the command returns. @throws Error with QEMU's description. */
  async execute(command, args = {}) {
    await this.#ready;
    return this.#send(command, args);
  }

  /** The next event of this name whose data passes `accept`; install it before the command that causes it. */
  event(name, accept, timeoutMs) {
    return new Promise((resolve, reject) => {
      const waiter = { name, accept, resolve, reject };
      waiter.timer = setTimeout(() => {
        this.#eventWaiters.splice(this.#eventWaiters.indexOf(waiter), 1);
        reject(new Error(`QEMU sent no ${name} within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#eventWaiters.push(waiter);
    });
  }

  #send(command, args) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  #read(chunk) {
    const lines = (this.#text + chunk).split("\n");
    this.#text = lines.pop() ?? "";
    if (this.#text.length > MAX_LINE_CHARS) this.#socket.destroy(new Error("QMP: line too long"));
    for (const line of lines) if (line.trim() !== "") this.#take(JSON.parse(line));
  }

  #take(message) {
    if (message.event !== undefined) {
      for (const waiter of this.#eventWaiters.filter((w) => w.name === message.event && w.accept(message.data))) {
        this.#eventWaiters.splice(this.#eventWaiters.indexOf(waiter), 1);
        clearTimeout(waiter.timer);
        waiter.resolve(message.data);
      }
      return;
    }
    const waiting = this.#pending.get(message.id);
    if (waiting === undefined) return;
    this.#pending.delete(message.id);
    if (message.error === undefined) waiting.resolve(message.return);
    else waiting.reject(new Error(`QEMU: ${message.error.desc}`));
  }

  #end(error) {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    for (const { reject, timer } of this.#eventWaiters.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
  }
}
