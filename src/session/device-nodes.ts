/**
 * What the drivers of one device bring, as programs see it: their names, their nodes with the links, and the events about
 * them. It outlives rump processes.
 */
import { hex16 } from "../bytes.js";
import type { Link } from "../pud/links/links.js";
import type { HostNode } from "../pud/host.js";
import type { DeviceAnnouncement } from "../pud/payloads.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { failureCode, isOutOfResources, messageOf } from "../host/errors.js";
import type { EmitEvent } from "../host/events.js";
import { ServedNode } from "./served-node.js";
import type { HeldUnit, LocalUnits } from "../host/units.js";
import type { SessionRights } from "./rights.js";

/** When this machine had nothing left for a node's name. */
const AGAIN_MS = 2_000;

export interface DeviceNodesContext {
  readonly clock: Clock;
  readonly rights: SessionRights;
  readonly driverUnits: LocalUnits;
  readonly links: readonly Link[];
  readonly readOnly: boolean;
  /** Received bytes of a line may be late by so much; undefined: as the driver has it. */
  readonly latencyMs?: number | undefined;
  readonly emit: EmitEvent;
}

interface AttachedDriver {
  readonly unit: HeldUnit;
  readonly ids: string;
  readonly pid: number;
  readonly mode: string | undefined;
}

export class DeviceNodes {
  /** How events call the device. */
  readonly #key: string;
  readonly #context: DeviceNodesContext;
  /** By the name that the rump process gave. */
  readonly #drivers = new Map<string, AttachedDriver>();
  readonly #nodes = new Map<HostNode, Promise<ServedNode | undefined>>();
  readonly #removals = new Set<Promise<void>>();

  constructor(key: string, context: DeviceNodesContext) {
    this.#key = key;
    this.#context = context;
  }

  get hasDriver(): boolean {
    return this.#drivers.size > 0;
  }

  /** A driver has attached. Told once, also when later processes say it again of the same device driven in the same way. */
  attached(device: DeviceAnnouncement, pid: number): void {
    const { driverUnits, emit } = this.#context;
    const vendor = hex16(device.vendor);
    const product = hex16(device.product);
    const ids = `${vendor}:${product}:${device.serial}`;
    const known = this.#drivers.get(device.driver);
    if (known?.ids === ids && (known.pid === pid || known.mode === device.mode)) return;
    const unit = known?.unit ?? driverUnits.take(device.driver.replace(/[0-9]+$/, ""));
    this.#drivers.set(device.driver, { unit, ids, pid, mode: device.mode });
    const mode = device.mode === undefined ? {} : { mode: device.mode };
    emit({ event: "device", device: this.#key, vendor, product, driver: unit.name, pid, ...mode });
  }

  add(node: HostNode, isAgain = false): void {
    const { clock, emit } = this.#context;
    const served = ServedNode.serve(node.className, node.device, { ...this.#context, device: this.#key });
    this.#nodes.set(
      node,
      served.catch((error: unknown) => {
        if (isOutOfResources(error))
          clock.startTimer(AGAIN_MS, () => (this.#nodes.has(node) ? this.add(node, true) : undefined));
        if (isAgain) return undefined;
        emit({ event: "error", code: failureCode(error), message: messageOf(error), device: this.#key });
        return undefined;
      }),
    );
  }

  remove(node: HostNode, reason: string): void {
    const served = this.#nodes.get(node);
    this.#nodes.delete(node);
    if (served === undefined) return;
    const removal = served.then(async (it) => await it?.remove(reason)).finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** Resolves when the links of the nodes there are now are up, or have failed. */
  async served(): Promise<void> {
    await Promise.all(this.#nodes.values());
  }

  /** Resolves when every node is gone, those too that were on their way. */
  async removeAll(reason: string): Promise<void> {
    for (const node of this.#nodes.keys()) this.remove(node, reason);
    await Promise.all(this.#removals);
  }

  /** The device is not ours any more. */
  detach(): void {
    if (this.#drivers.size > 0) this.#context.emit({ event: "detach", device: this.#key });
    for (const { unit } of this.#drivers.values()) unit.release();
    this.#drivers.clear();
  }
}
