/** A serial line in memory, served as a pseudo terminal in a folder of its own. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { openLink, parseLink } from "../../../../src/pud/links/links.js";
import type { Link, LinkedNode } from "../../../../src/pud/links/links.js";
import type { LinkRights } from "../../../../src/pud/links/link-rights.js";
import { LocalRights } from "../../../../src/pud/links/rights/local-rights.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { SerialProgram } from "../serial-program.js";

export interface PtyRigOptions {
  readonly tty?: MemoryTty;
  /** Of `pty=WHERE`; FOLDER stands for that of the rig. */
  readonly where?: string;
  readonly rights?: LinkRights;
}

export class PtyRig {
  readonly folder: string;
  readonly tty: MemoryTty;
  readonly link: Link;
  readonly node: LinkedNode;
  readonly log: string[];

  private constructor(parts: Pick<PtyRig, "folder" | "tty" | "link" | "node" | "log">) {
    this.folder = parts.folder;
    this.tty = parts.tty;
    this.link = parts.link;
    this.node = parts.node;
    this.log = parts.log;
  }

  static async start({
    tty = new MemoryTty(),
    where,
    rights = new LocalRights(),
  }: PtyRigOptions = {}): Promise<PtyRig> {
    const folder = await mkdtemp(join(tmpdir(), "rumpusb-pty-"));
    const log: string[] = [];
    const spec = parseLink(where === undefined ? "pty" : `pty=${where.replace("FOLDER", folder)}`);
    const sink = { write: ({ message }: { message: string }) => void log.push(message) };
    const link = await openLink(spec, { runtimeDir: folder, log: sink, rights });
    return new PtyRig({ folder, tty, link, node: await link.serve("ttyU0", tty), log });
  }

  get path(): string {
    return this.node.path ?? "";
  }

  /** A program that has the line open as `fd`; when it returns, so has the link. */
  async program(options?: ConstructorParameters<typeof SerialProgram>[0]): Promise<SerialProgram> {
    const program = new SerialProgram(options);
    await program.run(`fd = open_raw(${JSON.stringify(this.path)})`);
    await vi.waitFor(() => {
      if (this.tty.port === undefined) throw new Error("the line is not open");
    });
    return program;
  }

  /** Waits for a call to the line; forgets those up to it. */
  async called(call: string, timeout = 2000): Promise<void> {
    await vi.waitFor(
      () => {
        const at = this.tty.calls.indexOf(call);
        if (at === -1) throw new Error(`no call "${call}" among: ${this.tty.calls.join(", ")}`);
        this.tty.calls.splice(0, at + 1);
      },
      { timeout, interval: 2 },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link.close();
    await rm(this.folder, { recursive: true });
  }
}
