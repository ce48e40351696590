/** A device node as it is served: its name, and the links under which other programs reach it. */
import type { Disk, Tty } from "../rump/devsw.js";
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import { type Link, type LinkedNode, linksFor, linkWordsFor } from "../pud/links/links.js";
import { isOutOfResources, messageOf } from "../host/errors.js";
import type { EmitEvent, NodeEvent } from "../host/events.js";
import { readOnlyDisk } from "../pud/read-only.js";
import { ttyWithLatency } from "../pud/tty-latency.js";
import type { HeldUnit } from "../host/units.js";
import type { SessionRights } from "./rights.js";

/** When this machine had nothing left for a link. */
const AGAIN_MS = 2_000;

export interface NodeContext {
  readonly clock: Clock;
  /** How events call the device. */
  readonly device: string;
  readonly rights: Pick<SessionRights, "takeUnit">;
  /** The links there are; those that serve this kind of node are used. */
  readonly links: readonly Link[];
  readonly readOnly: boolean;
  /** Received bytes of a line may be late by so much; undefined: as the driver has it. */
  readonly latencyMs?: number | undefined;
  readonly emit: EmitEvent;
}

export class ServedNode {
  readonly #unit: HeldUnit;
  readonly #context: NodeContext;
  readonly #served: LinkedNode[] = [];
  /** Links that are to be opened again, and the opening that is under way. */
  readonly #due = new Set<Timer>();
  #opening: Promise<void> = Promise.resolve();
  #removed = false;

  private constructor(unit: HeldUnit, context: NodeContext) {
    this.#unit = unit;
    this.#context = context;
  }

  /**
   * Names the node and opens its links. A link that fails is an error event; the others serve. One for which this machine has nothing
   * left is tried again for as long as the node is there.
   */
  static async serve(className: string, device: Disk | Tty, context: NodeContext): Promise<ServedNode> {
    const unit = await context.rights.takeUnit(className);
    const node = new ServedNode(unit, context);
    const served = asAsked(device, context);
    const shown = served.kind === "disk" ? diskFields(served) : { model: served.info.model };
    context.emit({ event: "node", node: unit.name, kind: served.kind, device: context.device, ...shown });
    const links = linksFor(served.kind, context.links);
    const refusal = whyNotLinked(served, links, context);
    if (refusal !== undefined) context.emit({ event: "log", level: "warn", source: unit.name, message: refusal });
    else for (const link of links) await node.#open(link, served);
    return node;
  }

  get name(): string {
    return this.#unit.name;
  }

  /** Takes the links away: their clients are told. Then the name is free. Later calls do nothing. */
  async remove(reason: string): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    for (const timer of this.#due) timer.cancel();
    await this.#opening;
    const { device, emit } = this.#context;
    const results = await Promise.allSettled(this.#served.map(async (served) => await served.remove(reason)));
    for (const result of results)
      if (result.status === "rejected")
        emit({ event: "error", code: "LINK", message: `${this.name}: ${messageOf(result.reason)}`, device });
    this.#unit.release();
    emit({ event: "node-gone", node: this.name, device, reason });
  }

  async #open(link: Link, device: Disk | Tty, isAgain = false): Promise<void> {
    const { emit, device: key } = this.#context;
    try {
      const served = await link.serve(this.name, device);
      this.#served.push(served);
      const { uri, path } = served;
      emit({ event: "link", node: this.name, link: link.kind, uri, ...(path === undefined ? {} : { path }) });
    } catch (error) {
      if (isOutOfResources(error)) this.#openLater(link, device);
      if (isAgain) return;
      const message = `${this.name}: link ${link.kind}: ${messageOf(error)}`;
      emit({ event: "error", code: "LINK", message, device: key });
    }
  }

  #openLater(link: Link, device: Disk | Tty): void {
    if (this.#removed) return;
    const timer = this.#context.clock.startTimer(AGAIN_MS, () => {
      this.#due.delete(timer);
      this.#opening = this.#opening.then(async () => await this.#open(link, device, true));
    });
    this.#due.add(timer);
  }
}

function asAsked(device: Disk | Tty, { readOnly, latencyMs }: NodeContext): Disk | Tty {
  if (device.kind === "disk") return readOnly ? readOnlyDisk(device) : device;
  return latencyMs === undefined ? device : ttyWithLatency(device, latencyMs);
}

function diskFields({ info }: Disk): Pick<NodeEvent, "size" | "blockBytes" | "readOnly"> {
  const { blockBytes, blockCount, readOnly } = info;
  return { size: blockBytes * blockCount, blockBytes, readOnly };
}

/** Why other programs do not reach the node; undefined: they do. */
function whyNotLinked({ kind }: Disk | Tty, links: readonly Link[], { readOnly }: NodeContext): string | undefined {
  // Who only listens to a serial line still sets its speed and drives DTR: there is no such thing as a read-only one.
  if (kind === "tty" && readOnly) return "not served: --read-only, and a serial line cannot be read-only";
  if (links.length > 0) return undefined;
  const words = linkWordsFor(kind).map((word) => `--link ${word}`);
  return `no link serves a ${kind}${words.length === 0 ? "" : `; ${words.join(", ")} would`}`;
}
