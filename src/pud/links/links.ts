/**
 * The kinds of links: how a device node becomes something that other programs can open.
 *
 * A link kind serves some kinds of devices and knows how to read its place from `KIND[=WHERE]`. A new kind is one more
 * row of the table. What reads the command line is loaded always; what serves a serial line when there is one to serve.
 */
import type { DeviceKind } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import { NBD_FORMS, openNbdLink, parseNbdWhere } from "./nbd-link.js";
import type { NbdWhere } from "./nbd-link.js";
import { openPtyLink, parsePtyWhere, PTY_FORMS, type PtyWhere } from "./pty-link.js";
import { openTtyCuseLink, parseTtyCuseWhere, TTY_CUSE_FORMS, type TtyCuseWhere } from "./tty-cuse-link.js";
import type { Link, LinkContext } from "./link.js";
import { openRawLink, parseRawWhere, RAW_FORMS, type RawWhere } from "./raw-link.js";
import { openRfc2217Link, parseRfc2217Where, RFC2217_FORMS, type Rfc2217Where } from "./rfc2217-link.js";

export { LinkSetupError } from "./errors.js";
export type { Link, LinkContext, LinkLog, LinkedNode } from "./link.js";

/** Each kind, and how it says where its nodes go. */
interface Wheres {
  readonly nbd: NbdWhere;
  readonly pty: PtyWhere;
  readonly rfc2217: Rfc2217Where;
  readonly raw: RawWhere;
  readonly "tty-cuse": TtyCuseWhere;
}

export type LinkKindName = keyof Wheres;
/** What `--link` asked for. */
export type LinkSpec<Name extends LinkKindName = LinkKindName> = {
  [N in Name]: { readonly kind: N; readonly where: Wheres[N] };
}[Name];

interface LinkKind<Where> {
  readonly serves: readonly DeviceKind[];
  /** For messages and help. */
  readonly forms: string;
  /** @throws LinkSetupError LINK_USAGE */
  parseWhere(text: string | undefined): Where;
  open(where: Where, context: LinkContext): Promise<Link>;
}

const LINK_KINDS: { readonly [Name in LinkKindName]: LinkKind<Wheres[Name]> } = {
  nbd: { serves: ["disk"], forms: NBD_FORMS, parseWhere: parseNbdWhere, open: openNbdLink },
  pty: { serves: ["tty"], forms: PTY_FORMS, parseWhere: parsePtyWhere, open: openPtyLink },
  rfc2217: { serves: ["tty"], forms: RFC2217_FORMS, parseWhere: parseRfc2217Where, open: openRfc2217Link },
  raw: { serves: ["tty"], forms: RAW_FORMS, parseWhere: parseRawWhere, open: openRawLink },
  "tty-cuse": { serves: ["tty"], forms: TTY_CUSE_FORMS, parseWhere: parseTtyCuseWhere, open: openTtyCuseLink },
};

/** What is opened when nobody asks for a link: a kind for each kind of device that has one. */
const DEFAULT_LINKS: Partial<Record<DeviceKind, LinkKindName>> = { disk: "nbd", tty: "pty" };

/** The words of `--link` that stand for no `--link` at all. */
export function defaultLinks(): string[] {
  return [...new Set(Object.values(DEFAULT_LINKS))];
}

/** Those of the links that serve this kind of device. A link that is in no table here says so itself. */
export function linksFor(kind: DeviceKind, links: readonly Link[]): readonly Link[] {
  return links.filter((link) => !isLinkKind(link.kind) || linkServes(link.kind).includes(kind));
}

/** The words of `--link` that would serve this kind of device. */
export function linkWordsFor(kind: DeviceKind): string[] {
  return Object.keys(LINK_KINDS).filter((word) => isLinkKind(word) && linkServes(word).includes(kind));
}

/** What each kind accepts, for help texts. */
export function linkForms(): string[] {
  return Object.values(LINK_KINDS).map((kind) => kind.forms);
}

/** Which devices a kind of link can serve. */
export function linkServes(kind: LinkKindName): readonly DeviceKind[] {
  return LINK_KINDS[kind].serves;
}

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
    throw new LinkSetupError("LINK_USAGE", `link "${text}": nothing after "="; allowed are ${LINK_KINDS[kind].forms}`);
  return readLink(kind, where);
}

function readLink<Name extends LinkKindName>(kind: Name, where: string | undefined): LinkSpec<Name> {
  return { kind, where: LINK_KINDS[kind].parseWhere(where) };
}

/** @throws LinkSetupError */
export function openLink<Name extends LinkKindName>(spec: LinkSpec<Name>, context: LinkContext): Promise<Link> {
  return LINK_KINDS[spec.kind].open(spec.where, context);
}

function isLinkKind(text: string): text is LinkKindName {
  return Object.hasOwn(LINK_KINDS, text);
}
