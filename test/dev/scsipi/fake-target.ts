/**
 * A SCSI target in memory: a sane disk whose answers a test can replace, one command at a time.
 *
 * Written from SPC-4 and SBC-3. It has a volatile cache that `powerCut` empties.
 */
import { viewOf } from "../../../src/bytes.js";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import {
  type ScsiCommand,
  type ScsiHost,
  type ScsiReply,
  type ScsiTransport,
  ScsiTransportError,
  type ScsiTransportErrorCode,
} from "../../../src/dev/scsipi/transport.js";
import type { Device, Disk } from "../../../src/rump/devsw.js";
import { createVirtualClock, type VirtualClock } from "../../../src/rumpuser/simulated.js";

/** Key, ASC, ASCQ. */
export type SenseTriple = readonly [key: number, asc: number, ascq: number];

export const SENSE = {
  becomingReady: [2, 0x04, 0x01],
  needsStart: [2, 0x04, 0x02],
  noMedium: [2, 0x3a, 0x00],
  mediumError: [3, 0x11, 0x00],
  hardware: [4, 0x44, 0x00],
  invalidOpcode: [5, 0x20, 0x00],
  invalidField: [5, 0x24, 0x00],
  mediumChanged: [6, 0x28, 0x00],
  reset: [6, 0x29, 0x00],
  modesChanged: [6, 0x2a, 0x01],
  capacityChanged: [6, 0x2a, 0x09],
  writeProtected: [7, 0x27, 0x00],
  aborted: [0xb, 0x4b, 0x00],
} as const satisfies Record<string, SenseTriple>;

/** What happens instead of executing the command. */
export type Answer =
  | { readonly sense: SenseTriple; readonly deferred?: true }
  | { readonly fails: ScsiTransportErrorCode; readonly resets?: true }
  | { readonly data: Uint8Array; readonly residueBytes?: number }
  /** Never ends but by the command's signal. */
  | "hang";

export interface TargetOptions {
  readonly blockBytes?: number;
  readonly blockCount?: number;
  readonly version?: number;
  readonly deviceType?: number;
  readonly removable?: boolean;
  readonly writeProtected?: boolean;
  /** undefined: no caching page. */
  readonly writeCacheEnabled?: boolean | undefined;
  readonly dpoFua?: boolean;
  /** UNMAP, WRITE SAME and the pages that say so. */
  readonly provisioned?: boolean;
  readonly lunCount?: number;
  readonly maxTransferBytes?: number;
  /** Commands at a time. Default 1. */
  readonly queueDepth?: number;
}

export class FakeTarget implements ScsiTransport {
  readonly maxTransferBytes: number;
  readonly lunCount: number;
  readonly queueDepth: number;
  resetCount = 0;
  /** The opcode of every command, in order. */
  readonly opcodes: number[] = [];
  readonly commands: ScsiCommand[] = [];
  /** Sparse: blocks that are not zero. */
  readonly medium = new Map<number, Uint8Array>();
  blockBytes: number;
  blockCount: number;
  readonly #options: TargetOptions;
  readonly #cache = new Map<number, Uint8Array>();
  readonly #answers: { readonly opcode: number | "any"; readonly answer: Answer; left: number }[] = [];
  #gate: Promise<void> | undefined;
  #sense: { triple: SenseTriple; deferred: boolean } = { triple: [0, 0, 0], deferred: false };

  constructor(options: TargetOptions = {}) {
    this.#options = options;
    this.blockBytes = options.blockBytes ?? 512;
    this.blockCount = options.blockCount ?? 4096;
    this.lunCount = options.lunCount ?? 1;
    this.queueDepth = options.queueDepth ?? 1;
    this.maxTransferBytes = options.maxTransferBytes ?? 1 << 20;
  }

  /** Replaces the answer to the next `times` commands of this kind (not REQUEST SENSE). */
  answer(opcode: number | "any", answer: Answer, times = 1): void {
    this.#answers.push({ opcode, answer, left: times });
  }

  count(opcode: number): number {
    return this.opcodes.filter((one) => one === opcode).length;
  }

  /** Resolves when a command of this kind has arrived. */
  async arrived(opcode: number): Promise<void> {
    while (!this.opcodes.includes(opcode)) await new Promise((resume) => setImmediate(resume));
  }

  /** Keeps commands from being executed until the returned function is called. */
  hold(): () => void {
    let release = (): void => {};
    this.#gate = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  powerCut(): void {
    this.#cache.clear();
  }

  async execute(command: ScsiCommand): Promise<ScsiReply> {
    if (command.signal?.aborted === true) throw new ScsiTransportError("SCSI_CANCELLED", "cancelled");
    const opcode = command.cdb[0] ?? 0;
    this.opcodes.push(opcode);
    this.commands.push(command);
    if (this.#gate !== undefined) await unlessAborted(this.#gate, command.signal);
    if (opcode === OPCODE.REQUEST_SENSE) return this.#senseReply(command);
    const row = this.#answers.find((one) => one.left > 0 && (one.opcode === "any" || one.opcode === opcode));
    if (row === undefined) return this.#perform(opcode, command);
    row.left--;
    return this.#replaced(row.answer, command);
  }

  async #replaced(answer: Answer, command: ScsiCommand): Promise<ScsiReply> {
    if (answer === "hang") return unlessAborted(new Promise<never>(() => {}), command.signal);
    if ("fails" in answer) {
      if (answer.resets === true) this.resetCount++;
      throw new ScsiTransportError(answer.fails, "the wire broke");
    }
    if ("sense" in answer) return this.#check(answer.sense, command, answer.deferred ?? false);
    return reply(command, answer.data, answer.residueBytes);
  }

  #perform(opcode: number, command: ScsiCommand): ScsiReply {
    const { cdb } = command;
    const view = viewOf(cdb);
    switch (opcode) {
      case OPCODE.TEST_UNIT_READY:
      case OPCODE.START_STOP_UNIT:
      case OPCODE.PREVENT_ALLOW:
        return reply(command);
      case OPCODE.INQUIRY:
        return reply(command, this.#inquiry(cdb));
      case OPCODE.MODE_SENSE_6:
        return reply(command, this.#modes());
      case OPCODE.READ_CAPACITY_10:
        return reply(command, this.#capacity10());
      case OPCODE.SERVICE_ACTION_IN_16:
        return reply(command, this.#capacity16());
      case OPCODE.READ_10:
        return this.#read(command, view.getUint32(2), view.getUint16(7));
      case OPCODE.READ_16:
        return this.#read(command, Number(view.getBigUint64(2)), view.getUint32(10));
      case OPCODE.WRITE_10:
        return this.#write(command, view.getUint32(2), view.getUint16(7), ((cdb[1] ?? 0) & 8) !== 0);
      case OPCODE.WRITE_16:
        return this.#write(command, Number(view.getBigUint64(2)), view.getUint32(10), ((cdb[1] ?? 0) & 8) !== 0);
      case OPCODE.SYNCHRONIZE_CACHE_10:
      case OPCODE.SYNCHRONIZE_CACHE_16:
        for (const [block, data] of this.#cache) this.medium.set(block, data);
        this.#cache.clear();
        return reply(command);
      case OPCODE.WRITE_SAME_16:
        if (this.#options.provisioned !== true || command.direction !== "out") break;
        for (let i = 0; i < view.getUint32(10); i++)
          this.#cache.set(Number(view.getBigUint64(2)) + i, command.data.slice(0, this.blockBytes));
        return reply(command);
      case OPCODE.UNMAP:
        if (this.#options.provisioned !== true || command.direction !== "out") break;
        this.#unmap(viewOf(command.data));
        return reply(command);
    }
    return this.#check(SENSE.invalidOpcode, command, false);
  }

  #unmap(list: DataView): void {
    const first = Number(list.getBigUint64(8));
    for (let i = 0; i < list.getUint32(16); i++) this.#cache.set(first + i, new Uint8Array(this.blockBytes));
  }

  #read(command: ScsiCommand, first: number, count: number): ScsiReply {
    if (first + count > this.blockCount) return this.#check([5, 0x21, 0], command, false);
    const data = new Uint8Array(count * this.blockBytes);
    for (let i = 0; i < count; i++) {
      const block = this.#cache.get(first + i) ?? this.medium.get(first + i);
      if (block !== undefined) data.set(block, i * this.blockBytes);
    }
    return reply(command, data);
  }

  #write(command: ScsiCommand, first: number, count: number, fua: boolean): ScsiReply {
    if (this.#options.writeProtected === true) return this.#check(SENSE.writeProtected, command, false);
    if (command.direction !== "out") throw new Error("WRITE without data");
    if (command.data.length !== count * this.blockBytes) throw new Error("WRITE with other data than the CDB says");
    for (let i = 0; i < count; i++) {
      const data = command.data.slice(i * this.blockBytes, (i + 1) * this.blockBytes);
      this.#cache.set(first + i, data);
      if (fua) this.medium.set(first + i, data);
    }
    return reply(command);
  }

  #check(triple: SenseTriple, command: ScsiCommand, deferred: boolean): ScsiReply {
    this.#sense = { triple, deferred };
    return { status: "check", data: new Uint8Array(0), residueBytes: bytesOf(command) };
  }

  #senseReply(command: ScsiCommand): ScsiReply {
    const [key, asc, ascq] = this.#sense.triple;
    const data = new Uint8Array(18);
    data.set([this.#sense.deferred ? 0x71 : 0x70, 0, key, 0, 0, 0, 0, 10]);
    data.set([asc, ascq], 12);
    this.#sense = { triple: [0, 0, 0], deferred: false };
    return reply(command, data);
  }

  #inquiry(cdb: Uint8Array): Uint8Array {
    if (((cdb[1] ?? 0) & 1) !== 0) return this.#vpd(cdb[2] ?? 0);
    const data = new Uint8Array(36).fill(0x20);
    data.set([
      this.#options.deviceType ?? 0,
      this.#options.removable === true ? 0x80 : 0,
      this.#options.version ?? 6,
      2,
      31,
    ]);
    data.set(Buffer.from("FAKE    Memory disk     1.00"), 8);
    return data;
  }

  #vpd(page: number): Uint8Array {
    const body: Record<number, Uint8Array> = {
      0x00: Uint8Array.of(0x00, 0xb0, 0xb2),
      0xb0: new Uint8Array(0x3c),
      0xb2: Uint8Array.of(0, 0xe0, 2, 0),
    };
    if (this.#options.provisioned !== true) body[0x00] = Uint8Array.of(0x00);
    const limits = viewOf(body[0xb0] ?? new Uint8Array(0));
    limits.setUint32(16, 256); // maximum unmap LBA count, bytes 20..23 of the page
    limits.setUint32(20, 1);
    limits.setBigUint64(32, 1024n); // maximum write same length, bytes 36..43
    const data = body[page] ?? new Uint8Array(0);
    return Uint8Array.of(0, page, 0, data.length, ...data);
  }

  #modes(): Uint8Array {
    const { writeProtected, dpoFua, writeCacheEnabled } = this.#options;
    const specific = (writeProtected === true ? 0x80 : 0) | (dpoFua === true ? 0x10 : 0);
    const page = writeCacheEnabled === undefined ? [] : [0x08, 0x12, writeCacheEnabled ? 4 : 0, ...new Uint8Array(17)];
    return Uint8Array.of(3 + page.length, 0, specific, 0, ...page);
  }

  #capacity10(): Uint8Array {
    const data = new Uint8Array(8);
    viewOf(data).setUint32(0, Math.min(this.blockCount - 1, 0xffffffff));
    viewOf(data).setUint32(4, this.blockBytes);
    return data;
  }

  #capacity16(): Uint8Array {
    const data = new Uint8Array(32);
    viewOf(data).setBigUint64(0, BigInt(this.blockCount - 1));
    viewOf(data).setUint32(8, this.blockBytes);
    if (this.#options.provisioned === true) data[14] = 0x80;
    return data;
  }
}

/** What the promise resolves to, or a rejection when the signal is aborted first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new ScsiTransportError("SCSI_CANCELLED", "cancelled"));
    signal?.addEventListener("abort", abort, { once: true });
    void promise.then((value) => {
      signal?.removeEventListener("abort", abort);
      resolve(value);
    });
  });
}

function bytesOf(command: ScsiCommand): number {
  if (command.direction === "none") return 0;
  return command.direction === "in" ? command.bytes : command.data.length;
}

/** A good reply; what does not fit is cut, what is missing is residue. */
function reply(command: ScsiCommand, data: Uint8Array = new Uint8Array(0), residueBytes?: number): ScsiReply {
  if (command.direction !== "in") return { status: "good", data: new Uint8Array(0), residueBytes: residueBytes ?? 0 };
  const fits = data.subarray(0, command.bytes);
  return { status: "good", data: fits, residueBytes: residueBytes ?? command.bytes - fits.length };
}

/** What a node was, and whether it still is. */
export interface FakeNode {
  readonly name: string;
  readonly device: Device;
  removed: string | undefined;
}

export class FakeHost implements ScsiHost {
  readonly clock: VirtualClock = createVirtualClock();
  readonly nodes: FakeNode[] = [];
  readonly lines: string[] = [];
  readonly #abort = new AbortController();
  readonly #undos: (() => void | Promise<void>)[] = [];

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  log(level: string, message: string): void {
    this.lines.push(`${level}: ${message}`);
  }

  publish(className: string, device: Device): { name: string; remove(reason: string): void } {
    const node: FakeNode = { name: `${className}${this.nodes.length}`, device, removed: undefined };
    this.nodes.push(node);
    return {
      name: node.name,
      remove: (reason) => {
        node.removed ??= reason;
      },
    };
  }

  onDetach(undo: () => void | Promise<void>): void {
    this.#undos.push(undo);
  }

  async detach(): Promise<void> {
    this.#abort.abort();
    for (let undo = this.#undos.pop(); undo !== undefined; undo = this.#undos.pop()) await undo();
  }

  /** The disk of a node. */
  disk(nth = this.nodes.length - 1): Disk {
    const device = this.nodes[nth]?.device;
    if (device?.kind !== "disk") throw new Error(`node ${nth} is no disk; the log says:\n${this.lines.join("\n")}`);
    return device;
  }
}
