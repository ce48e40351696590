import { expect, test } from "vitest";
import type { Peer } from "../../../../src/pud/links/nbd/peer.js";
import { ReplyQueue } from "../../../../src/pud/links/nbd/replies.js";

/** More than is copied. */
const DATA_BYTES = 64 * 1024;
const READ = { magic: 0, flags: 0, type: 0, cookieHigh: 1, cookieLow: 2, offset: 0, lengthBytes: DATA_BYTES };

/** A peer that takes batches and says when each has left. */
class SlowPeer implements Peer {
  /** Of the batches that were sent, in order: call it when the batch has left. */
  readonly left: (() => void)[] = [];

  send(_parts: readonly Uint8Array[], sent: () => void): void {
    this.left.push(sent);
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

/** The queue sends at the end of a turn. */
const turn = (): Promise<void> => Promise.resolve();

test("what was read is given back when its own batch has left, once: not with one that carried no data", async () => {
  const peer = new SlowPeer();
  const recycled: Uint8Array[] = [];
  const replies = new ReplyQueue(
    peer,
    false,
    () => {},
    (data) => recycled.push(data),
  );
  const data = new Uint8Array(DATA_BYTES);
  replies.done(READ, 0);
  await turn();
  replies.data(READ, [data], DATA_BYTES);
  await turn();
  expect(peer.left.length).toBe(2);
  peer.left[0]?.();
  expect(recycled).toEqual([]);
  peer.left[1]?.();
  expect(recycled).toEqual([data]);
});
