/**
 * The kinds of links: how a device node becomes something that other programs can open.
 *
 * A link kind serves some kinds of devices and knows how to read its place from `KIND[=WHERE]`. A new kind is one more
 * row of the table. The code of a kind is loaded when it is asked for, or, where nobody asked for any link, when there is a
 * device to serve.
 */
import type { DeviceKind } from "../../rump/devsw.js";
import { loadLate } from "../../rumpuser/real/resources.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import { LinkByNeed } from "./link-by-need.js";
import type { Link, LinkContext, LinkKind } from "./link.js";
import type { NbdWhere } from "./nbd-link.js";
import type { PtyWhere } from "./pty-link.js";
import type { RawWhere } from "./raw-link.js";
import type { Rfc2217Where } from "./rfc2217-link.js";
import type { TtyCuseWhere } from "./tty-cuse-link.js";

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

interface KindOfLink<Where> {
  readonly serves: readonly DeviceKind[];
  load(): Promise<LinkKind<Where>>;
}

const LINK_KINDS: { readonly [Name in LinkKindName]: KindOfLink<Wheres[Name]> } = {
  nbd: { serves: ["disk"], load: () => loadLate(async () => (await import("./nbd-link.js")).nbdLink) },
  pty: { serves: ["tty"], load: () => loadLate(async () => (await import("./pty-link.js")).ptyLink) },
  rfc2217: { serves: ["tty"], load: () => loadLate(async () => (await import("./rfc2217-link.js")).rfc2217Link) },
  raw: { serves: ["tty"], load: () => loadLate(async () => (await import("./raw-link.js")).rawLink) },
  "tty-cuse": { serves: ["tty"], load: () => loadLate(async () => (await import("./tty-cuse-link.js")).ttyCuseLink) },
};

/** What there is when nobody asks for a link: a kind for each kind of device that has one. */
const DEFAULT_LINKS: Partial<Record<DeviceKind, LinkKindName>> = { disk: "nbd", tty: "pty" };

/** The words of `--link` that stand for no `--link` at all. */
export function defaultLinks(): LinkKindName[] {
  return [...new Set(Object.values(DEFAULT_LINKS))];
}

/** The links of no `--link` at all: each is opened for the first device that it serves. */
export function openDefaultLinks(context: LinkContext): Link[] {
  return defaultLinks().map((kind) => new LinkByNeed(kind, async () => openLink(await parseLink(kind), context)));
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
  return Object.values(LINK_FORMS);
}

/** Which devices a kind of link can serve. */
export function linkServes(kind: LinkKindName): readonly DeviceKind[] {
  return LINK_KINDS[kind].serves;
}

/**
 * Reads `KIND[=WHERE]`.
 * @throws LinkSetupError LINK_USAGE, naming what is allowed.
 */
export async function parseLink(text: string): Promise<LinkSpec> {
  const equals = text.indexOf("=");
  const kind = equals === -1 ? text : text.slice(0, equals);
  const where = equals === -1 ? undefined : text.slice(equals + 1);
  if (!isLinkKind(kind))
    throw new LinkSetupError("LINK_USAGE", `link "${text}": no kind "${kind}"; allowed are ${linkForms().join("; ")}`);
  if (where === "")
    throw new LinkSetupError("LINK_USAGE", `link "${text}": nothing after "="; allowed are ${LINK_FORMS[kind]}`);
  return await readLink(kind, where);
}

async function readLink<Name extends LinkKindName>(kind: Name, where: string | undefined): Promise<LinkSpec<Name>> {
  return { kind, where: (await LINK_KINDS[kind].load()).parseWhere(where) };
}

/** @throws LinkSetupError */
export async function openLink<Name extends LinkKindName>(spec: LinkSpec<Name>, context: LinkContext): Promise<Link> {
  return await (await LINK_KINDS[spec.kind].load()).open(spec.where, context);
}

function isLinkKind(text: string): text is LinkKindName {
  return Object.hasOwn(LINK_KINDS, text);
}
