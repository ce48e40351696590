/**
 * Rights for links that may be hostile: what the user asked for, and nothing else. What is asked comes from another process; its
 * shape is as little believed as what it says, and what is allowed is handed on in words of our own.
 */
import { basename, join } from "node:path";
import type { ListenAddress } from "../address.js";
import { LinkSetupError } from "../errors.js";
import type { KernelNbdOptions, LinkRights, ListeningSocket, OpenTerminal, TerminalPlace } from "../link-rights.js";
import { defaultLinks } from "../links.js";
import { type LinkKindName, type LinkSpec, parseLink, TTY_NAME } from "../wheres.js";

export interface AllowedLinks {
  /** Where each node may have its socket and its terminal. */
  readonly runtimeDir: string;
  /** What the user asked for; undefined: nobody asked for a link. */
  readonly specs: readonly LinkSpec[] | undefined;
}

/** Sockets, and as many terminals, that are there at a time: one for each node of each link, and more than a machine has devices. */
const MAX_OPEN = 1024;
/** A node as the host names them: its class (CLASS_NAME of pud/payloads.ts) and its unit. */
const NODE_NAME = /^[a-z][A-Za-z]{0,14}\d{1,4}$/;
const NODE_SOCKET = /^([a-zA-Z]+\d+)\.([a-z0-9]+)\.sock$/;
/** Kinds of links that serve on sockets. */
const SOCKET_KINDS: ReadonlySet<LinkKindName> = new Set(["nbd", "rfc2217", "raw"]);
const BLOCK_BYTES: ReadonlySet<unknown> = new Set([512, 1024, 2048, 4096]);
/** Of what is refused, in the error. */
const MAX_SAID = 200;

/** The rights that the links of `allowed` need. What else is asked for is refused: LINK_USAGE. */
export function guardedRights(rights: LinkRights, allowed: AllowedLinks): LinkRights {
  return new GuardedRights(rights, allowed);
}

class GuardedRights implements LinkRights {
  readonly #rights: LinkRights;
  readonly #runtimeDir: string;
  readonly #addresses: readonly ListenAddress[];
  /** Kinds with a socket for each node. */
  readonly #socketKinds: ReadonlySet<unknown>;
  readonly #terminalPaths: readonly (string | undefined)[];
  readonly #kernelDevices: readonly string[];
  readonly #cuseNames: readonly (string | undefined)[];
  readonly #listeners = new Holdings("sockets", MAX_OPEN);
  readonly #terminals = new Holdings("terminals", MAX_OPEN);
  readonly #attachments: Holdings;
  /** One at a time: the kernel may let it wait for seconds, with descriptors open. */
  #lastCuse: Promise<unknown> = Promise.resolve();

  constructor(rights: LinkRights, { runtimeDir, specs = defaultLinks().map(parseLink) }: AllowedLinks) {
    this.#rights = rights;
    this.#runtimeDir = runtimeDir;
    this.#addresses = specs.flatMap(({ where }) => ("address" in where ? [where.address] : []));
    const perNode = specs.filter(({ kind, where }) => SOCKET_KINDS.has(kind) && !("address" in where));
    this.#socketKinds = new Set(perNode.map(({ kind }) => kind));
    this.#terminalPaths = specs.flatMap((spec) => (spec.kind === "pty" ? [spec.where.path] : []));
    this.#kernelDevices = specs.flatMap(({ where }) => ("device" in where ? [where.device] : []));
    this.#cuseNames = specs.flatMap((spec) => (spec.kind === "tty-cuse" ? [spec.where.name] : []));
    this.#attachments = new Holdings("attachments", this.#kernelDevices.length);
  }

  async listen(asked: ListenAddress): Promise<ListeningSocket> {
    const { unix, host, port } = fieldsOf(asked);
    const isAsked = (one: ListenAddress): boolean =>
      "unix" in one ? one.unix === unix : one.host === host && one.port === port;
    const address = this.#addresses.find(isAsked) ?? this.#nodeSocket(unix);
    if (address === undefined) throw refused("listen on", asked);
    return await this.#listeners.add(async () => {
      const made = await this.#rights.listen(address);
      return { number: made.listener, made };
    });
  }

  async unlisten(listener: number): Promise<void> {
    await this.#listeners.remove(listener, () => this.#rights.unlisten(listener));
  }

  async openTerminal(): Promise<OpenTerminal> {
    if (this.#terminalPaths.length === 0) throw refused("open a terminal", "no link pty");
    return await this.#terminals.add(async () => {
      const made = await this.#rights.openTerminal();
      return { number: made.terminal, made };
    });
  }

  async nameTerminal(terminal: number, asked: TerminalPlace): Promise<{ readonly path: string }> {
    const { nodeName, path, replaces } = fieldsOf(asked);
    if (!isNodeName(nodeName)) throw refused("name a terminal", asked);
    const place = this.#terminalPaths.map((one) => one ?? join(this.#runtimeDir, nodeName)).find((one) => one === path);
    if (place === undefined) throw refused("name a terminal", asked);
    this.#terminals.check(terminal);
    if (replaces === undefined) return await this.#rights.nameTerminal(terminal, { nodeName, path: place });
    const replaced = this.#terminals.check(replaces);
    return await this.#rights.nameTerminal(terminal, { nodeName, path: place, replaces: replaced });
  }

  async refuseOthers(terminal: number): Promise<void> {
    await this.#rights.refuseOthers(this.#terminals.check(terminal));
  }

  async tidyTerminal(terminal: number): Promise<boolean> {
    return await this.#rights.tidyTerminal(this.#terminals.check(terminal));
  }

  async closeTerminal(terminal: number): Promise<void> {
    await this.#terminals.remove(terminal, () => this.#rights.closeTerminal(terminal));
  }

  async attachKernelNbd(asked: KernelNbdOptions): Promise<{ readonly attachment: number }> {
    const { device: askedDevice, socketPath: askedPath, exportName, blockBytes } = fieldsOf(asked);
    const device = this.#kernelDevices.find((one) => one === askedDevice);
    if (device === undefined || !isNodeName(exportName) || !isBlockBytes(blockBytes))
      throw refused("attach to the kernel", asked);
    const socketPath = join(this.#runtimeDir, `${exportName}.nbd.sock`);
    if (askedPath !== socketPath) throw refused("attach to the kernel", asked);
    return await this.#attachments.add(async () => {
      const made = await this.#rights.attachKernelNbd({ device, socketPath, exportName, blockBytes });
      return { number: made.attachment, made };
    });
  }

  async detachKernelNbd(attachment: number): Promise<void> {
    await this.#attachments.remove(attachment, () => this.#rights.detachKernelNbd(attachment));
  }

  async openCuse(asked: string): Promise<{ readonly fd: number }> {
    const isOfNode = isNodeName(asked) && TTY_NAME.test(asked);
    const name = this.#cuseNames.map((one) => one ?? (isOfNode ? asked : undefined)).find((one) => one === asked);
    if (name === undefined) throw refused("make a device called", asked);
    const opened = this.#lastCuse.then(() => this.#rights.openCuse(name));
    this.#lastCuse = opened.catch(() => {}); // told to who asked
    return await opened;
  }

  /** The socket of a node in the runtime directory: `sd0.nbd.sock` */
  #nodeSocket(path: unknown): ListenAddress | undefined {
    if (typeof path !== "string") return undefined;
    const file = basename(path);
    const [, node, kind] = NODE_SOCKET.exec(file) ?? [];
    const unix = join(this.#runtimeDir, file);
    return isNodeName(node) && this.#socketKinds.has(kind) && path === unix ? { unix } : undefined;
  }
}

/** What was made and is not taken back, by its number. */
class Holdings {
  readonly #what: string;
  readonly #max: number;
  readonly #numbers = new Set<unknown>();
  #underWay = 0;

  constructor(what: string, max: number) {
    this.#what = what;
    this.#max = max;
  }

  /** @throws LinkSetupError LINK_USAGE: there are too many. What `make` throws. */
  async add<T>(make: () => Promise<{ readonly number: number; readonly made: T }>): Promise<T> {
    if (this.#numbers.size + this.#underWay >= this.#max)
      throw new LinkSetupError("LINK_USAGE", `refused: more than ${this.#max} ${this.#what} at a time`);
    this.#underWay++;
    try {
      const { number, made } = await make();
      this.#numbers.add(number);
      return made;
    } finally {
      this.#underWay--;
    }
  }

  /** @throws LinkSetupError LINK_USAGE: there is none with that number. */
  check(number: unknown): number {
    if (typeof number === "number" && this.#numbers.has(number)) return number;
    throw new LinkSetupError("LINK_USAGE", `refused: ${this.#what} have no number ${said(number)}`);
  }

  /** It counts until it is taken back. Does nothing where there is none with that number. */
  async remove(number: unknown, takeBack: () => Promise<void>): Promise<void> {
    if (!this.#numbers.has(number)) return;
    try {
      await takeBack();
    } finally {
      this.#numbers.delete(number);
    }
  }
}

function refused(what: string, asked: unknown): LinkSetupError {
  return new LinkSetupError("LINK_USAGE", `refused: ${what} ${said(asked)}; the user asked for no such link`);
}

/** In quotes, so that it cannot pass for words of ours. */
function said(asked: unknown): string {
  return (JSON.stringify(asked) ?? "nothing").slice(0, MAX_SAID);
}

function isNodeName(name: unknown): name is string {
  return typeof name === "string" && NODE_NAME.test(name);
}

function isBlockBytes(bytes: unknown): bytes is number {
  return BLOCK_BYTES.has(bytes);
}

/** The fields of what may be no object. */
function fieldsOf(value: object): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
