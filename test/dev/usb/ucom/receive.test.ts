/** The reads that an open port keeps in flight: of whole packets, whatever size a device says that they have (USB 2.0 §5.8.3). */
import { expect, test } from "vitest";
import type { SerialChip } from "../../../../src/dev/usb/ucom/chip.js";
import { LineStatus } from "../../../../src/dev/usb/ucom/line-status.js";
import { Receive } from "../../../../src/dev/usb/ucom/receive.js";
import { SoftFlow } from "../../../../src/dev/usb/ucom/soft-flow.js";
import type { InPipe, OutPipe } from "../../../../src/dev/usb/usbdi.js";
import { createSimulatedRumpuser } from "../../../../src/rumpuser/simulated.js";
import { Collector } from "../../../fakes/tty-collector.js";

const SLOW_BYTE_MS = 10 / 115.2;
const FAST_BYTE_MS = 10 / 3000;

test.each([1, 8, 48, 63, 64, 500, 512, 1024])("packets of %i bytes", async (maxPacketBytes) => {
  for (const fillsPackets of [false, true])
    for (const byteMs of [SLOW_BYTE_MS, FAST_BYTE_MS]) {
      const { clock } = createSimulatedRumpuser({ seed: 1 });
      const started: { readonly count: number; readonly bytes: number }[] = [];
      let most = { count: 0, bytes: 0 };
      const bulkIn = {
        direction: "in",
        maxPacketBytes,
        openReads: (options) => {
          most = options;
          return {
            start: (count, bytes) => started.push({ count, bytes }),
            tellRepeats: () => undefined,
            cancel: () => undefined,
            close: () => undefined,
          };
        },
      } as Partial<InPipe> as InPipe;
      const receive = new Receive({
        chip: { limits: { readPackets: 8, fillsPackets } } as unknown as SerialChip,
        pipes: { bulkIn, bulkOut: {} as OutPipe },
        clock,
        status: new LineStatus(),
        softFlow: new SoftFlow(() => undefined),
        receiver: new Collector(),
        rest: () => undefined,
        isSending: () => false,
        log: () => undefined,
      });
      receive.setRate(byteMs);
      void receive.run();
      receive.grant(1 << 20);
      await clock.advance(1);
      expect(started.length).toBe(1);
      for (const { count, bytes } of started) {
        expect(bytes % maxPacketBytes).toBe(0);
        expect([count <= most.count, bytes <= most.bytes, count >= 4]).toEqual([true, true, true]);
      }
    }
});
