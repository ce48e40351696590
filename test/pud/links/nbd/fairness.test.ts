/** Many clients of one disk: those that ask for much, and those that fetch nothing, do not keep it from the others. */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createPudHost, type HostNode, type PudHost } from "../../../../src/pud/host.js";
import { createPudServer } from "../../../../src/pud/server.js";
import type { NbdServer } from "../../../../src/pud/links/nbd/server.js";
import { listenNbd } from "../../../../src/pud/links/rights/listen-nbd.js";
import { MemoryDisk } from "../../../fakes/memory-disk.js";
import { isDiskNode } from "../../../fakes/pud-pair.js";
import { streamPair } from "../../../fakes/stream-pair.js";
import { testClock } from "../../../fakes/test-clock.js";
import { CMD, OPT, option, request } from "./client.js";
import { dial, temporaryFolder, until } from "./rig.js";

const BYTES_PER_MS = 100_000;
const MIB = 1024 * 1024;
const OTHERS = 24;
const READS_EACH = 64;
/**
 * How long the disk may be busy for others between a question and its answer: what is in flight, and a turn. In order it would
 * be 1.5 GiB, 16 s. Its time is counted in bytes, so that a busy machine does not matter.
 */
const MAX_WAIT_MS = 150;

/** One command after another, at the rate of a fast stick. */
class SlowDisk extends MemoryDisk {
  #last: Promise<unknown> = Promise.resolve();
  readBytes = 0;

  override async read(firstBlock: number, blockCount: number): Promise<Uint8Array> {
    const bytes = blockCount * this.info.blockBytes;
    const done = this.#last.then(async () => await delay(bytes / BYTES_PER_MS));
    this.#last = done;
    await done;
    this.readBytes += bytes;
    return await super.read(firstBlock, blockCount);
  }
}

/** A disk behind both halves of pud, on a socket. */
async function served(path: string): Promise<{ disk: SlowDisk; host: PudHost; server: NbdServer }> {
  const disk = new SlowDisk({ blockCount: 8192 });
  const nodes: HostNode[] = [];
  const ignore = (): void => {};
  const host = createPudHost({
    clock: testClock,
    lossPolicy: "fail",
    handlers: {
      onDevice: ignore,
      onNode: (node) => nodes.push(node),
      onNodeGone: ignore,
      onLog: ignore,
      onReady: ignore,
      onError: ignore,
      onLost: ignore,
    },
  });
  const [hostEnd, rumpEnd] = streamPair();
  host.connect(hostEnd);
  const rump = { clock: testClock, log: { write: ignore }, onLost: ignore };
  createPudServer(rumpEnd, rump).publish("sd", disk);
  await until(() => nodes.length > 0, "the node");
  const [node] = nodes;
  if (node === undefined || !isDiskNode(node)) throw new Error("the node is no disk");
  const server = await listenNbd({ address: { unix: path }, log: { write: ignore }, clock: testClock });
  server.addExport("sd0", node.device, { description: "slow", readOnly: false });
  return { disk, host, server };
}

/** Asks for 64 MiB in reads of 1 MiB. */
async function greedyClient(path: string, fetches: boolean): Promise<Socket> {
  const socket = connect({ path });
  socket.on("error", () => {}); // it is cut off at the end
  await new Promise((connected) => socket.once("connect", connected));
  socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), option(OPT.EXPORT_NAME, Buffer.from("sd0"))]));
  if (fetches) socket.resume();
  else socket.pause();
  const reads = Array.from({ length: READS_EACH }, (_, cookie) =>
    request({ type: CMD.READ, cookie: BigInt(cookie), offset: (cookie % 4) * MIB, length: MIB }),
  );
  socket.write(Buffer.concat(reads));
  return socket;
}

/** A client that comes when all the others have asked. @returns how long the disk was busy for each of its reads. */
async function honestReads(path: string, disk: SlowDisk, count: number): Promise<number[]> {
  const client = await dial({ path });
  await client.go("sd0");
  const tookMs: number[] = [];
  for (let block = 0; block < count; block++) {
    const before = disk.readBytes;
    const { error } = await client.do({ type: CMD.READ, offset: block * 4096, length: 4096 });
    expect(error).toBe(0);
    tookMs.push((disk.readBytes - before) / BYTES_PER_MS);
  }
  client.wire.close();
  return tookMs;
}

describe.each([
  ["that fetch nothing", false],
  ["that read all the time", true],
])("beside clients %s", (_, fetches) => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  beforeEach(async () => {
    folder = await temporaryFolder();
  });
  afterEach(async () => {
    await folder[Symbol.asyncDispose]();
  });

  test("reads of 4 KiB take milliseconds", async () => {
    const path = join(folder.path, "socket");
    const { disk, host, server } = await served(path);
    const others = await Promise.all(Array.from({ length: OTHERS }, async () => await greedyClient(path, fetches)));
    await until(() => disk.readBytes > MIB, "the others are served");
    const tookMs = await honestReads(path, disk, 40);
    expect(Math.max(...tookMs)).toBeLessThan(MAX_WAIT_MS);
    for (const other of others) other.destroy();
    host.abandon("the test is over");
    await server.close();
  });
});

test("clients that fetch nothing are served for a while and not more", { timeout: 30_000 }, async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "socket");
  const { disk, host, server } = await served(path);
  const others = await Promise.all(Array.from({ length: 4 }, async () => await greedyClient(path, false)));
  let before = -1;
  while (disk.readBytes > before || disk.readBytes === 0) {
    before = disk.readBytes;
    await delay(300);
  }
  expect(disk.readBytes).toBeLessThanOrEqual(4 * 9 * MIB); // one of them may have fitted into the socket
  for (const other of others) other.destroy();
  host.abandon("the test is over");
  await server.close();
});
