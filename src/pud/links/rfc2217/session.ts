/**
 * RFC 2217 with one client: telnet on the outside, the COM port option on the inside.
 *
 * The server asks for BINARY in both directions, and offers to suppress go-aheads and to echo: the device does what is
 * echoed, and a plain telnet client becomes a terminal by that. DO TIMING-MARK (RFC 860) is answered when what was sent
 * before it has left the device.
 */
import type { TtyStatus } from "../../../rump/devsw.js";
import { messageOf } from "../errors.js";
import { type Conversation, type LineProtocol, MAX_BACKLOG_BYTES } from "../serial/connection.js";
import { ComPortServer } from "./comport-server.js";
import { FLOWCONTROL_RESUME, FLOWCONTROL_SUSPEND } from "./comport.js";
import { type OptionChoice, type Side, TelnetOptions } from "./options.js";
import {
  AYT,
  BINARY,
  BRK,
  COM_PORT,
  DO,
  ECHO,
  encodeData,
  encodeNegotiation,
  encodeSubnegotiation,
  IAC,
  NOP,
  SUPPRESS_GO_AHEAD,
  TelnetDecoder,
  TIMING_MARK,
  type Verb,
  WILL,
} from "./telnet.js";

const OPTIONS: readonly OptionChoice[] = [
  { side: "us", option: BINARY, ask: true },
  { side: "them", option: BINARY, ask: true },
  { side: "us", option: SUPPRESS_GO_AHEAD, ask: true },
  { side: "them", option: SUPPRESS_GO_AHEAD, ask: false },
  { side: "us", option: ECHO, ask: true },
  { side: "us", option: COM_PORT, ask: false },
  { side: "them", option: COM_PORT, ask: true },
];

/** What a client may get wrong before it is taken for one that speaks something else. */
const MAX_FAULTS = 100;
/** Commands that wait for the device, before the client is held. */
const MAX_PENDING = 64;

export class Rfc2217Session implements LineProtocol {
  readonly probe = Uint8Array.of(IAC, NOP);
  readonly #with: Conversation;
  readonly #decoder: TelnetDecoder;
  readonly #options: TelnetOptions;
  readonly #comPort: ComPortServer;
  #drains = 0;
  #faults = 0;

  /** @param signature  What a client is told that asks who is there. */
  constructor(conversation: Conversation, signature: string) {
    this.#with = conversation;
    const { line, outlet, log } = conversation;
    this.#decoder = new TelnetDecoder({
      data: (bytes) => line.write(bytes),
      command: (code) => this.#command(code),
      negotiation: (verb, option) => this.#negotiation(verb, option),
      subnegotiation: (option, payload) => this.#subnegotiation(option, payload),
      malformed: (message) => this.#fault(message),
    });
    this.#options = new TelnetOptions(
      OPTIONS,
      (verb, option) => outlet.send(encodeNegotiation(verb, option)),
      (side, option, on) => this.#optionChanged(side, option, on),
    );
    this.#comPort = new ComPortServer({
      line,
      clock: conversation.clock,
      signature,
      say: (payload) => outlet.send(encodeSubnegotiation(COM_PORT, payload)),
      mayNotify: () => !outlet.suspended && outlet.backlogBytes <= MAX_BACKLOG_BYTES,
      settled: () => conversation.steer(),
      fault: (message) => this.#fault(message),
      log,
    });
  }

  get busy(): boolean {
    return this.#comPort.pending + this.#drains >= MAX_PENDING;
  }

  start(): void {
    this.#options.start();
  }

  receive(chunk: Uint8Array): void {
    this.#decoder.feed(chunk);
    const { outlet, drop } = this.#with;
    if (outlet.suspended && outlet.backlogBytes > MAX_BACKLOG_BYTES)
      drop(`${outlet.backlogBytes} bytes wait for FLOWCONTROL-RESUME, at most ${MAX_BACKLOG_BYTES} may (RFC 2217 §5)`);
  }

  encode(data: Uint8Array): Uint8Array {
    return encodeData(data, this.#options.isOn("us", BINARY));
  }

  changed(status: TtyStatus): void {
    this.#comPort.changed(status);
  }

  caughtUp(): void {
    this.#comPort.catchUp();
  }

  #command(code: number): void {
    if (code === BRK) this.#comPort.sendBreak();
    else if (code === AYT) this.#with.outlet.send(Buffer.from("\r\n[yes]\r\n"));
  }

  #negotiation(verb: Verb, option: number): void {
    if (verb === DO && option === TIMING_MARK) void this.#markTime();
    else this.#options.heard(verb, option);
  }

  #subnegotiation(option: number, payload: Uint8Array): void {
    const { outlet } = this.#with;
    if (option !== COM_PORT) return this.#fault(`subnegotiation of option ${option}, which was not agreed`);
    if (!this.#agreed) return this.#fault("a COM port command before the option was agreed (RFC 2217 §1)");
    const [command] = payload;
    if (command === FLOWCONTROL_SUSPEND) outlet.suspend();
    else if (command === FLOWCONTROL_RESUME) {
      outlet.resume();
      this.#comPort.catchUp();
    } else this.#comPort.command(payload);
  }

  /** Clients differ in whether they offer the option or ask for it. */
  get #agreed(): boolean {
    return this.#options.isOn("them", COM_PORT) || this.#options.isOn("us", COM_PORT);
  }

  #optionChanged(side: Side, option: number, on: boolean): void {
    if (option === BINARY && side === "them") this.#decoder.binary = on;
    if (option === COM_PORT) this.#comPort.setActive(this.#agreed);
  }

  /** What cannot be understood is left out; whoever sends much of it is dropped. */
  #fault(message: string): void {
    const { log, drop } = this.#with;
    this.#faults++;
    if (this.#faults <= MAX_FAULTS) log("error", message);
    if (this.#faults === MAX_FAULTS) drop(`${MAX_FAULTS} faults`);
  }

  async #markTime(): Promise<void> {
    const { line, outlet, log, steer } = this.#with;
    this.#drains++;
    try {
      await line.drain();
    } catch (error) {
      log("debug", `timing mark: ${messageOf(error)}`);
    }
    this.#drains--;
    outlet.send(encodeNegotiation(WILL, TIMING_MARK));
    steer();
  }
}
