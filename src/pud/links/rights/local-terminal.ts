/** A pseudo terminal (pty(7)), as far as making, naming and opening it needs rights: those of this process. */
import { chmodSync, closeSync } from "node:fs";
import { viewOf } from "../../../bytes.js";
import {
  DeviceFile,
  duplicate,
  IN_CLOSE,
  IN_OPEN,
  openDevice,
  watchFile,
  withDeviceFile,
} from "../../../rumpuser/real/device-file.js";
import { errnoOf, LinkSetupError } from "../errors.js";
import type { TerminalPlace } from "../link-rights.js";
import { intArgument, TCFLSH, TCIFLUSH, TIOCEXCL, TIOCNXCL } from "../tty/termios.js";
import { TerminalName, terminalPath } from "./terminal-name.js";

const MASTER = "/dev/ptmx";
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;

export class LocalTerminal {
  /** `/dev/pts/3`. It is this terminal's until `close`, whatever whoever has the other descriptors does. */
  readonly device: string;
  readonly #master: DeviceFile;
  #name: TerminalName | undefined;

  private constructor(device: string, master: DeviceFile) {
    this.device = device;
    this.#master = master;
  }

  /** Makes a terminal that only this user may open. The descriptors are the caller's. @throws Error of the system */
  static open(): { readonly terminal: LocalTerminal; readonly master: number; readonly uses: number } {
    const master = openDevice(MASTER);
    let kept: DeviceFile | undefined;
    try {
      kept = new DeviceFile(MASTER, duplicate(master), () => undefined);
      kept.ioctl(TIOCSPTLCK, intArgument(0));
      const index = intArgument(0);
      kept.ioctl(TIOCGPTN, index);
      const device = `/dev/pts/${viewOf(index).getUint32(0, true)}`;
      chmodSync(device, 0o600);
      // Opened and closed once, it says of itself that nobody has it open.
      withDeviceFile(device, () => undefined);
      return { terminal: new LocalTerminal(device, kept), master, uses: watchFile(device, IN_OPEN | IN_CLOSE) };
    } catch (error) {
      kept?.close();
      closeSync(master);
      throw error;
    }
  }

  /** Where programs find it, once it has a name. */
  get path(): string | undefined {
    return this.#name?.path;
  }

  /**
   * As LinkRights.nameTerminal.
   * @param replaced  Whose name it takes over, where that is the same.
   * @param others    All that are there.
   * @returns where programs find it
   * @throws LinkSetupError
   */
  nameAs(
    { path, nodeName }: TerminalPlace,
    replaced: LocalTerminal | undefined,
    others: Iterable<LocalTerminal>,
  ): string {
    const name = new TerminalName(terminalPath(path, nodeName));
    for (const other of others)
      if (other.path === name.path && other !== replaced)
        throw new LinkSetupError("LINK_IN_USE", `${name.path} is another node already; ${nodeName} needs another`);
    if (replaced?.path !== name.path) name.claim();
    name.pointTo(this.device);
    if (this.#name?.path !== name.path) this.#name?.remove(this.device);
    this.#name = name;
    return name.path;
  }

  /** As LinkRights.refuseOthers. @throws Error of the system */
  refuseOthers(): void {
    this.#withSlave((slave) => slave.ioctl(TIOCEXCL));
  }

  /** As LinkRights.tidyTerminal. @throws Error of the system */
  tidy(): boolean {
    return this.#withSlave((slave) => {
      slave.ioctl(TIOCNXCL);
      slave.ioctl(TCFLSH, TCIFLUSH);
    });
  }

  /** Removes its name, if that still leads to it. Idempotent. @throws LinkSetupError */
  close(): void {
    try {
      this.#name?.remove(this.device);
    } finally {
      this.#name = undefined;
      this.#master.close();
    }
  }

  /** @returns false: it is kept for one program (EBUSY) */
  #withSlave(use: (slave: DeviceFile) => void): boolean {
    try {
      withDeviceFile(this.device, use);
      return true;
    } catch (error) {
      if (errnoOf(error) === "EBUSY") return false;
      throw error;
    }
  }
}
