/**
 * The kinds of links: how a device node becomes something that other programs can open.
 *
 * A link kind serves some kinds of devices and knows how to read its place from `KIND[=WHERE]` (wheres.ts). A new kind is one more
 * row of the table. The code of a kind is loaded when it is asked for, or, where nobody asked for any link, when there is a
 * device to serve; or ahead, where later nothing can be loaded.
 */
import type { DeviceKind } from "../../rump/devsw.js";
import { loadedOnce } from "../../rumpuser/real/resources.js";
import { LinkByNeed } from "./link-by-need.js";
import type { Link, LinkContext } from "./link.js";
import { isLinkKind, type LinkKindName, type LinkSpec, parseLink, type WhereOf } from "./wheres.js";

export { LinkSetupError } from "./errors.js";
export type { Link, LinkContext, LinkLog, LinkedNode } from "./link.js";
export { linkForms, type LinkKindName, type LinkSpec, parseLink } from "./wheres.js";

/** @throws LinkSetupError */
type OpenLink<Where> = (where: Where, context: LinkContext) => Promise<Link>;

interface KindOfLink<Where> {
  readonly serves: readonly DeviceKind[];
  /** @throws a system error where files cannot be had for now. */
  load(): Promise<OpenLink<Where>>;
}

const LINK_KINDS: { readonly [Name in LinkKindName]: KindOfLink<WhereOf<Name>> } = {
  nbd: { serves: ["disk"], load: loadedOnce(async () => (await import("./nbd-link.js")).openNbdLink) },
  pty: { serves: ["tty"], load: loadedOnce(async () => (await import("./pty-link.js")).openPtyLink) },
  rfc2217: { serves: ["tty"], load: loadedOnce(async () => (await import("./rfc2217-link.js")).openRfc2217Link) },
  raw: { serves: ["tty"], load: loadedOnce(async () => (await import("./raw-link.js")).openRawLink) },
  "tty-cuse": { serves: ["tty"], load: loadedOnce(async () => (await import("./tty-cuse-link.js")).openTtyCuseLink) },
};

/** What there is when nobody asks for a link: a kind for each kind of device that has one. */
const DEFAULT_LINKS: Partial<Record<DeviceKind, LinkKindName>> = { disk: "nbd", tty: "pty" };

/** The words of `--link` that stand for no `--link` at all. */
export function defaultLinks(): LinkKindName[] {
  return [...new Set(Object.values(DEFAULT_LINKS))];
}

/** The links of no `--link` at all: each is opened for the first device that it serves. */
export function openDefaultLinks(context: LinkContext): Link[] {
  return defaultLinks().map((kind) => new LinkByNeed(kind, () => openLink(parseLink(kind), context)));
}

/** Loads the code of these kinds, so that their links can be opened where no file can be read any more. */
export async function loadLinks(kinds: readonly LinkKindName[]): Promise<void> {
  for (const kind of kinds) await LINK_KINDS[kind].load();
}

/** Those of the links that serve this kind of device. A link that is in no table here says so itself. */
export function linksFor(kind: DeviceKind, links: readonly Link[]): readonly Link[] {
  return links.filter((link) => !isLinkKind(link.kind) || linkServes(link.kind).includes(kind));
}

/** The words of `--link` that would serve this kind of device. */
export function linkWordsFor(kind: DeviceKind): string[] {
  return Object.keys(LINK_KINDS).filter((word) => isLinkKind(word) && linkServes(word).includes(kind));
}

/** Which devices a kind of link can serve. */
export function linkServes(kind: LinkKindName): readonly DeviceKind[] {
  return LINK_KINDS[kind].serves;
}

/** @throws LinkSetupError */
export async function openLink<Name extends LinkKindName>(spec: LinkSpec<Name>, context: LinkContext): Promise<Link> {
  return await (await LINK_KINDS[spec.kind].load())(spec.where, context);
}
