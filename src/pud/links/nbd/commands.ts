/** The rules of each request, as a table, and the check of a request against them. */
import { MAX_REQUEST_BYTES } from "./export.js";
import type { NbdExport } from "./export.js";
import { COMMAND, COMMAND_FLAG } from "./protocol.js";
import type { NbdErrorName, RequestHeader } from "./protocol.js";

export interface CommandRule {
  readonly name: string;
  readonly type: number;
  /** "Command flags": those that apply. FUA applies to every command once SEND_FUA was offered. */
  readonly flags: number;
  /** Changes the medium: EPERM on a read-only export. */
  readonly writes: boolean;
  /** Offset and length are a range of the export; otherwise both must be 0. */
  readonly hasRange: boolean;
  /** What a range that ends beyond the export is ("Error values"). */
  readonly beyondEnd: NbdErrorName;
  readonly maxBytes: number;
  /** Whether the export offered it ("a client MUST NOT … unless the flag was set"). */
  readonly offered: (exported: NbdExport) => boolean;
}

const { FUA, NO_HOLE, DF, FAST_ZERO } = COMMAND_FLAG;
const ANY_LENGTH = 0xffff_ffff;
const always = (): boolean => true;

const RULES: readonly CommandRule[] = [
  {
    name: "READ",
    type: COMMAND.READ,
    flags: FUA | DF,
    writes: false,
    hasRange: true,
    beyondEnd: "EINVAL",
    maxBytes: MAX_REQUEST_BYTES,
    offered: always,
  },
  {
    name: "WRITE",
    type: COMMAND.WRITE,
    flags: FUA,
    writes: true,
    hasRange: true,
    beyondEnd: "ENOSPC",
    maxBytes: MAX_REQUEST_BYTES,
    offered: always,
  },
  {
    name: "FLUSH",
    type: COMMAND.FLUSH,
    flags: FUA,
    writes: false,
    hasRange: false,
    beyondEnd: "EINVAL",
    maxBytes: 0,
    offered: always,
  },
  {
    name: "TRIM",
    type: COMMAND.TRIM,
    flags: FUA,
    writes: true,
    hasRange: true,
    beyondEnd: "EINVAL",
    maxBytes: ANY_LENGTH,
    offered: (exported) => exported.disk.info.canTrim,
  },
  {
    name: "WRITE_ZEROES",
    type: COMMAND.WRITE_ZEROES,
    flags: FUA | NO_HOLE | FAST_ZERO,
    writes: true,
    hasRange: true,
    beyondEnd: "ENOSPC",
    maxBytes: ANY_LENGTH,
    offered: (exported) => exported.disk.info.canWriteZeroes,
  },
];

const RULE_OF: ReadonlyMap<number, CommandRule> = new Map(RULES.map((rule) => [rule.type, rule]));

/** Why a request is refused before the disk hears of it. */
export interface Refusal {
  readonly error: NbdErrorName;
  readonly message: string;
}

/** @returns undefined when the request may go to the disk. */
export function refusalOf(
  request: RequestHeader,
  exported: NbdExport,
  structuredReplies: boolean,
): Refusal | undefined {
  const rule = RULE_OF.get(request.type);
  if (rule === undefined) return { error: "EINVAL", message: `command ${request.type} is unknown here` };
  const refuse = (error: NbdErrorName, why: string): Refusal => ({ error, message: `NBD_CMD_${rule.name}: ${why}` });

  // SEND_DF was offered only together with structured replies.
  const allowedFlags = structuredReplies ? rule.flags : rule.flags & ~DF;
  if ((request.flags & ~allowedFlags) !== 0)
    return refuse("EINVAL", `flags 0x${request.flags.toString(16)}, allowed are 0x${allowedFlags.toString(16)}`);
  if (rule.writes && exported.readOnly) return refuse("EPERM", `export "${exported.name}" is read-only`);
  if (!rule.offered(exported)) return refuse("EINVAL", `not offered by export "${exported.name}"`);
  const wrongRange = rangeRefusal(request, exported, rule);
  if (wrongRange !== undefined) return refuse(...wrongRange);
  // We cannot know that zeroing is faster than writing on a USB device, so it never is.
  if ((request.flags & FAST_ZERO) !== 0 && request.type === COMMAND.WRITE_ZEROES)
    return refuse("ENOTSUP", "no faster than writing zeroes");
  return undefined;
}

function rangeRefusal(
  { offset, lengthBytes }: RequestHeader,
  exported: NbdExport,
  rule: CommandRule,
): [NbdErrorName, string] | undefined {
  if (!rule.hasRange)
    return offset === 0 && lengthBytes === 0
      ? undefined
      : ["EINVAL", `offset ${offset} and length ${lengthBytes}; both must be 0`];
  const { minimumBytes, exportBytes } = exported;
  if (lengthBytes === 0) return ["EINVAL", `length 0 at offset ${offset}`];
  if (lengthBytes > rule.maxBytes) return ["EINVAL", `length ${lengthBytes}, at most ${rule.maxBytes}`];
  if (offset + lengthBytes > exportBytes)
    return [rule.beyondEnd, `offset ${offset} + length ${lengthBytes} is beyond the end at ${exportBytes}`];
  if (offset % minimumBytes !== 0 || lengthBytes % minimumBytes !== 0)
    return ["EINVAL", `offset ${offset}, length ${lengthBytes}: not whole blocks of ${minimumBytes} bytes`];
  return undefined;
}
