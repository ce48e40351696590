import { diskContract, type DiskRig } from "../contract/disk.js";
import { MemoryDisk, type MemoryDiskOptions } from "../fakes/memory-disk.js";
import { connectRump, hostRig, until } from "../fakes/pud-pair.js";
import type { StreamPairOptions } from "../fakes/stream-pair.js";

function memoryRig(options: MemoryDiskOptions): Omit<DiskRig, "close"> & { readonly disk: MemoryDisk } {
  const disk = new MemoryDisk(options);
  const readOnly = new MemoryDisk({ ...options, readOnly: true });
  return { disk, readOnly, powerCut: () => disk.powerCut(), hold: () => disk.hold() };
}

async function pudRig(options: MemoryDiskOptions, stream: StreamPairOptions): Promise<DiskRig> {
  const below = memoryRig(options);
  const rig = hostRig("fail");
  const { server } = connectRump(rig, stream);
  server.publish("sd", below.disk);
  server.publish("sd", below.readOnly);
  await until("two nodes", () => rig.nodes.length === 2);
  const [disk, readOnly] = rig.nodes.map((node) => node.device);
  if (disk === undefined || readOnly === undefined) throw new Error("nodes without a device");
  return { ...below, disk, readOnly, close: async () => rig.host.abandon("the test is over") };
}

const SHAPES: Record<string, MemoryDiskOptions> = {
  "512-byte blocks": { maxTransferBytes: 64 * 1024 },
  "4096-byte blocks, neither trim nor zeroes": {
    blockBytes: 4096,
    blockCount: 512,
    canTrim: false,
    canWriteZeroes: false,
  },
};

for (const [shape, options] of Object.entries(SHAPES)) {
  diskContract(`memory disk, ${shape}`, async () => ({ ...memoryRig(options), close: async () => {} }));
  diskContract(`memory disk through pud, ${shape}`, () => pudRig(options, {}));
}
diskContract("memory disk through pud in fragments of 7 bytes", () =>
  pudRig({ maxTransferBytes: 4096 }, { fragmentBytes: 7, highWaterBytes: 4096 }),
);
