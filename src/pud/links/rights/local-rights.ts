/** The rights of this process: what it makes for links, and takes back. What few runs need is loaded when it is asked for. */
import { loadedOnce } from "../../../rumpuser/real/resources.js";
import type { ListenAddress } from "../address.js";
import { LinkSetupError, messageOf } from "../errors.js";
import type { KernelNbdOptions, LinkRights, ListeningSocket, OpenTerminal, TerminalPlace } from "../link-rights.js";
import { bindSocket } from "./bind.js";
import type { LocalTerminal } from "./local-terminal.js";

const loadTerminals = loadedOnce(async () => (await import("./local-terminal.js")).LocalTerminal);
const loadKernelNbd = loadedOnce(async () => (await import("./kernel-nbd.js")).attachKernelNbd);
const loadCuse = loadedOnce(async () => (await import("./cuse-device.js")).makeCuseDevice);

type TakeBack = () => void | Promise<void>;

export class LocalRights implements LinkRights {
  /** How to take back what was made, by its number: settled as soon as it is made, or has failed. */
  readonly #made = new Map<number, Promise<TakeBack>>();
  readonly #terminals = new Map<number, LocalTerminal>();
  #lastNumber = 0;
  #released = false;

  async listen(address: ListenAddress): Promise<ListeningSocket> {
    const { number, made } = await this.#make(
      () => bindSocket(address),
      (bound) => bound.removeFile(),
    );
    const { fd, port } = made;
    return { listener: number, fd, ...(port === undefined ? {} : { port }) };
  }

  async unlisten(listener: number): Promise<void> {
    await this.#takeBack(listener);
  }

  async openTerminal(): Promise<OpenTerminal> {
    const { number, made } = await this.#make(
      async () => (await loadTerminals()).open(),
      ({ terminal }) => terminal.close(),
    );
    const { terminal, master, uses } = made;
    this.#terminals.set(number, terminal);
    return { terminal: number, master, uses, device: terminal.device };
  }

  async nameTerminal(terminal: number, place: TerminalPlace): Promise<{ readonly path: string }> {
    const replaced = place.replaces === undefined ? undefined : this.#terminals.get(place.replaces);
    const name = (named: LocalTerminal): string => named.nameAs(place, replaced, this.#terminals.values());
    return { path: await this.#withTerminal(terminal, name) };
  }

  async refuseOthers(terminal: number): Promise<void> {
    await this.#withTerminal(terminal, (one) => one.refuseOthers());
  }

  async tidyTerminal(terminal: number): Promise<boolean> {
    return await this.#withTerminal(terminal, (one) => one.tidy());
  }

  async closeTerminal(terminal: number): Promise<void> {
    this.#terminals.delete(terminal);
    await this.#takeBack(terminal);
  }

  async attachKernelNbd(options: KernelNbdOptions): Promise<{ readonly attachment: number }> {
    const { number } = await this.#make(
      async () => await (await loadKernelNbd())(options),
      (attached) => attached.detach(),
    );
    return { attachment: number };
  }

  async detachKernelNbd(attachment: number): Promise<void> {
    await this.#takeBack(attachment);
  }

  async openCuse(name: string): Promise<{ readonly fd: number }> {
    // The device goes with the last descriptor of its connection: there is nothing to take back.
    const { number, made } = await this.#make(
      async () => await (await loadCuse())(name),
      () => undefined,
    );
    await this.#takeBack(number);
    return { fd: made };
  }

  /**
   * Takes back everything that is left, for the user of these rights has gone, and makes nothing more. What is under way is waited for
   * and taken back too; its descriptors are the caller's as ever.
   * @throws AggregateError of LinkSetupErrors: what could not be taken back.
   */
  async releaseAll(): Promise<void> {
    this.#released = true;
    const results = await Promise.allSettled([...this.#made.keys()].map((number) => this.#takeBack(number)));
    this.#terminals.clear();
    const failures = results.flatMap((result): unknown[] => (result.status === "rejected" ? [result.reason] : []));
    if (failures.length > 0) throw new AggregateError(failures, failures.map(messageOf).join("; "));
  }

  async #make<T>(
    make: () => Promise<T>,
    takeBack: (made: T) => void | Promise<void>,
  ): Promise<{ readonly number: number; readonly made: T }> {
    if (this.#released) throw new LinkSetupError("LINK_FAILED", "nothing is made for a process that has ended");
    const number = ++this.#lastNumber;
    const making = make();
    const way = making.then(
      (made) => () => takeBack(made),
      () => () => undefined, // told to the caller
    );
    this.#made.set(number, way);
    try {
      return { number, made: await making };
    } catch (error) {
      this.#made.delete(number);
      throw setupError(error);
    }
  }

  async #takeBack(number: number): Promise<void> {
    const way = this.#made.get(number);
    this.#made.delete(number);
    try {
      await (await way)?.();
    } catch (error) {
      throw setupError(error);
    }
  }

  async #withTerminal<T>(terminal: number, use: (terminal: LocalTerminal) => T): Promise<T> {
    const found = this.#terminals.get(terminal);
    if (found === undefined) throw new LinkSetupError("LINK_USAGE", `terminal ${terminal}: there is none`);
    try {
      return use(found);
    } catch (error) {
      throw setupError(error);
    }
  }
}

function setupError(error: unknown): LinkSetupError {
  if (error instanceof LinkSetupError) return error;
  return new LinkSetupError("LINK_FAILED", messageOf(error), { cause: error });
}
