/** A disk node on the host: its queue, what is known of its medium, and the disk that links see. */
import type { DiskInfo } from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { type FrameHeader, KIND_BY_NUMBER } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import { HostDisk } from "./host-disk.js";
import { DiskQueue } from "./host-disk-queue.js";
import type { NodeContext, NodeHalf, Readmission } from "./host-node.js";
import { MediumMemory } from "./medium-memory.js";
import { learnEdges, readmit } from "./readmission.js";

export class DiskNode extends DiskQueue implements NodeHalf {
  readonly device: HostDisk;
  readonly patienceMs = 0;

  constructor(info: DiskInfo, context: NodeContext) {
    const { replug } = context;
    super(context, replug === undefined ? undefined : new MediumMemory(info, replug.journalBytes));
    this.device = new HostDisk(info, this);
  }

  begin(channel: HostChannel, nodeNumber: number): void {
    this.bind(channel, nodeNumber);
    if (this.memory !== undefined) void learnEdges(this, this.device.info, this.memory);
  }

  resume(channel: HostChannel, nodeNumber: number, isDoubtful: boolean): Promise<Readmission> | undefined {
    const isChecked = isDoubtful && this.memory !== undefined;
    this.bind(channel, nodeNumber, isChecked);
    return isChecked ? this.#readmit(channel, this.memory) : undefined;
  }

  admit({ kind, node }: FrameHeader): void {
    throw new LinkError("PUD_KIND", `${KIND_BY_NUMBER.get(kind)?.name ?? kind} from node ${node}, which is a disk`);
  }

  take(header: FrameHeader): void {
    this.admit(header);
  }

  async #readmit(channel: HostChannel, memory: MediumMemory): Promise<Readmission> {
    const result = await readmit(this, this.device.info, memory);
    if (!this.isBoundTo(channel)) return "lost";
    if (result !== "lost" && result.refusal === "") this.open();
    return result;
  }
}
