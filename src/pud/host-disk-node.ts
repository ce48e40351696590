/** A disk node on the host: its queue, what is known of its medium, and the disk that links see. */
import type { DeviceErrorCode, DiskInfo } from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { type FrameHeader, KIND_BY_NUMBER } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import { HostDisk } from "./host-disk.js";
import { DiskQueue } from "./host-disk-queue.js";
import type { NodeContext, NodeHalf, Readmission } from "./host-node.js";
import { MediumMemory } from "./medium-memory.js";
import { learnEdges, readmit } from "./readmission.js";

export class DiskNode implements NodeHalf {
  readonly device: HostDisk;
  readonly patienceMs = 0;
  readonly #queue: DiskQueue;
  readonly #memory: MediumMemory | undefined;

  constructor(info: DiskInfo, context: NodeContext) {
    const { replug } = context;
    this.#memory = replug === undefined ? undefined : new MediumMemory(info, replug.journalBytes);
    this.#queue = new DiskQueue(context, this.#memory);
    this.device = new HostDisk(info, this.#queue);
  }

  get bound(): boolean {
    return this.#queue.bound;
  }

  begin(channel: HostChannel, nodeNumber: number): void {
    this.#queue.bind(channel, nodeNumber);
    if (this.#memory !== undefined) void learnEdges(this.#queue, this.device.info, this.#memory);
  }

  resume(channel: HostChannel, nodeNumber: number, isDoubtful: boolean): Promise<Readmission> | undefined {
    const isChecked = isDoubtful && this.#memory !== undefined;
    this.#queue.bind(channel, nodeNumber, isChecked);
    return isChecked ? this.#readmit(channel, this.#memory) : undefined;
  }

  unbind(isLoss: boolean): void {
    this.#queue.unbind(isLoss);
  }

  pump(): void {
    this.#queue.pump();
  }

  admit({ kind, node }: FrameHeader): void {
    throw new LinkError("PUD_KIND", `${KIND_BY_NUMBER.get(kind)?.name ?? kind} from node ${node}, which is a disk`);
  }

  take(header: FrameHeader): void {
    this.admit(header);
  }

  close(code: DeviceErrorCode, reason: string): void {
    this.#queue.close(code, reason);
  }

  end(code: DeviceErrorCode, reason: string): void {
    this.#queue.end(code, reason);
  }

  whenIdle(): Promise<void> {
    return this.#queue.whenIdle();
  }

  async #readmit(channel: HostChannel, memory: MediumMemory): Promise<Readmission> {
    const result = await readmit(this.#queue, this.device.info, memory);
    if (!this.#queue.isBoundTo(channel)) return "lost";
    if (result !== "lost" && result.refusal === "") this.#queue.open();
    return result;
  }
}
