/**
 * A hand-made NBD client, written from the protocol document and not from the server: it can say anything.
 *
 * It speaks over a `Wire`, which is a socket or, without one, a Connection in this process.
 */

export interface Wire {
  send(bytes: Uint8Array): void;
  readonly received: ByteQueue;
  close(): void;
}

/** Bytes that have arrived and were not read yet. */
export class ByteQueue {
  #bytes: Buffer = Buffer.alloc(0);
  #ended: string | undefined;
  #waiting: (() => void)[] = [];

  push(bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    this.#wake();
  }

  end(reason: string): void {
    this.#ended ??= reason;
    this.#wake();
  }

  get availableBytes(): number {
    return this.#bytes.length;
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Exactly `count` bytes. Rejects when the stream ends before. */
  async read(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) {
      if (this.#ended !== undefined)
        throw new Error(`stream ended (${this.#ended}): ${this.#bytes.length} of ${count} bytes`);
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  /** Resolves with what is left when the stream has ended. */
  async untilEnd(): Promise<Buffer> {
    while (this.#ended === undefined) await new Promise<void>((wake) => this.#waiting.push(wake));
    return this.#bytes;
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

export const OPT = { EXPORT_NAME: 1, ABORT: 2, LIST: 3, STARTTLS: 5, INFO: 6, GO: 7, STRUCTURED_REPLY: 8 } as const;
export const CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;
export const FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const;

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export interface Reply {
  readonly cookie: bigint;
  readonly error: number;
  readonly message: string;
  readonly offset: bigint | undefined;
  readonly data: Buffer;
}

export interface ChosenExport {
  readonly bytes: bigint;
  readonly flags: number;
}

export function option(code: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16);
  header.write("IHAVEOPT", 0, "latin1");
  header.writeUInt32BE(code, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

/** Data of INFO and GO. */
export function infoData(name: string, infos: readonly number[]): Buffer {
  const text = Buffer.from(name);
  const data = Buffer.alloc(4 + text.length + 2 + 2 * infos.length);
  data.writeUInt32BE(text.length, 0);
  text.copy(data, 4);
  data.writeUInt16BE(infos.length, 4 + text.length);
  infos.forEach((info, index) => data.writeUInt16BE(info, 6 + text.length + 2 * index));
  return data;
}

export interface RequestFields {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: bigint | number;
  readonly length?: number;
  readonly magic?: number;
  readonly data?: Uint8Array;
}

export function request(fields: RequestFields): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(fields.magic ?? 0x25609513, 0);
  header.writeUInt16BE(fields.flags ?? 0, 4);
  header.writeUInt16BE(fields.type, 6);
  header.writeBigUInt64BE(fields.cookie ?? 1n, 8);
  header.writeBigUInt64BE(BigInt(fields.offset ?? 0), 16);
  header.writeUInt32BE(fields.length ?? fields.data?.length ?? 0, 24);
  return fields.data === undefined ? header : Buffer.concat([header, fields.data]);
}

export class NbdClient {
  readonly wire: Wire;
  #structured = false;

  constructor(wire: Wire) {
    this.wire = wire;
  }

  send(bytes: Uint8Array): void {
    this.wire.send(bytes);
  }

  /** Reads the greeting and answers with client flags (default: fixed newstyle, no zeroes). */
  async greet(clientFlags = 3): Promise<{ handshakeFlags: number }> {
    const greeting = await this.wire.received.read(18);
    if (greeting.toString("latin1", 0, 16) !== "NBDMAGICIHAVEOPT")
      throw new Error(`greeting: ${greeting.toString("hex")}`);
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(clientFlags);
    this.send(flags);
    return { handshakeFlags: greeting.readUInt16BE(16) };
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.wire.received.read(20);
    if (header.readBigUInt64BE(0) !== 0x3e889045565a9n) throw new Error(`option reply: ${header.toString("hex")}`);
    return {
      option: header.readUInt32BE(8),
      type: header.readUInt32BE(12),
      data: await this.wire.received.read(header.readUInt32BE(16)),
    };
  }

  /** Sends an option; @returns all replies up to the final one (ACK or an error). */
  async ask(code: number, data?: Uint8Array): Promise<OptionReply[]> {
    this.send(option(code, data));
    const replies: OptionReply[] = [];
    for (;;) {
      const reply = await this.optionReply();
      replies.push(reply);
      if (reply.type === 1 || reply.type >= 0x80000000) return replies;
    }
  }

  async structured(): Promise<void> {
    const [reply] = await this.ask(OPT.STRUCTURED_REPLY);
    if (reply?.type !== 1) throw new Error(`structured replies refused: ${reply?.type}`);
    this.#structured = true;
  }

  /** Greeting, structured replies if wanted, GO with block sizes. */
  async go(name: string, { structured = false, infos = [3] } = {}): Promise<ChosenExport> {
    await this.greet();
    if (structured) await this.structured();
    const replies = await this.ask(OPT.GO, infoData(name, infos));
    const exported = replies.find((reply) => reply.type === 3 && reply.data.readUInt16BE(0) === 0);
    if (replies.at(-1)?.type !== 1 || exported === undefined)
      throw new Error(`GO: ${replies.at(-1)?.type.toString(16)} ${replies.at(-1)?.data.toString()}`);
    return { bytes: exported.data.readBigUInt64BE(2), flags: exported.data.readUInt16BE(10) };
  }

  /** Reads one answer. `dataBytes`: what a successful simple answer carries (that of a READ). */
  async reply(dataBytes = 0): Promise<Reply> {
    const magic = (await this.wire.received.read(4)).readUInt32BE(0);
    if (magic === 0x67446698) {
      const rest = await this.wire.received.read(12);
      const error = rest.readUInt32BE(0);
      const data = await this.wire.received.read(error === 0 ? dataBytes : 0);
      if (this.#structured && dataBytes > 0)
        throw new Error("simple reply to a READ after structured replies were agreed");
      return { cookie: rest.readBigUInt64BE(4), error, message: "", offset: undefined, data };
    }
    if (magic !== 0x668e33ef) throw new Error(`reply magic 0x${magic.toString(16)}`);
    if (!this.#structured) throw new Error("structured reply without having agreed on them");
    const rest = await this.wire.received.read(16);
    const [flags, type, cookie, length] = [
      rest.readUInt16BE(0),
      rest.readUInt16BE(2),
      rest.readBigUInt64BE(4),
      rest.readUInt32BE(12),
    ];
    if (flags !== 1) throw new Error(`chunk flags ${flags}: one chunk was expected`);
    const payload = await this.wire.received.read(length);
    if (type === 1)
      return { cookie, error: 0, message: "", offset: payload.readBigUInt64BE(0), data: payload.subarray(8) };
    if (type !== 0x8001) throw new Error(`chunk type ${type}`);
    const messageBytes = payload.readUInt16BE(4);
    if (messageBytes !== length - 6) throw new Error(`message of ${messageBytes} bytes in a chunk of ${length}`);
    return {
      cookie,
      error: payload.readUInt32BE(0),
      message: payload.toString("utf8", 6),
      offset: undefined,
      data: Buffer.alloc(0),
    };
  }

  /** One request and its answer. */
  async do(fields: RequestFields): Promise<Reply> {
    this.send(request(fields));
    return this.reply(fields.type === CMD.READ ? (fields.length ?? 0) : 0);
  }
}
