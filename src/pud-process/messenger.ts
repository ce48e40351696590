/**
 * Messages between the host process and the pud process: lines of JSON over a stream.
 *
 * A call is answered once, a notice is not. Descriptors go over a socket of their own, each before the answer that says how many
 * there are. What cannot be right ends the conversation: whoever of the two is hostile gets nothing done by that.
 */
import { errnoOf, HostError, isHostErrorCode, messageOf } from "../host/errors.js";
import { isLinkSetupErrorCode, LinkSetupError } from "../pud/links/errors.js";
import { shortageOf } from "../rumpuser/real/resources.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";

/** A line that is longer ends the conversation. */
const MAX_LINE_BYTES = 1 << 20;
/** So many calls may wait for their answers, of either side. */
const MAX_CALLS = 1 << 12;

/** An answer with descriptors. They are sent, and then `sent` is called: with false when one of them could not be. */
export class WithDescriptors {
  readonly value: object;
  readonly descriptors: readonly number[];
  readonly sent: (isSent: boolean) => void;

  constructor(value: object, descriptors: readonly number[], sent: (isSent: boolean) => void) {
    this.value = value;
    this.descriptors = descriptors;
    this.sent = sent;
  }
}

export interface MessengerOptions {
  /** What the other side may ask. What a handler throws is the answer. */
  readonly calls: Readonly<Record<string, (argument: unknown) => unknown>>;
  /** What it may tell. @throws Error what it told cannot be right: the conversation ends. */
  readonly notices: Readonly<Record<string, (argument: unknown) => void>>;
  /** Called for each message. @throws Error there are too many: the conversation ends. */
  readonly heard?: () => void;
  /** Sends a descriptor; left out: this side sends none. @throws SystemCallError */
  readonly sendDescriptor?: (fd: number) => void;
  /** The next descriptor that has come; left out: this side gets none. @throws SystemCallError */
  readonly takeDescriptor?: () => number;
  /** One that came and is not wanted. */
  readonly closeDescriptor?: (fd: number) => void;
  /**
   * The conversation has ended. Calls that wait have been answered with an error.
   * @param isFault  For what the other side said or did not do, and not because it closed the stream or this side did.
   */
  readonly ended: (reason: string, isFault: boolean) => void;
}

interface WireError {
  readonly code: string;
  readonly message: string;
  /** The machine had nothing left, as the system says it. */
  readonly shortage?: string;
}

interface Waiting {
  readonly answered: (value: unknown) => void;
  readonly failed: (error: Error) => void;
}

const ENCODER = new TextEncoder();

export class Messenger {
  readonly #stream: ByteStream;
  readonly #options: MessengerOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  /** What came of the next line. */
  #text = "";
  #lastCall = 0;
  /** Calls of the other side that are not answered yet. */
  #underWay = 0;
  #reason: string | undefined;

  constructor(stream: ByteStream, options: MessengerOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.onClose((reason) => this.end(reason));
    stream.onData((chunk) => this.#take(chunk));
  }

  /**
   * @param read  Reads what was answered, before anything that was said after it.
   * @throws what the other side's handler threw, and what `read` does; Error the conversation has ended.
   */
  async call<T>(name: string, argument: unknown, read: (answer: unknown) => T): Promise<T> {
    if (this.#reason !== undefined) throw new Error(this.#reason);
    if (this.#waiting.size >= MAX_CALLS) throw new Error(`${MAX_CALLS} calls wait for an answer already`);
    const call = ++this.#lastCall;
    const answer = new Promise<T>((resolve, reject) => {
      this.#waiting.set(call, {
        answered: (value) => {
          try {
            resolve(read(value));
          } catch (error) {
            reject(error);
          }
        },
        failed: reject,
      });
    });
    this.#send({ call, name, argument });
    return await answer;
  }

  notify(name: string, argument: unknown): void {
    this.#send({ notice: name, argument });
  }

  /** Nothing is said or heard any more. Later calls do nothing. */
  end(reason: string, isFault = false): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#stream.destroy();
    for (const { failed } of this.#waiting.values()) failed(new Error(reason));
    this.#waiting.clear();
    this.#options.ended(reason, isFault);
  }

  #send(message: object): void {
    if (this.#reason !== undefined) return;
    // A peer that asks and does not read would fill our memory.
    if (!this.#stream.write([ENCODER.encode(`${JSON.stringify(message)}\n`)]))
      this.end("the other process does not read", true);
  }

  #take(chunk: Uint8Array): void {
    try {
      this.#text += this.#decoder.decode(chunk, { stream: true });
      for (let end = this.#text.indexOf("\n"); end !== -1; end = this.#text.indexOf("\n")) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        if (this.#reason === undefined) this.#hear(JSON.parse(line));
      }
      if (this.#text.length > MAX_LINE_BYTES) throw new Error(`a line of more than ${MAX_LINE_BYTES} bytes`);
    } catch (error) {
      this.end(`what the other process says cannot be right: ${messageOf(error)}`, true);
    }
  }

  #hear(message: unknown): void {
    this.#options.heard?.();
    if (typeof message !== "object" || message === null) throw new Error("a line that is no message");
    if ("answer" in message) return this.#answered(message);
    const argument = "argument" in message ? message.argument : undefined;
    if ("notice" in message) return handlerOf(this.#options.notices, message.notice)(argument);
    if (!("call" in message) || typeof message.call !== "number" || !("name" in message))
      throw new Error("a message of no kind");
    const handler = handlerOf(this.#options.calls, message.name);
    if (this.#underWay >= MAX_CALLS) throw new Error(`more than ${MAX_CALLS} calls at a time`);
    void this.#answer(message.call, async () => await handler(argument));
  }

  async #answer(call: number, run: () => Promise<unknown>): Promise<void> {
    this.#underWay++;
    try {
      const value = await run();
      if (!(value instanceof WithDescriptors)) return this.#send({ answer: call, value });
      this.#give(call, value);
    } catch (error) {
      this.#send({ answer: call, error: wireError(error) });
    } finally {
      this.#underWay--;
    }
  }

  #give(call: number, { value, descriptors, sent }: WithDescriptors): void {
    let count = 0;
    try {
      if (this.#reason !== undefined) throw new Error(this.#reason);
      for (const fd of descriptors) {
        this.#options.sendDescriptor?.(fd);
        count++;
      }
      this.#send({ answer: call, value, descriptors: count });
    } catch (error) {
      // Those that went would be taken for those of a later answer.
      this.#send({ answer: call, error: wireError(error), descriptors: count });
    }
    sent(count === descriptors.length);
  }

  #answered(message: { readonly answer: unknown }): void {
    const waiting = typeof message.answer === "number" ? this.#waiting.get(message.answer) : undefined;
    if (waiting === undefined) throw new Error(`an answer to call ${String(message.answer)}, which does not wait`);
    this.#waiting.delete(message.answer as number);
    const value = "value" in message ? message.value : undefined;
    const count = "descriptors" in message && typeof message.descriptors === "number" ? message.descriptors : 0;
    try {
      const descriptors = this.#takeDescriptors(count);
      if ("error" in message) {
        this.#closeDescriptors(descriptors);
        return waiting.failed(thrownError(message.error));
      }
      waiting.answered(count === 0 ? value : { ...(value as object), descriptors });
    } catch (error) {
      waiting.failed(thrownError(wireError(error))); // this process may have no more of them
    }
  }

  /** All of them, or none. @throws SystemCallError */
  #takeDescriptors(count: number): (number | undefined)[] {
    const { takeDescriptor } = this.#options;
    if (takeDescriptor === undefined) return []; // whoever says that some come is not believed
    const results = Array.from({ length: count }, () => {
      try {
        return { fd: takeDescriptor() };
      } catch (error) {
        return { error };
      }
    });
    const failed = results.find((result) => "error" in result);
    if (failed === undefined) return results.map(({ fd }) => fd);
    this.#closeDescriptors(results.map(({ fd }) => fd));
    throw failed.error;
  }

  #closeDescriptors(descriptors: readonly (number | undefined)[]): void {
    for (const fd of descriptors) if (fd !== undefined) this.#options.closeDescriptor?.(fd);
  }
}

function handlerOf<T>(handlers: Readonly<Record<string, T>>, name: unknown): T {
  const handler = typeof name === "string" && Object.hasOwn(handlers, name) ? handlers[name] : undefined;
  if (handler === undefined) throw new Error(`nothing is called ${JSON.stringify(name)}`);
  return handler;
}

export function wireError(error: unknown): WireError {
  const shortage = shortageOf(error);
  return { code: errnoOf(error), message: messageOf(error), ...(shortage === undefined ? {} : { shortage }) };
}

/** What a wire error stands for; anything else is an error all the same. */
export function thrownError(wire: unknown): Error {
  const { code, message, shortage } = (typeof wire === "object" && wire !== null ? wire : {}) as Record<
    string,
    unknown
  >;
  const text = typeof message === "string" ? message : "an error that says nothing";
  const options = typeof shortage === "string" ? { cause: Object.assign(new Error(text), { code: shortage }) } : {};
  if (isHostErrorCode(code)) return new HostError(code, text, options);
  if (isLinkSetupErrorCode(code)) return new LinkSetupError(code, text, options);
  return Object.assign(new Error(text, options), typeof code === "string" ? { code } : {});
}
