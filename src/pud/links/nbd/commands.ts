/** The rules of each request, as a table, and the check of a request against them. */
import { MAX_REQUEST_BYTES } from "./export.js";
import type { NbdExport } from "./export.js";
import { COMMAND, COMMAND_FLAG } from "./protocol.js";
import type { NbdErrorName, RequestHeader } from "./protocol.js";

interface CommandRule {
  /** "Command flags": those that apply. FUA applies to every command once SEND_FUA was offered. */
  readonly flags: number;
  /** Changes the medium: EPERM on a read-only export. */
  readonly writes: boolean;
  /** Offset and length are a range of at most so much; 0: both must be 0. */
  readonly maxBytes: number;
  /** What a range that ends beyond the export is ("Error values"). */
  readonly beyondEnd: NbdErrorName;
  /** Offered where the disk can ("a client MUST NOT … unless the flag was set"). */
  readonly needs?: "canTrim" | "canWriteZeroes";
}

const { FUA, NO_HOLE, DF, FAST_ZERO } = COMMAND_FLAG;
const ZEROES_FLAGS = FUA | NO_HOLE | FAST_ZERO;
const ANY_LENGTH = 0xffff_ffff;

const RULES: Readonly<Record<Exclude<keyof typeof COMMAND, "DISC">, CommandRule>> = {
  READ: { flags: FUA | DF, writes: false, maxBytes: MAX_REQUEST_BYTES, beyondEnd: "EINVAL" },
  WRITE: { flags: FUA, writes: true, maxBytes: MAX_REQUEST_BYTES, beyondEnd: "ENOSPC" },
  FLUSH: { flags: FUA, writes: false, maxBytes: 0, beyondEnd: "EINVAL" },
  TRIM: { flags: FUA, writes: true, maxBytes: ANY_LENGTH, beyondEnd: "EINVAL", needs: "canTrim" },
  WRITE_ZEROES: {
    flags: ZEROES_FLAGS,
    writes: true,
    maxBytes: ANY_LENGTH,
    beyondEnd: "ENOSPC",
    needs: "canWriteZeroes",
  },
};

const RULE_OF: ReadonlyMap<number, CommandRule & { readonly name: string }> = new Map(
  Object.entries(RULES).map(([name, rule]) => [COMMAND[name as keyof typeof RULES], { name, ...rule }]),
);

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
  if (rule.needs !== undefined && !exported.disk.info[rule.needs])
    return refuse("EINVAL", `not offered by export "${exported.name}"`);
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
  if (rule.maxBytes === 0)
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
