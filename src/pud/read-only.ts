/** A disk that cannot be written through this face, whatever the driver in the rump process thinks of it. */
import { DeviceError, type Disk } from "../rump/devsw.js";

export function readOnlyDisk(disk: Disk): Disk {
  const refuse = async (): Promise<never> => {
    throw new DeviceError("EROFS", "served read-only (--read-only)");
  };
  return {
    kind: "disk",
    info: { ...disk.info, readOnly: true, canTrim: false, canWriteZeroes: false },
    read: async (firstBlock, blockCount, options) => await disk.read(firstBlock, blockCount, options),
    write: refuse,
    flush: async (options) => await disk.flush(options),
    trim: refuse,
    writeZeroes: refuse,
  };
}
