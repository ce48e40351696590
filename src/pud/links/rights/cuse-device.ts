/** Makes a character device over /dev/cuse (fs/fuse/cuse.c). Its name is settled here, before anybody else has the connection. */
import { closeSync, existsSync } from "node:fs";
import { DeviceFile, duplicate, openDevice, POLL_ERR, READABLE } from "../../../rumpuser/real/device-file.js";
import {
  decodeRequest,
  encodeAnswer,
  encodeInit,
  FUSE_MAJOR,
  initIn,
  MAX_REQUEST_BYTES,
  OPCODES,
} from "../cuse/protocol.js";
import { errnoOf, LinkSetupError, messageOf } from "../errors.js";

const CUSE = "/dev/cuse";
/** The kernel asks for the device's name as soon as the file is open. */
const INTRODUCE_MS = 5000;

/** As LinkRights.openCuse. @returns the connection, the caller's. @throws LinkSetupError */
export async function makeCuseDevice(name: string): Promise<number> {
  const path = `/dev/${name}`;
  if (existsSync(path)) throw new LinkSetupError("LINK_IN_USE", `${path} is there already`);
  let fd: number | undefined;
  try {
    fd = openDevice(CUSE);
    await introduce(fd, name);
    return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw setupError(path, error);
  }
}

async function introduce(fd: number, name: string): Promise<void> {
  let asked = (): void => undefined;
  const question = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const file = new DeviceFile(CUSE, duplicate(fd), () => asked());
  const timer = setTimeout(asked, INTRODUCE_MS);
  try {
    file.watch(READABLE);
    await question;
    answerInit(file, name);
    checkMade(file, `/dev/${name}`);
  } finally {
    clearTimeout(timer);
    file.close();
  }
}

function answerInit(file: DeviceFile, name: string): void {
  const buffer = new Uint8Array(MAX_REQUEST_BYTES);
  const bytes = file.read(buffer);
  if (bytes === undefined)
    throw new LinkSetupError("LINK_FAILED", `${CUSE} did not ask for a name in ${INTRODUCE_MS} ms`);
  const { opcode, unique, body } = decodeRequest(buffer.subarray(0, bytes));
  const { major, minor } = initIn.decode(body);
  if (opcode !== OPCODES.init || major !== FUSE_MAJOR)
    throw new LinkSetupError("LINK_UNAVAILABLE", `${CUSE} speaks protocol ${major}.${minor}, wanted ${FUSE_MAJOR}`);
  file.write(encodeAnswer(unique, encodeInit(minor, name)));
}

/** The kernel says nothing of a device that it could not make: it gives up the file. */
function checkMade(file: DeviceFile, path: string): void {
  if ((file.poll() & POLL_ERR) !== 0)
    throw new LinkSetupError("LINK_IN_USE", `the kernel makes no ${path}: another device may have the name`);
  if (!existsSync(path))
    throw new LinkSetupError("LINK_UNAVAILABLE", `${path} did not appear: /dev is no devtmpfs here`);
}

function setupError(path: string, error: unknown): LinkSetupError {
  if (error instanceof LinkSetupError) return error;
  const code = errnoOf(error);
  if (code === "ENOENT" || code === "ENODEV" || code === "ENXIO")
    return new LinkSetupError(
      "LINK_UNAVAILABLE",
      `${path}: this kernel has no ${CUSE}; load its driver: modprobe cuse`,
      {
        cause: error,
      },
    );
  if (code === "EACCES" || code === "EPERM")
    return new LinkSetupError("LINK_PERMISSION", `${path}: this user may not open ${CUSE} (${code})`, { cause: error });
  return new LinkSetupError("LINK_FAILED", `${path}: ${messageOf(error)}`, { cause: error });
}
