/** A device node on the host's side: its name, and the links under which other programs reach it. */
import type { Disk } from "../rump/devsw.js";
import type { Link, LinkedNode } from "../pud/links/links.js";
import { HostError, messageOf } from "./errors.js";
import type { EmitEvent } from "./events.js";
import { readOnlyDisk } from "./read-only.js";
import type { HeldUnit, TakeUnit } from "./units.js";

export interface NodeContext {
  /** How events call the device. */
  readonly device: string;
  readonly takeUnit: TakeUnit;
  /** Links that serve this kind of node. */
  readonly links: readonly Link[];
  readonly readOnly: boolean;
  readonly emit: EmitEvent;
}

export class ServedNode {
  readonly #unit: HeldUnit;
  readonly #context: NodeContext;
  readonly #served: LinkedNode[] = [];
  #removed = false;

  private constructor(unit: HeldUnit, context: NodeContext) {
    this.#unit = unit;
    this.#context = context;
  }

  /** Names the node and opens its links. A link that fails is an error event; the others serve. */
  static async serve(className: string, disk: Disk, context: NodeContext): Promise<ServedNode> {
    const unit = await context.takeUnit(className);
    const node = new ServedNode(unit, context);
    const served = context.readOnly ? readOnlyDisk(disk) : disk;
    const { blockBytes, blockCount, readOnly } = served.info;
    context.emit({
      event: "node",
      node: unit.name,
      kind: "disk",
      device: context.device,
      size: blockBytes * blockCount,
      blockBytes,
      readOnly,
    });
    for (const link of context.links) await node.#open(link, served);
    return node;
  }

  get name(): string {
    return this.#unit.name;
  }

  /** Takes the links away: their clients are told. Then the name is free. Later calls do nothing. */
  async remove(reason: string): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    const { device, emit } = this.#context;
    const results = await Promise.allSettled(this.#served.map(async (served) => await served.remove(reason)));
    for (const result of results)
      if (result.status === "rejected")
        emit({ event: "error", code: "LINK", message: `${this.name}: ${messageOf(result.reason)}`, device });
    this.#unit.release();
    emit({ event: "node-gone", node: this.name, device, reason });
  }

  async #open(link: Link, disk: Disk): Promise<void> {
    const { device, emit } = this.#context;
    try {
      const served = await link.serve(this.name, disk);
      this.#served.push(served);
      const { uri, path } = served;
      emit({ event: "link", node: this.name, link: link.kind, uri, ...(path === undefined ? {} : { path }) });
    } catch (error) {
      const failure = new HostError("LINK", `${this.name}: link ${link.kind}: ${messageOf(error)}`);
      emit({ event: "error", code: failure.code, message: failure.message, device });
    }
  }
}
