/**
 * Takes a medium back that was away: is it the one that went, and what of it may be lost?
 *
 * Its first and last blocks, and those that were read or written last, are read and held against what the host knows; then
 * everything acknowledged and not flushed is written again, in its order. All of it is asked before anything that waits
 * (DiskQueue.issueOwn).
 */
import { DeviceError, type DiskInfo } from "../rump/devsw.js";
import { KINDS } from "./frames.js";
import type { DiskQueue } from "./host-disk-queue.js";
import type { Readmission } from "./host-node.js";
import type { JournalEntry, WriteJournal } from "./journal.js";
import type { BlockRange } from "./medium-blocks.js";
import type { MediumMemory } from "./medium-memory.js";
import type { DeviceAnnouncement } from "./payloads.js";

/** Written again between two flushes, and one write more. */
const RESTORE_BYTES = 1024 * 1024;

/** Checks the medium and writes again what may be missing. Never rejects. */
export async function readmit(queue: DiskQueue, info: DiskInfo, memory: MediumMemory): Promise<Readmission> {
  try {
    for (const range of memory.blocks.ranges(memory.unsure(queue.unanswered))) {
      const data = await readEdge(queue, info, range);
      const block = memory.blocks.difference(range, data, memory.unsure(queue.unanswered));
      if (block !== undefined) return { refusal: `another medium: block ${block} holds something else than before` };
    }
    if (memory.journal?.canShrink === true) await restore(queue, memory.journal);
    return { refusal: "" };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return error.code === "ECANCELED" ? "lost" : { refusal: `the medium cannot be checked: ${error.message}` };
  }
}

/** Reads the edges of a medium that is new here. What cannot be read is not known: that is no error. */
export async function learnEdges(queue: DiskQueue, info: DiskInfo, memory: MediumMemory): Promise<void> {
  for (const range of memory.blocks.edges) {
    try {
      const data = await readEdge(queue, info, range);
      memory.blocks.learn(range, data, memory.unsure(queue.unanswered));
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
    }
  }
}

/** What a device says of itself stays the same over an unplug; undefined: it does. */
export function identityChange(before: DeviceAnnouncement, now: DeviceAnnouncement): string | undefined {
  for (const key of ["vendor", "product", "revision", "serial", "interfaceNumber"] as const)
    if (before[key] !== now[key])
      return `another device: ${key} was ${JSON.stringify(before[key])}, is ${JSON.stringify(now[key])}`;
  return undefined;
}

/** Within what one request may carry. */
async function readEdge(queue: DiskQueue, info: DiskInfo, { firstBlock, blockCount }: BlockRange): Promise<Uint8Array> {
  const { blockBytes, maxTransferBytes } = info;
  const data = new Uint8Array(blockCount * blockBytes);
  const step = Math.floor(maxTransferBytes / blockBytes);
  for (let done = 0; done < blockCount; done += step) {
    const count = Math.min(step, blockCount - done);
    const replyBytes = count * blockBytes;
    const part = await queue.issueOwn({ kind: KINDS.read, offset: firstBlock + done, count, replyBytes });
    data.set(part, done * blockBytes);
  }
  return data;
}

/**
 * Writes everything again and flushes it, a part after the other: what is done needs not be done again, should this process
 * not live to the end of it.
 */
async function restore(queue: DiskQueue, journal: WriteJournal): Promise<void> {
  while (journal.canShrink) {
    const { entries, mark } = journal.oldest(RESTORE_BYTES);
    // All at once: they are sent in this order, and so is what they overlap.
    await Promise.all(entries.map((entry) => writeAgain(queue, entry)));
    await queue.issueOwn({ kind: KINDS.flush });
    journal.dropUntil(mark);
    queue.noteWork();
  }
}

async function writeAgain(queue: DiskQueue, { firstBlock, blockCount, data }: JournalEntry): Promise<void> {
  if (data === undefined) await queue.issueOwn({ kind: KINDS.writeZeroes, offset: firstBlock, count: blockCount });
  else await queue.issueOwn({ kind: KINDS.write, offset: firstBlock, count: blockCount, payload: data });
}
