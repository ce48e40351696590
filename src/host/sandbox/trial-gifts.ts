/** What the processes that try the acts of one that serves clients are given: the kinds of descriptors that such a one has. */
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import net from "node:net";
import { createMemory, loadAddon } from "../../rumpuser/real/addon.js";
import { fdOfSocket } from "../../rumpuser/real/byte-stream.js";
import { errnoOf } from "../errors.js";

const MEMORY_BYTES = 1 << 16;
const OPEN_FLAGS = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
const TIOCSPTLCK = 0x40045431;

export interface Gifts {
  /** A TCP socket that listens, a terminal's master, memory: in the order in which acts/act-process.ts takes them. */
  readonly fds: readonly [listener: number, master: number, memory: number];
  close(): void;
}

/** @throws an error of the system */
export async function makeGifts(): Promise<Gifts> {
  const server = net.createServer((socket) => socket.destroy());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const master = openMaster();
  const memory = createMemory(MEMORY_BYTES);
  return {
    fds: [fdOfSocket(server), master.fd, memory],
    close: () => {
      server.close();
      master.close();
      closeSync(memory);
    },
  };
}

/** The other side may be opened, so that it shows when somebody does. A machine without terminals gives a file that is none. */
function openMaster(): { readonly fd: number; readonly close: () => void } {
  let fd: number;
  try {
    fd = openSync("/dev/ptmx", OPEN_FLAGS);
  } catch (error) {
    if (errnoOf(error) === "") throw error;
    fd = openSync("/dev/null", OPEN_FLAGS);
  }
  const file = new (loadAddon().DeviceFile)(() => {});
  file.open(fd);
  file.ioctl(TIOCSPTLCK, new Uint8Array(4));
  return { fd, close: () => file.close() };
}
