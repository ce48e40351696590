/**
 * Autoconf: the tree of attached devices, and how each is taken apart again.
 *
 * What an attach acquires it registers with `onDetach` on the next line. The undos run in reverse order at detach, and
 * also when attach fails half-way; children go before their parent.
 */
import type { LogLevel } from "../rumpuser/rumpuser.js";

export type Undo = () => void | Promise<void>;
export type LogFunction = (level: LogLevel, source: string, message: string) => void;

/** Hands out unit numbers: the lowest free one of each name. */
export class Units {
  readonly #taken = new Map<string, Set<number>>();

  take(name: string): number {
    const taken = this.#taken.get(name) ?? new Set<number>();
    this.#taken.set(name, taken);
    let unit = 0;
    while (taken.has(unit)) unit++;
    taken.add(unit);
    return unit;
  }

  release(name: string, unit: number): void {
    this.#taken.get(name)?.delete(unit);
  }
}

/** One attached instance of a driver, `umass0 at uhub0`. */
export class DeviceNode {
  readonly name: string;
  readonly parent: DeviceNode | undefined;
  readonly #children = new Set<DeviceNode>();
  readonly #undos: Undo[] = [];
  readonly #abort = new AbortController();
  readonly #units: Units;
  readonly #log: LogFunction;
  #detaching: Promise<void> | undefined;

  private constructor(name: string, parent: DeviceNode | undefined, units: Units, log: LogFunction) {
    this.name = name;
    this.parent = parent;
    this.#units = units;
    this.#log = log;
  }

  /** The root of a tree: the thing that everything else is attached to. */
  static root(name: string, log: LogFunction): DeviceNode {
    return new DeviceNode(name, undefined, new Units(), log);
  }

  get children(): readonly DeviceNode[] {
    return [...this.#children];
  }

  /** Aborted when the node is being detached. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /**
   * Attaches a child as the next free unit of `driverName`.
   * @throws what `attach` threw, after everything it had registered was undone.
   */
  async attachChild(driverName: string, attach: (node: DeviceNode) => Promise<void>): Promise<DeviceNode> {
    this.signal.throwIfAborted();
    const unit = this.#units.take(driverName);
    const child = new DeviceNode(`${driverName}${unit}`, this, this.#units, this.#log);
    child.#undos.push(() => {
      this.#units.release(driverName, unit);
      this.#children.delete(child);
    });
    this.#children.add(child);
    try {
      await attach(child);
      child.signal.throwIfAborted();
    } catch (error) {
      await child.detach();
      throw error;
    }
    return child;
  }

  /**
   * Registers an undo. On a node that is gone already it runs at once.
   * @returns takes it back: what it would undo has been undone.
   */
  onDetach(undo: Undo): () => void {
    if (this.#detaching !== undefined) {
      this.#detaching = this.#detaching.then(() => this.#run(undo));
      return () => {};
    }
    this.#undos.push(undo);
    return () => {
      const at = this.#undos.lastIndexOf(undo);
      if (at >= 0) this.#undos.splice(at, 1);
    };
  }

  /** Takes the node and everything below it apart. An undo that fails is logged and the rest goes on. Idempotent. */
  detach(): Promise<void> {
    this.#detaching ??= this.#takeApart();
    return this.#detaching;
  }

  async #takeApart(): Promise<void> {
    this.#abort.abort();
    for (const child of [...this.#children].toReversed()) await child.detach();
    for (let undo = this.#undos.pop(); undo !== undefined; undo = this.#undos.pop()) await this.#run(undo);
  }

  async #run(undo: Undo): Promise<void> {
    try {
      await undo();
    } catch (error) {
      this.#log("warn", this.name, `detach: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
