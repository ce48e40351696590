import { expect, test } from "vitest";
import { cbw } from "../../../../src/dev/usb/umass/csw.js";
import { umass } from "../../../../src/dev/usb/umass/umass.js";
import { MemoryStore } from "../../../../src/vdev/image.js";
import { FlashDrive } from "../../../../src/vdev/flash-drive.js";
import { makeRig } from "../rig.js";

test("the first tag is another one in each process, so that the status of an earlier process does not fit (BOT 1.0 §5.1)", async () => {
  const first: number[] = [];
  for (const seed of [1, 2, 3]) {
    const rig = makeRig([umass], { seed });
    const tags: number[] = [];
    rig.vhc.trace(({ transfer }) => {
      if (transfer.type === "bulk" && transfer.data.length === cbw.size) tags.push(cbw.decode(transfer.data).dCBWTag);
    });
    rig.vhc.plug(
      1,
      new FlashDrive({ clock: rig.sim.clock, units: [{ store: new MemoryStore(1 << 20), blockBytes: 512 }] }),
    );
    await rig.boot();
    first.push(tags[0] ?? 0);
    expect(tags.slice(1)).toEqual(tags.slice(0, -1).map((tag) => (tag + 1) >>> 0));
    await rig.sim.run(() => rig.kernel.shutdown());
  }
  expect(new Set(first).size).toBe(3);
});
