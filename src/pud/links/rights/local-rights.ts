/** The rights of this process: what it makes for links, and takes back. */
import type { ListenAddress } from "../address.js";
import { LinkSetupError, messageOf } from "../errors.js";
import type { Listening, LinkRights } from "../link-rights.js";
import { bindSocket } from "./bind.js";

type TakeBack = () => Promise<void>;

export class LocalRights implements LinkRights {
  /** How to take back what was made, by its number; settled as soon as it is made, or has failed. */
  readonly #made = new Map<number, Promise<TakeBack>>();
  #lastNumber = 0;
  #released = false;

  async listen(address: ListenAddress): Promise<Listening> {
    const { number, made } = await this.#make(
      () => bindSocket(address),
      (bound) => bound.removeFile(),
    );
    const { fd, port } = made;
    return { listener: number, fd, ...(port === undefined ? {} : { port }) };
  }

  unlisten(listener: number): Promise<void> {
    return this.#takeBack(listener);
  }

  /**
   * Takes back everything that is left, for the user of these rights has gone, and makes nothing more. What is under way is waited for
   * and taken back too; its descriptors are the caller's as ever.
   * @throws AggregateError of LinkSetupErrors: what could not be taken back.
   */
  async releaseAll(): Promise<void> {
    this.#released = true;
    const results = await Promise.allSettled([...this.#made.keys()].map((number) => this.#takeBack(number)));
    const failures = results.flatMap((result): unknown[] => (result.status === "rejected" ? [result.reason] : []));
    if (failures.length > 0) throw new AggregateError(failures, failures.map(messageOf).join("; "));
  }

  async #make<T>(
    make: () => Promise<T>,
    takeBack: (made: T) => Promise<void>,
  ): Promise<{ readonly number: number; readonly made: T }> {
    if (this.#released) throw new LinkSetupError("LINK_FAILED", "the process that asks for it has ended");
    const number = ++this.#lastNumber;
    const making = make();
    const way = making.then(
      (made) => () => takeBack(made),
      () => () => Promise.resolve(),
    );
    this.#made.set(number, way);
    try {
      return { number, made: await making };
    } catch (error) {
      this.#made.delete(number);
      throw error;
    }
  }

  async #takeBack(number: number): Promise<void> {
    const way = this.#made.get(number);
    this.#made.delete(number);
    const takeBack = await way;
    await takeBack?.();
  }
}
