import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createUsbip } from "../../../src/dev/usbip/usbip.js";
import { streamOfSocket } from "../../../src/rumpuser/real/byte-stream.js";
import { serveModels } from "../../../src/vdev/server.js";
import { hostControllerContract } from "../../contract/host-controller.js";
import { EchoModel } from "../../fakes/echo-model.js";
import { testClock } from "../../fakes/test-clock.js";
import { usbipInMemory } from "../../fakes/usbip-rig.js";

for (const maxChunkBytes of [undefined, 7])
  hostControllerContract(`usbip in memory, pieces of ${maxChunkBytes ?? "any number of"} bytes`, async () => {
    const rig = await usbipInMemory(maxChunkBytes === undefined ? {} : { maxChunkBytes });
    return { ...rig, dispose: async () => undefined };
  });

hostControllerContract("usbip over a Unix socket", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-"));
  const path = join(folder, "usbip");
  const model = new EchoModel();
  const server = await serveModels({ listen: { unix: path }, exports: [{ busId: "1-1", model }] });
  const socket = net.connect(path);
  await once(socket, "connect");
  const hc = await createUsbip(streamOfSocket(socket), { name: "usbip0", clock: testClock, busId: "1-1" });
  return {
    hc,
    model,
    unplug: () => model.unplug(),
    until: (promise) => promise,
    async dispose() {
      await server.close();
      rmSync(folder, { recursive: true });
    },
  };
});
