/**
 * Telnet, as far as a serial line over it needs: bytes to data, commands and options, and back.
 *
 * RFC 854 (commands, IAC doubled in data, CR followed by LF or NUL), RFC 855 (options and subnegotiation), RFC 856 (BINARY).
 * Both ends of a connection are coded alike, so the server and the client use the same code. Whatever comes in is a
 * stranger's: nothing is kept but one subnegotiation, which is bounded.
 */

/** RFC 854, "TELNET command structure". */
export const SE = 240;
export const NOP = 241;
export const BRK = 243;
export const AYT = 246;
export const SB = 250;
export const WILL = 251;
export const WONT = 252;
export const DO = 253;
export const DONT = 254;
export const IAC = 255;

export const VERBS = { [WILL]: "WILL", [WONT]: "WONT", [DO]: "DO", [DONT]: "DONT" } as const;
export type Verb = keyof typeof VERBS;

/** The options by number: RFC 856, 857, 858, 860, 2217. */
export const BINARY = 0;
export const ECHO = 1;
export const SUPPRESS_GO_AHEAD = 3;
export const TIMING_MARK = 6;
export const COM_PORT = 44;

/** The longest of RFC 2217 is a signature, which is text of any length: longer ones are not read. */
export const MAX_SUBNEGOTIATION_BYTES = 1024;

const NUL = 0;
const LF = 10;
const CR = 13;

export interface TelnetSink {
  /** Data in order; the memory is the receiver's to keep, and may be a part of what was fed. */
  data(bytes: Uint8Array): void;
  /** A command without an option: BRK, AYT, NOP … */
  command(code: number): void;
  negotiation(verb: Verb, option: number): void;
  /** What stood between IAC SB OPTION and IAC SE, with IACs undoubled; a copy. */
  subnegotiation(option: number, payload: Uint8Array): void;
  /** A subnegotiation that was dropped. */
  malformed(message: string): void;
}

type State = "data" | "iac" | "option" | "sb" | "sbIac";

export class TelnetDecoder {
  readonly #sink: TelnetSink;
  readonly #payload = new Uint8Array(MAX_SUBNEGOTIATION_BYTES);
  /** Bytes of the subnegotiation so far, the option included; may grow beyond what is kept. */
  #payloadBytes = 0;
  #state: State = "data";
  #verb: Verb = DONT;
  #afterCr = false;
  /** The other end sends BINARY: a NUL after CR is data. */
  binary = false;

  constructor(sink: TelnetSink) {
    this.#sink = sink;
  }

  /** Takes bytes in any cut. The chunk is not touched, and must not be changed as long as data is in use. */
  feed(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "data") at = this.#feedData(chunk, at);
      else this.#feedByte(chunk[at++] ?? 0);
    }
  }

  /** Data up to a command, undoubled. @returns where to go on. */
  #feedData(chunk: Uint8Array, start: number): number {
    const firstIac = chunk.indexOf(IAC, start);
    if (firstIac === -1 && this.binary) {
      this.#afterCr = false;
      this.#sink.data(start === 0 ? chunk : chunk.subarray(start));
      return chunk.length;
    }
    const out = new Uint8Array(chunk.length - start);
    let length = 0;
    let at = start;
    while (at < chunk.length) {
      const byte = chunk[at++] ?? 0;
      if (byte === IAC) {
        if (chunk[at] !== IAC) {
          this.#state = "iac";
          break;
        }
        at++;
      }
      const padding = byte === NUL && this.#afterCr;
      this.#afterCr = byte === CR && !this.binary;
      if (!padding) out[length++] = byte;
    }
    if (length > 0) this.#sink.data(out.subarray(0, length));
    return at;
  }

  #feedByte(byte: number): void {
    switch (this.#state) {
      case "iac":
        return this.#feedCommand(byte);
      case "option":
        this.#state = "data";
        return this.#sink.negotiation(this.#verb, byte);
      case "sb":
        if (byte === IAC) this.#state = "sbIac";
        else this.#keep(byte);
        return;
      case "sbIac":
        return this.#feedSubnegotiationCommand(byte);
      case "data":
        return;
    }
  }

  #feedCommand(code: number): void {
    this.#state = "data";
    if (code === IAC) {
      this.#afterCr = false;
      this.#sink.data(Uint8Array.of(IAC));
    } else if (isVerb(code)) {
      this.#verb = code;
      this.#state = "option";
    } else if (code === SB) {
      this.#payloadBytes = 0;
      this.#state = "sb";
    } else if (code === SE) this.#sink.malformed("IAC SE without IAC SB (RFC 855)");
    else this.#sink.command(code);
  }

  #feedSubnegotiationCommand(code: number): void {
    if (code === IAC) {
      this.#state = "sb";
      this.#keep(IAC);
      return;
    }
    if (code === SE) {
      this.#state = "data";
      this.#endSubnegotiation();
      return;
    }
    this.#sink.malformed(`IAC ${code} in a subnegotiation (RFC 855)`);
    this.#feedCommand(code);
  }

  #endSubnegotiation(): void {
    const bytes = this.#payloadBytes;
    if (bytes === 0) this.#sink.malformed("a subnegotiation without an option (RFC 855)");
    else if (bytes > MAX_SUBNEGOTIATION_BYTES)
      this.#sink.malformed(`a subnegotiation of ${bytes} bytes, at most ${MAX_SUBNEGOTIATION_BYTES} are read`);
    else this.#sink.subnegotiation(this.#payload[0] ?? 0, this.#payload.slice(1, bytes));
  }

  #keep(byte: number): void {
    if (this.#payloadBytes < MAX_SUBNEGOTIATION_BYTES) this.#payload[this.#payloadBytes] = byte;
    this.#payloadBytes++;
  }
}

function isVerb(code: number): code is Verb {
  return Object.hasOwn(VERBS, code);
}

/**
 * Data as it goes on the wire.
 * @param binary  BINARY is agreed for this direction; else a CR that no LF follows is followed by NUL (RFC 854, "The NVT
 *   printer and keyboard").
 * @returns a copy.
 */
export function encodeData(data: Uint8Array, binary: boolean): Uint8Array {
  const stuffing = countStuffing(data, binary);
  if (stuffing === 0) return new Uint8Array(data);
  const out = new Uint8Array(data.length + stuffing);
  let length = 0;
  for (const [index, byte] of data.entries()) {
    out[length++] = byte;
    if (byte === IAC) out[length++] = IAC;
    else if (!binary && byte === CR && data[index + 1] !== LF) out[length++] = NUL;
  }
  return out;
}

function countStuffing(data: Uint8Array, binary: boolean): number {
  let count = 0;
  for (let at = data.indexOf(IAC); at !== -1; at = data.indexOf(IAC, at + 1)) count++;
  if (binary) return count;
  for (let at = data.indexOf(CR); at !== -1; at = data.indexOf(CR, at + 1)) if (data[at + 1] !== LF) count++;
  return count;
}

export function encodeNegotiation(verb: Verb, option: number): Uint8Array {
  return Uint8Array.of(IAC, verb, option);
}

/** IAC SB OPTION payload IAC SE, the payload's IACs doubled. */
export function encodeSubnegotiation(option: number, payload: Uint8Array): Uint8Array {
  return Uint8Array.of(IAC, SB, option, ...encodeData(payload, true), IAC, SE);
}
