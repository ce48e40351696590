/**
 * The handshake of one connection: greeting, client flags, options, until an export is chosen.
 *
 * Spec: "Fixed newstyle negotiation", "Option types". Oldstyle is not offered. A client has a bounded number of options of
 * bounded length; what is beyond that is taken for an attack and dropped ("Termination of the session during option
 * haggling" allows it).
 */
import { concat, RecordError, viewOf } from "../../../bytes.js";
import { MAX_REQUEST_BYTES, transmissionFlags } from "./export.js";
import type { ExportTable, NbdExport } from "./export.js";
import { Gatherer } from "../../gatherer.js";
import {
  EXPORT_NAME_ZEROES,
  HANDSHAKE_FLAG,
  INFO,
  INIT_PASSWD,
  MAX_STRING_BYTES,
  OPTION,
  OPTION_MAGIC,
  OPTION_REPLY,
  OPTION_REPLY_MAGIC,
  exportNameReply,
  greeting,
  infoBlockSize,
  infoExport,
  infoText,
  optionHeader,
  optionName,
  optionReplyHeader,
  serverName,
} from "./protocol.js";

export const MAX_OPTIONS = 256;
export const MAX_OPTION_BYTES = 64 * 1024;

const PREFERRED_BYTES = 4096;
const CLIENT_FLAGS_BYTES = 4;
const NO_DATA = new Uint8Array(0);
/** "Option types": these carry none. */
const WITHOUT_DATA: ReadonlySet<number> = new Set([OPTION.LIST, OPTION.STRUCTURED_REPLY]);

export interface HandshakeEvents {
  send(bytes: Uint8Array): void;
  /** The client broke the protocol and is to be dropped. */
  violation(message: string): void;
  /** NBD_OPT_ABORT: the client takes its leave. */
  aborted(): void;
  /** Transmission begins with the next byte. */
  chosen(exported: NbdExport, structuredReplies: boolean): void;
}

interface OptionRequest {
  readonly option: number;
  readonly data: Uint8Array;
}

export class Handshake {
  readonly #exports: ExportTable;
  readonly #events: HandshakeEvents;
  readonly #handlers: ReadonlyMap<number, (request: OptionRequest) => void>;
  #gatherer = new Gatherer(CLIENT_FLAGS_BYTES);
  #expects: (bytes: Uint8Array) => void = (bytes) => this.#clientFlags(bytes);
  #options = 0;
  #sendZeroes = true;
  #structuredReplies = false;
  #ended = false;

  constructor(exports: ExportTable, events: HandshakeEvents) {
    this.#exports = exports;
    this.#events = events;
    this.#handlers = new Map([
      [OPTION.EXPORT_NAME, (request: OptionRequest) => this.#exportName(request)],
      [OPTION.ABORT, (request) => this.#abort(request)],
      [OPTION.LIST, (request) => this.#list(request)],
      [OPTION.INFO, (request) => this.#infoOrGo(request)],
      [OPTION.GO, (request) => this.#infoOrGo(request)],
      [OPTION.STRUCTURED_REPLY, (request) => this.#structuredReply(request)],
    ]);
  }

  /** Sends the greeting. */
  start(): void {
    this.#events.send(
      greeting.encode({
        initPasswd: INIT_PASSWD,
        optionMagic: OPTION_MAGIC,
        handshakeFlags: HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES,
      }),
    );
  }

  /**
   * Takes bytes of the stream. The chunk is lent for the call.
   * @returns where it stopped: before the end of the chunk only when the handshake is over.
   */
  feed(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length && !this.#ended) {
      at += this.#gatherer.fill(chunk, at);
      if (this.#gatherer.complete) this.#expects(this.#gatherer.take());
    }
    return at;
  }

  /** What comes next on the stream; an option without data is handled where it stands. */
  #expect(bytes: number, handle: (bytes: Uint8Array) => void): void {
    if (bytes === 0) {
      handle(NO_DATA);
      return;
    }
    this.#gatherer = new Gatherer(bytes);
    this.#expects = handle;
  }

  #expectOption(): void {
    if (!this.#ended) this.#expect(optionHeader.size, (bytes) => this.#optionHeader(bytes));
  }

  /** "Client flags": an unknown flag, or one that was not offered, ends the connection. */
  #clientFlags(bytes: Uint8Array): void {
    const flags = viewOf(bytes).getUint32(0);
    const known = HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES;
    if ((flags & ~known) !== 0) {
      this.#violation(`client flags 0x${flags.toString(16)}, offered were 0x${known.toString(16)} (NBD Client flags)`);
      return;
    }
    this.#sendZeroes = (flags & HANDSHAKE_FLAG.NO_ZEROES) === 0;
    this.#expectOption();
  }

  #optionHeader(bytes: Uint8Array): void {
    const { magic, option, dataBytes } = optionHeader.decode(bytes);
    this.#options += 1;
    if (magic !== OPTION_MAGIC) {
      this.#violation(
        `option magic 0x${magic.toString(16)}, 0x${OPTION_MAGIC.toString(16)} needed (NBD Newstyle negotiation)`,
      );
    } else if (this.#options > MAX_OPTIONS) {
      this.#violation(`more than ${MAX_OPTIONS} options`);
    } else if (dataBytes > MAX_OPTION_BYTES) {
      if (option !== OPTION.EXPORT_NAME)
        this.#reply(option, OPTION_REPLY.ERR_TOO_BIG, utf8(`${dataBytes} bytes, at most ${MAX_OPTION_BYTES}`));
      this.#violation(`${optionName(option)} with ${dataBytes} bytes, at most ${MAX_OPTION_BYTES}`);
    } else {
      this.#expect(dataBytes, (data) => this.#option({ option, data }));
    }
  }

  #option(request: OptionRequest): void {
    const { option, data } = request;
    const handle = this.#handlers.get(option);
    if (handle === undefined)
      this.#reply(option, OPTION_REPLY.ERR_UNSUP, utf8(`${optionName(option)} is not supported`));
    else if (data.length > 0 && WITHOUT_DATA.has(option))
      this.#reply(option, OPTION_REPLY.ERR_INVALID, utf8(`${data.length} bytes of data, none allowed`));
    else handle(request);
    this.#expectOption();
  }

  /** The one option that has no way to say no ("the server MUST terminate the session"). */
  #exportName({ data }: OptionRequest): void {
    const name = textOf(data);
    const exported = name === undefined ? undefined : this.#find(name);
    if (exported === undefined) {
      this.#violation(`no export "${name ?? "(not UTF-8)"}" (NBD_OPT_EXPORT_NAME)`);
    } else if (exported.blockSizeRequired) {
      this.#violation(`export "${exported.name}" has blocks of ${exported.minimumBytes} bytes; NBD_OPT_GO is needed`);
    } else {
      const zeroes = this.#sendZeroes ? EXPORT_NAME_ZEROES : 0;
      const reply = new Uint8Array(exportNameReply.size + zeroes);
      exportNameReply.encodeInto(reply, 0, sizeAndFlags(exported, this.#structuredReplies));
      this.#events.send(reply);
      this.#choose(exported);
    }
  }

  #abort({ option }: OptionRequest): void {
    this.#reply(option, OPTION_REPLY.ACK);
    this.#ended = true;
    this.#events.aborted();
  }

  #list({ option }: OptionRequest): void {
    for (const exported of this.#exports.values()) {
      const name = utf8(exported.name);
      const head = serverName.encode({ nameBytes: name.length });
      this.#reply(option, OPTION_REPLY.SERVER, concat([head, name, utf8(exported.description)]));
    }
    this.#reply(option, OPTION_REPLY.ACK);
  }

  #structuredReply({ option }: OptionRequest): void {
    this.#structuredReplies = true;
    this.#reply(option, OPTION_REPLY.ACK);
  }

  #infoOrGo({ option, data }: OptionRequest): void {
    let wanted: { readonly name: string; readonly infos: ReadonlySet<number> };
    try {
      wanted = decodeInfoRequest(data);
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      this.#reply(option, OPTION_REPLY.ERR_INVALID, utf8(error.message));
      return;
    }
    const exported = this.#find(wanted.name);
    if (exported === undefined) {
      this.#reply(
        option,
        OPTION_REPLY.ERR_UNKNOWN,
        utf8(`no export "${wanted.name}"; there are: ${[...this.#exports.keys()].slice(0, 8).join(", ") || "none"}`),
      );
      return;
    }
    const blockSize = infoBlockSize.encode({
      infoType: INFO.BLOCK_SIZE,
      minimumBytes: exported.minimumBytes,
      preferredBytes: Math.max(PREFERRED_BYTES, exported.minimumBytes),
      maximumBytes: MAX_REQUEST_BYTES,
    });
    this.#reply(option, OPTION_REPLY.INFO, blockSize);
    if (exported.blockSizeRequired && !wanted.infos.has(INFO.BLOCK_SIZE)) {
      // The information goes first, so that the client can decide without asking again.
      const why = `blocks of ${exported.minimumBytes} bytes; ask for NBD_INFO_BLOCK_SIZE`;
      this.#reply(option, OPTION_REPLY.ERR_BLOCK_SIZE_REQD, utf8(why));
      return;
    }
    const size = { infoType: INFO.EXPORT, ...sizeAndFlags(exported, this.#structuredReplies) };
    this.#reply(option, OPTION_REPLY.INFO, infoExport.encode(size));
    if (wanted.infos.has(INFO.NAME)) this.#reply(option, OPTION_REPLY.INFO, textInfo(INFO.NAME, exported.name));
    if (wanted.infos.has(INFO.DESCRIPTION))
      this.#reply(option, OPTION_REPLY.INFO, textInfo(INFO.DESCRIPTION, exported.description));
    this.#reply(option, OPTION_REPLY.ACK);
    if (option === OPTION.GO) this.#choose(exported);
  }

  #choose(exported: NbdExport): void {
    this.#ended = true;
    this.#events.chosen(exported, this.#structuredReplies);
  }

  #violation(message: string): void {
    this.#ended = true;
    this.#events.violation(message);
  }

  #reply(option: number, replyType: number, data: Uint8Array = NO_DATA): void {
    const head = optionReplyHeader.encode({ magic: OPTION_REPLY_MAGIC, option, replyType, dataBytes: data.length });
    this.#events.send(concat([head, data]));
  }

  /** The empty name is the default export: the only one there is, if there is just one. */
  #find(name: string): NbdExport | undefined {
    const [only, ...others] = this.#exports.values();
    return this.#exports.get(name) ?? (name === "" && others.length === 0 ? only : undefined);
  }
}

function sizeAndFlags(exported: NbdExport, structuredReplies: boolean) {
  return {
    exportBytes: BigInt(exported.exportBytes),
    transmissionFlags: transmissionFlags(exported, structuredReplies),
  };
}

/**
 * Data of NBD_OPT_INFO and NBD_OPT_GO: 32 bits length of the name, the name, 16 bits number of information requests,
 * 16 bits for each. Exactly that many bytes.
 * @throws RecordError
 */
function decodeInfoRequest(data: Uint8Array): { name: string; infos: ReadonlySet<number> } {
  const fail = (message: string): RecordError => new RecordError("NBD_OPT_GO data", "NBD Option types", message);
  const view = viewOf(data);
  if (data.length < 6) throw fail(`${data.length} bytes, at least 6 needed`);
  const nameBytes = view.getUint32(0);
  if (nameBytes > MAX_STRING_BYTES || nameBytes > data.length - 6)
    throw fail(`name of ${nameBytes} bytes in ${data.length} bytes of data, at most ${MAX_STRING_BYTES}`);
  const name = textOf(data.subarray(4, 4 + nameBytes));
  if (name === undefined) throw fail("the name is not UTF-8");
  const infoCount = view.getUint16(4 + nameBytes);
  const infosAt = 6 + nameBytes;
  if (data.length !== infosAt + 2 * infoCount)
    throw fail(`${infoCount} information requests need ${infosAt + 2 * infoCount} bytes, there are ${data.length}`);
  const infos = new Set<number>();
  for (let index = 0; index < infoCount; index++) infos.add(view.getUint16(infosAt + 2 * index));
  return { name, infos };
}

function textInfo(infoType: number, text: string): Uint8Array {
  return concat([infoText.encode({ infoType }), utf8(text)]);
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** @returns undefined for bytes that are no string of the protocol ("Conventions"). */
function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.length > MAX_STRING_BYTES || bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined; // TypeError: not UTF-8
  }
}
