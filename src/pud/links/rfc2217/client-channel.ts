/** The client's end of an RFC 2217 connection: what is agreed, questions and their answers, data both ways. */
import type { Socket } from "node:net";
import { DeviceError } from "../../../rump/devsw.js";
import { refusalOf } from "../serial/refusal.js";
import { NOTIFY_LINESTATE, NOTIFY_MODEMSTATE, SERVER } from "./comport.js";
import { type OptionChoice, TelnetOptions } from "./options.js";
import {
  BINARY,
  COM_PORT,
  DO,
  ECHO,
  encodeData,
  encodeNegotiation,
  encodeSubnegotiation,
  SUPPRESS_GO_AHEAD,
  TelnetDecoder,
  TIMING_MARK,
  type Verb,
  WILL,
} from "./telnet.js";

const OPTIONS: readonly OptionChoice[] = [
  { side: "us", option: BINARY, ask: true },
  { side: "them", option: BINARY, ask: true },
  { side: "us", option: COM_PORT, ask: true },
  { side: "us", option: SUPPRESS_GO_AHEAD, ask: false },
  { side: "them", option: SUPPRESS_GO_AHEAD, ask: false },
  { side: "them", option: ECHO, ask: false },
];

/** How long an answer may take; of a drain it is the device that decides. */
const ANSWER_MS = 10_000;
/** How long a server may take to hang up as well. */
const HANG_UP_MS = 2_000;
/** What a server may say before anything is agreed: a word of refusal. */
const MAX_WORD_BYTES = 200;

export interface ChannelUser {
  /** Data of the line, the user's to keep. */
  data(bytes: Uint8Array): void;
  /** NOTIFY-LINESTATE or NOTIFY-MODEMSTATE, also as an answer, before the answer. */
  notified(command: number, value: number): void;
  /** The connection is over. The last call. */
  ended(error: DeviceError): void;
}

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: DeviceError) => void;
}

export class ClientChannel {
  readonly #socket: Socket;
  readonly #user: ChannelUser;
  readonly #decoder: TelnetDecoder;
  readonly #options: TelnetOptions;
  #agreement: Waiter<void> | undefined;
  #isAgreed = false;
  /** What came before anything was agreed. */
  #word = "";
  #turn: Promise<unknown> = Promise.resolve();
  #question: (Waiter<Uint8Array> & { readonly command: number }) | undefined;
  #drains: Waiter<void>[] = [];
  #held = false;
  #end: DeviceError | undefined;
  readonly #closed: Promise<void>;

  /** The socket may still be connecting; the channel owns it. */
  constructor(socket: Socket, user: ChannelUser) {
    this.#socket = socket;
    this.#user = user;
    this.#decoder = new TelnetDecoder({
      data: (bytes) => this.#data(bytes),
      command: () => undefined,
      negotiation: (verb, option) => this.#negotiation(verb, option),
      subnegotiation: (option, payload) => this.#subnegotiation(option, payload),
      malformed: (message) => this.#fail(new DeviceError("EIO", message)),
    });
    this.#options = new TelnetOptions(
      OPTIONS,
      (verb, option) => this.#tell(encodeNegotiation(verb, option)),
      (_side, option, on) => {
        this.#decoder.binary = this.#options.isOn("them", BINARY);
        if (option === COM_PORT && !on) this.#fail(new DeviceError("EIO", "the server takes the COM port option back"));
        this.#checkAgreed();
      },
    );
    this.#closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#fail(new DeviceError("ENODEV", "the server has hung up"));
        resolve();
      });
    });
    socket.on("error", (error) =>
      this.#fail(error instanceof DeviceError ? error : new DeviceError("ENODEV", error.message, { cause: error })),
    );
    socket.on("data", (chunk: Uint8Array) => this.#decoder.feed(chunk));
  }

  /** Resolves when both ends speak RFC 2217 in BINARY. @throws DeviceError EBUSY with the server's word, ENODEV, ETIMEDOUT. */
  async agree(): Promise<void> {
    const agreed = new Promise<void>((resolve, reject) => {
      this.#agreement = { resolve, reject };
    });
    this.#options.start();
    await this.#inTime(agreed, "the server does not speak RFC 2217");
    this.#isAgreed = true;
  }

  /** Sends a command and returns the value of its answer. One at a time, in the order of the calls. @throws DeviceError */
  ask(command: number, value: Uint8Array): Promise<Uint8Array> {
    const answer = this.#turn.then(() => this.#ask(command, value));
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  /** Resolves when the socket has taken the data. @throws Error */
  send(data: Uint8Array): Promise<void> {
    return this.#write(encodeData(data, this.#options.isOn("us", BINARY)));
  }

  /** Resolves when what was sent before has left the device. @throws DeviceError */
  async drain(): Promise<void> {
    this.#checkOpen();
    const drained = new Promise<void>((resolve, reject) => this.#drains.push({ resolve, reject }));
    this.#tell(encodeNegotiation(DO, TIMING_MARK));
    await drained;
  }

  /** Reads nothing more for now; while a question is open it reads all the same, for the answer is behind the data. */
  hold(held: boolean): void {
    this.#held = held;
    this.#steer();
  }

  /** Ends the connection; what was sent still leaves. Never rejects. */
  async close(): Promise<void> {
    this.#fail(new DeviceError("ECANCELED", "the port was closed"));
    await this.#closed;
  }

  async #ask(command: number, value: Uint8Array): Promise<Uint8Array> {
    this.#checkOpen();
    const answered = new Promise<Uint8Array>((resolve, reject) => {
      this.#question = { command, resolve, reject };
    });
    this.#steer();
    this.#tell(encodeSubnegotiation(COM_PORT, Uint8Array.of(command, ...value)));
    try {
      return await this.#inTime(answered, `COM port command ${command} is not answered`);
    } finally {
      this.#question = undefined;
      this.#steer();
    }
  }

  async #inTime<T>(waiting: Promise<T>, otherwise: string): Promise<T> {
    const timer = setTimeout(
      () => this.#fail(new DeviceError("ETIMEDOUT", `${otherwise} within ${ANSWER_MS} ms`)),
      ANSWER_MS,
    );
    try {
      return await waiting;
    } finally {
      clearTimeout(timer);
    }
  }

  #data(bytes: Uint8Array): void {
    if (this.#isAgreed) this.#user.data(bytes);
    else if (this.#word.length < MAX_WORD_BYTES)
      this.#word += Buffer.from(bytes)
        .toString("latin1")
        .slice(0, MAX_WORD_BYTES)
        .replaceAll(/[^\x20-\x7e]/g, "");
  }

  #negotiation(verb: Verb, option: number): void {
    if (verb === WILL && option === TIMING_MARK) this.#drains.shift()?.resolve();
    else this.#options.heard(verb, option);
  }

  #subnegotiation(option: number, payload: Uint8Array): void {
    if (option !== COM_PORT) return;
    const [answer = 0, first = 0] = payload;
    const command = answer - SERVER;
    if (command === NOTIFY_LINESTATE || command === NOTIFY_MODEMSTATE) this.#user.notified(command, first);
    if (this.#question?.command === command) this.#question.resolve(payload.subarray(1));
  }

  #checkAgreed(): void {
    const on = this.#options;
    if (on.isOn("us", COM_PORT) && on.isOn("us", BINARY) && on.isOn("them", BINARY)) this.#agreement?.resolve();
  }

  #steer(): void {
    const isOver = this.#end !== undefined;
    if (this.#held && this.#question === undefined && !isOver) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Of a write that fails the socket tells by itself. */
  #tell(bytes: Uint8Array): void {
    void this.#write(bytes).catch(() => undefined);
  }

  #write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) reject(this.#end);
      else this.#socket.write(bytes, (error) => (error ? reject(this.#end ?? error) : resolve()));
    });
  }

  #fail(error: DeviceError): void {
    if (this.#end !== undefined) return;
    const refused = !this.#isAgreed && this.#word !== "" && error.code === "ENODEV";
    this.#end = refused ? refusalOf(this.#word) : error;
    this.#agreement?.reject(this.#end);
    this.#question?.reject(this.#end);
    for (const drain of this.#drains.splice(0)) drain.reject(this.#end);
    if (error.code === "ECANCELED") this.#hangUp();
    else this.#socket.destroy();
    this.#user.ended(this.#end);
  }

  /** What was sent is still to arrive: a TCP socket that is destroyed with bytes unread takes it back (RFC 1122 §4.2.2.13). */
  #hangUp(): void {
    this.#socket.end();
    this.#socket.resume();
    const timer = setTimeout(() => this.#socket.destroy(), HANG_UP_MS);
    this.#socket.once("close", () => clearTimeout(timer));
  }

  #checkOpen(): void {
    if (this.#end !== undefined) throw new DeviceError("ENODEV", this.#end.message);
  }
}
