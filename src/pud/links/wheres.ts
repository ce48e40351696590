/**
 * What `--link` asks for: `KIND[=WHERE]`, read and checked without the code that serves it, and plain data then.
 *
 * Each kind says in its own way where its nodes go.
 */
import {
  type DataBits,
  DATA_BITS,
  FLOW_CONTROLS,
  type LineSettings,
  PARITIES,
  type Parity,
  STOP_BITS,
} from "../../rump/devsw.js";
import { type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";

/** Where disks go: a socket for each node, one server for all, or one device of the kernel. */
export type NbdWhere =
  | { readonly form: "socketPerNode" }
  | { readonly form: "server"; readonly address: ListenAddress }
  | { readonly form: "kernel"; readonly device: string };

export interface PtyWhere {
  /** Absolute: a directory that is there, for any number of nodes, or the name of one. Default: the runtime directory. */
  readonly path?: string;
  /** Data bits and parity: a pseudo terminal of Linux has eight and none, whatever a program sets. */
  readonly framing: Pick<LineSettings, "dataBits" | "parity">;
}

/** Where lines go: a socket for each, or one place. */
export interface Rfc2217Where {
  readonly address?: ListenAddress;
}

/** Where lines go, a socket for each or one place, and how they are opened. */
export interface RawWhere {
  readonly address?: ListenAddress;
  readonly settings: LineSettings;
}

/** The name in /dev of one node; default: each has its own. */
export interface TtyCuseWhere {
  readonly name?: string;
}

interface Wheres {
  readonly nbd: NbdWhere;
  readonly pty: PtyWhere;
  readonly rfc2217: Rfc2217Where;
  readonly raw: RawWhere;
  readonly "tty-cuse": TtyCuseWhere;
}

export type LinkKindName = keyof Wheres;
/** What a kind was asked for. */
export type WhereOf<Name extends LinkKindName> = Wheres[Name];
/** What `--link` asked for. */
export type LinkSpec<Name extends LinkKindName = LinkKindName> = {
  [N in Name]: { readonly kind: N; readonly where: Wheres[N] };
}[Name];

/** What lines are opened with until a client says otherwise. */
export const DEFAULT_SETTINGS: LineSettings = {
  baud: 115_200,
  dataBits: 8,
  parity: "none",
  stopBits: 1,
  flowControl: "none",
};

/** Makes the error of a text that is wrong. */
type Refused = (why: string) => LinkSetupError;

/** Each reads what follows `KIND=`; undefined: nothing does. */
const READERS: { readonly [Name in LinkKindName]: (text: string | undefined, refused: Refused) => Wheres[Name] } = {
  nbd: readNbd,
  pty: readPty,
  rfc2217: (text, refused) => (text === undefined ? {} : { address: parseAddress(text, refused) }),
  raw: readRaw,
  "tty-cuse": readTtyCuse,
};

/**
 * Reads `KIND[=WHERE]`.
 * @throws LinkSetupError LINK_USAGE, naming what is allowed.
 */
export function parseLink(text: string): LinkSpec {
  const equals = text.indexOf("=");
  const kind = equals === -1 ? text : text.slice(0, equals);
  const where = equals === -1 ? undefined : text.slice(equals + 1);
  if (!isLinkKind(kind))
    throw new LinkSetupError("LINK_USAGE", `link "${text}": no kind "${kind}"; allowed are ${linkForms().join("; ")}`);
  if (where === "")
    throw new LinkSetupError("LINK_USAGE", `link "${text}": nothing after "="; allowed are ${LINK_FORMS[kind]}`);
  return readLink(kind, where);
}

function readLink<Name extends LinkKindName>(kind: Name, text: string | undefined): LinkSpec<Name> {
  const refused: Refused = (why) =>
    new LinkSetupError("LINK_USAGE", `link ${kind}=${text}: ${why}; allowed are ${LINK_FORMS[kind]}`);
  return { kind, where: READERS[kind](text, refused) };
}

export function isLinkKind(text: string): text is LinkKindName {
  return Object.hasOwn(READERS, text);
}

/** What each kind accepts, for help texts. */
export function linkForms(): string[] {
  return Object.values(LINK_FORMS);
}

const KERNEL_NBD = /^\/dev\/nbd\d{1,3}$/;

function readNbd(text: string | undefined, refused: Refused): NbdWhere {
  if (text === undefined) return { form: "socketPerNode" };
  if (text.startsWith("/dev/")) {
    if (!KERNEL_NBD.test(text)) throw refused("a kernel device is /dev/nbd0, /dev/nbd1 …");
    return { form: "kernel", device: text };
  }
  return { form: "server", address: parseAddress(text, refused) };
}

const FRAMING = /^([5-8])([NOEMS])$/;
const PARITY_LETTERS: Readonly<Record<string, Parity>> = { N: "none", O: "odd", E: "even", M: "mark", S: "space" };

function readPty(text: string | undefined, refused: Refused): PtyWhere {
  const plain: PtyWhere = { framing: { dataBits: 8, parity: "none" } };
  if (text === undefined) return plain;
  const comma = text.lastIndexOf(",");
  const framing = readFraming(text.slice(comma + 1));
  if (framing !== undefined && comma === -1) return { framing };
  const path = framing === undefined ? text : text.slice(0, comma);
  if (!path.startsWith("/")) throw refused("the path is absolute");
  return { path, framing: framing ?? plain.framing };
}

function readFraming(text: string): PtyWhere["framing"] | undefined {
  const [, bits, letter] = FRAMING.exec(text.toUpperCase()) ?? [];
  const parity = letter === undefined ? undefined : PARITY_LETTERS[letter];
  return parity === undefined ? undefined : { dataBits: Number(bits) as DataBits, parity };
}

/** What a word of the settings may be: rates are whatever the device can make. */
const SETTINGS: Readonly<
  Record<string, { readonly key: keyof LineSettings; readonly of: readonly (string | number)[] }>
> = {
  data: { key: "dataBits", of: DATA_BITS },
  parity: { key: "parity", of: PARITIES },
  stop: { key: "stopBits", of: STOP_BITS },
  flow: { key: "flowControl", of: FLOW_CONTROLS },
};

/** `[ADDRESS][,NAME=VALUE…]` */
function readRaw(text: string | undefined, refused: Refused): RawWhere {
  const words = text === undefined ? [] : text.split(",");
  const firstSetting = words.findIndex((word) => /^[a-z]+=/.test(word));
  const place = firstSetting === -1 ? words : words.slice(0, firstSetting);
  const settings = words.slice(place.length).reduce((all, word) => ({ ...all, ...readSetting(word, refused) }), {
    ...DEFAULT_SETTINGS,
  });
  if (place.length === 0) return { settings };
  return { address: parseAddress(place.join(","), refused), settings };
}

function readSetting(word: string, refused: Refused): Partial<LineSettings> {
  const equals = word.indexOf("=");
  const name = word.slice(0, equals);
  const value = word.slice(equals + 1);
  if (name === "baud") {
    if (!/^[1-9][0-9]{0,8}$/.test(value)) throw refused(`baud "${value}" is no rate`);
    return { baud: Number(value) };
  }
  const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
  if (setting === undefined) throw refused(`no setting "${word}"`);
  const found = setting.of.find((one) => String(one) === value);
  if (found === undefined) throw refused(`${name} "${value}" is none of ${setting.of.join(", ")}`);
  return { [setting.key]: found };
}

/** A tty of its own kind: what a name can hide must not be possible. */
export const TTY_NAME = /^tty[A-Za-z][A-Za-z0-9_-]{0,27}$/;

function readTtyCuse(text: string | undefined, refused: Refused): TtyCuseWhere {
  if (text === undefined) return {};
  if (!TTY_NAME.test(text)) throw refused("a name in /dev like ttyU0 or ttyGPS");
  return { name: text };
}
