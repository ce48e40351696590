/**
 * Bringing a disk up: is a medium in, how large is it, what can it do. SBC-3 §4.4 (initialization), SPC-4 §5.
 *
 * What is optional is asked for and done without; only a size that cannot be is refused.
 */
import { RecordError } from "../../bytes.js";
import type { LogLevel } from "../../rumpuser/rumpuser.js";
import {
  type CommandBlock,
  inquiry as inquiryCommand,
  modeSense6,
  modeSense10,
  readCapacity10,
  readCapacity16,
  synchronizeCache,
  testUnitReady,
} from "./cdb.js";
import {
  type BlockLimits,
  MODE_PAGE,
  type ModeFacts,
  type Provisioning,
  parseBlockLimits,
  parseModeSense,
  parseProvisioning,
  parseSupportedPages,
  VPD_BYTES,
  VPD_PAGE,
} from "./pages.js";
import { ASK_CAPACITY_16, CAPACITY_16_BYTES, capacity10Data, capacity16Data, type Inquiry, LBPME } from "./replies.js";
import { type RetryContext, runCommand } from "./retry.js";
import { ScsiError } from "./sd-errors.js";
import { type ScsiQuirks, ScsiTransportError } from "./transport.js";

/** Blocks of other sizes are not offered. */
const BLOCK_SIZES: readonly number[] = [512, 1024, 2048, 4096];
/** SPC-3. Older units are not asked for what they cannot know: some hang on it. */
const VERSION_SPC_3 = 0x05;
/** READ CAPACITY of a unit that has just got its medium may fail at first. */
const MAX_CAPACITY_READS = 3;
/** A limit below this makes UNMAP cost more than it saves. */
const MIN_UNMAP_BYTES = 64 * 1024;
/** MODE SENSE(6) with the length that nearly every unit has been tried with. */
const MODE_BYTES = 192;

export interface Capacity {
  readonly blockBytes: number;
  readonly blockCount: number;
  /** The unit can forget blocks (READ CAPACITY(16), LBPME). */
  readonly provisioned: boolean;
}

/** A medium that can be used, and how. */
export interface Medium extends Capacity {
  readonly readOnly: boolean;
  readonly removable: boolean;
  /** Not known to be write-through: an acknowledged write may be in a cache. */
  readonly writeCache: boolean;
  readonly canSynchronize: boolean;
  /** WRITE with the FUA bit. */
  readonly canForceUnitAccess: boolean;
  readonly maxTransferBytes: number;
  /** Blocks of one UNMAP; 0 = not offered. */
  readonly maxUnmapBlocks: number;
  /** Blocks of one WRITE SAME(16); 0 = not offered. */
  readonly maxWriteSameBlocks: number;
  readonly model: string;
}

/** What a unit says about its size cannot be, or cannot be served. */
export class CapacityError extends Error {
  readonly code = "SCSI_CAPACITY";

  constructor(message: string) {
    super(message);
    this.name = "CapacityError";
  }
}

export interface ProbeContext extends RetryContext {
  readonly inquiry: Inquiry;
  readonly quirks: ScsiQuirks;
  readonly log: (level: LogLevel, message: string) => void;
}

/**
 * Within a turn of the unit.
 * @throws ScsiError (`noMedium` among its meanings), ScsiTransportError, CapacityError.
 */
export async function probeMedium(context: ProbeContext): Promise<Medium> {
  await awaitReady(context);
  const capacity = await readCapacity(context);
  const modes = await readModes(context);
  const { limits, provisioning } = await readLimits(context);
  const readOnly = modes?.writeProtected === true && context.quirks.noWriteProtectDetect !== true;
  const writeCache = modes?.writeCacheEnabled ?? true;
  const canSynchronize = !readOnly && (await canSynchronizeCache(context, capacity, writeCache));
  return {
    ...capacity,
    readOnly,
    removable: context.inquiry.removable,
    writeCache,
    canSynchronize,
    canForceUnitAccess: modes?.dpoFua === true && context.quirks.brokenFua !== true,
    maxTransferBytes: maxTransfer(context, capacity, limits),
    maxUnmapBlocks: maxUnmap(capacity, limits, provisioning),
    maxWriteSameBlocks: provisioning?.writeSame16 === true ? limits?.maxWriteSameBlocks || 0xffff : 0,
    model: context.inquiry.model,
  };
}

/**
 * TEST UNIT READY until it is good; waits for a start-up and starts a stopped unit (retry.ts has the bounds). Unit
 * attentions, 28h among them, are news of before we came.
 * @throws ScsiError
 */
export async function awaitReady(context: RetryContext): Promise<void> {
  const maxPasses = 4;
  for (let pass = 1; ; pass++) {
    try {
      await runCommand(context, { block: testUnitReady() });
      return;
    } catch (error) {
      const meaning = error instanceof ScsiError ? error.sense.meaning : undefined;
      if (meaning === "illegalRequest") return;
      const isOldNews = meaning === "mediumChanged" || meaning === "capacityChanged";
      if (!isOldNews || pass === maxPasses) throw error;
    }
  }
}

/**
 * READ CAPACITY(10), and (16) where the first cannot tell or the unit is recent.
 * @throws CapacityError, ScsiError, ScsiTransportError
 */
export async function readCapacity(context: ProbeContext): Promise<Capacity> {
  const short = await readCapacityShort(context);
  const isLarge = short.lastBlock === ASK_CAPACITY_16;
  if (!isLarge && context.inquiry.version < VERSION_SPC_3) return checkCapacity(context, short, false);
  const bytes = await optional(context, readCapacity16(CAPACITY_16_BYTES), CAPACITY_16_BYTES);
  if (bytes === undefined || bytes.length < capacity16Data.size) {
    if (!isLarge) return checkCapacity(context, short, false);
    throw new CapacityError("READ CAPACITY(10) refers to READ CAPACITY(16), which does not answer (SBC-3 §5.15)");
  }
  const long = capacity16Data.decode(bytes);
  const lastBlock = Number(long.lastBlock);
  if (!isLarge && (lastBlock !== short.lastBlock || long.blockBytes !== short.blockBytes))
    throw new CapacityError(
      `READ CAPACITY(10) says last block ${short.lastBlock} of ${short.blockBytes} bytes, ` +
        `READ CAPACITY(16) says ${lastBlock} of ${long.blockBytes} (SBC-3 §5.15)`,
    );
  return checkCapacity(context, { lastBlock, blockBytes: long.blockBytes }, (long.provisioning & LBPME) !== 0);
}

async function readCapacityShort(context: ProbeContext): Promise<{ lastBlock: number; blockBytes: number }> {
  const data = { direction: "in", bytes: capacity10Data.size } as const;
  for (let reads = 1; ; reads++) {
    try {
      return capacity10Data.decode(await runCommand(context, { block: readCapacity10(), data }));
    } catch (error) {
      const canPass =
        error instanceof RecordError || (error instanceof ScsiError && error.sense.meaning === "notReady");
      if (!canPass) throw error;
      if (reads === MAX_CAPACITY_READS)
        throw new CapacityError(`READ CAPACITY(10) failed ${reads} times: ${error.message}`);
    }
  }
}

function checkCapacity(
  { quirks }: ProbeContext,
  { lastBlock, blockBytes }: { lastBlock: number; blockBytes: number },
  provisioned: boolean,
): Capacity {
  const blockCount = quirks.capacityIsBlockCount === true ? lastBlock : lastBlock + 1;
  if (!BLOCK_SIZES.includes(blockBytes))
    throw new CapacityError(`blocks of ${blockBytes} bytes; ${BLOCK_SIZES.join(", ")} are supported`);
  if (blockCount < 1) throw new CapacityError("a medium of no blocks");
  if (blockCount * blockBytes > Number.MAX_SAFE_INTEGER)
    throw new CapacityError(`${blockCount} blocks of ${blockBytes} bytes; less than 2^53 bytes are supported`);
  return { blockBytes, blockCount, provisioned };
}

/** MODE SENSE in the ways that units are known to answer one of; later rows fill in what is missing. */
const MODE_ATTEMPTS = [
  { cdbBytes: 6, page: MODE_PAGE.ALL },
  { cdbBytes: 6, page: MODE_PAGE.CACHING },
  { cdbBytes: 10, page: MODE_PAGE.CACHING },
] as const;

async function readModes(context: ProbeContext): Promise<ModeFacts | undefined> {
  let facts: ModeFacts | undefined;
  for (const { cdbBytes, page } of MODE_ATTEMPTS) {
    if (facts?.writeCacheEnabled !== undefined) break;
    const block = cdbBytes === 6 ? modeSense6(page, MODE_BYTES) : modeSense10(page, MODE_BYTES);
    const bytes = await optional(context, block, MODE_BYTES);
    const found = bytes === undefined ? undefined : readable(context, block, () => parseModeSense(bytes, cdbBytes));
    // The header came first; a later one only adds its page.
    if (found !== undefined) facts = { ...(facts ?? found), writeCacheEnabled: found.writeCacheEnabled };
  }
  return facts;
}

async function readLimits(
  context: ProbeContext,
): Promise<{ limits?: BlockLimits | undefined; provisioning?: Provisioning | undefined }> {
  if (context.inquiry.version < VERSION_SPC_3) return {};
  const page = async (code: number): Promise<Uint8Array> =>
    (await optional(context, inquiryCommand(VPD_BYTES, code), VPD_BYTES)) ?? new Uint8Array(0);
  const supported = parseSupportedPages(await page(VPD_PAGE.SUPPORTED));
  return {
    limits: supported.has(VPD_PAGE.BLOCK_LIMITS) ? parseBlockLimits(await page(VPD_PAGE.BLOCK_LIMITS)) : undefined,
    provisioning: supported.has(VPD_PAGE.PROVISIONING)
      ? parseProvisioning(await page(VPD_PAGE.PROVISIONING))
      : undefined,
  };
}

/** Sends one SYNCHRONIZE CACHE now, so that the node does not promise a flush that the unit refuses. */
async function canSynchronizeCache(context: ProbeContext, capacity: Capacity, writeCache: boolean): Promise<boolean> {
  if (context.quirks.noSynchronizeCache === true) return false;
  try {
    await runCommand(context, { block: synchronizeCache(capacity.blockCount) });
    return true;
  } catch (error) {
    if (endsProbe(error)) throw error;
    // A unit that has the command and failed it this once will be asked again at the first flush.
    if (error instanceof ScsiError && error.sense.meaning !== "illegalRequest") return true;
    const risk = writeCache ? "; after a power loss written data may be missing" : "";
    context.log("warn", `flush unsupported: ${describe(error)}${risk}`);
    return false;
  }
}

function maxTransfer({ unit }: ProbeContext, { blockBytes }: Capacity, limits: BlockLimits | undefined): number {
  const told = limits?.maxTransferBlocks ?? 0;
  const bytes = told > 0 ? Math.min(unit.maxTransferBytes, told * blockBytes) : unit.maxTransferBytes;
  return bytes - (bytes % blockBytes);
}

function maxUnmap(capacity: Capacity, limits: BlockLimits | undefined, provisioning: Provisioning | undefined): number {
  if (!capacity.provisioned || provisioning?.unmap !== true) return 0;
  const blocks = limits?.maxUnmapBlocks ?? 0;
  return blocks * capacity.blockBytes >= MIN_UNMAP_BYTES ? blocks : 0;
}

/** A command that a unit may refuse, or choke on: undefined then. What ends the conversation is thrown. */
async function optional(context: ProbeContext, block: CommandBlock, bytes: number): Promise<Uint8Array | undefined> {
  try {
    return await runCommand(context, { block, data: { direction: "in", bytes } });
  } catch (error) {
    if (endsProbe(error)) throw error;
    context.log("debug", `done without ${block.what}: ${describe(error)}`);
    return undefined;
  }
}

/** Failures that are not about the one command: the medium or the target has gone, we were told to stop, or a bug. */
function endsProbe(error: unknown): boolean {
  if (error instanceof ScsiTransportError) return error.code === "SCSI_GONE" || error.code === "SCSI_CANCELLED";
  if (!(error instanceof ScsiError)) return true;
  const { meaning } = error.sense;
  return meaning === "noMedium" || meaning === "mediumChanged" || meaning === "capacityChanged";
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A reply that is too short is worth as much as none. */
function readable<T>(context: ProbeContext, block: CommandBlock, parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    context.log("debug", `${block.what}: ${error.message}`);
    return undefined;
  }
}
