/**
 * Frames made by hand, and a rump process that sends whatever the test says.
 */
import { concat } from "../../src/bytes.js";
import { FrameReader } from "../../src/pud/frame-reader.js";
import { type FrameHeader, frameHeader, KINDS, type Kind, PUD_MAGIC, PUD_VERSION } from "../../src/pud/frames.js";
import type { ConnectOptions } from "../../src/pud/host.js";
import { encodeHello, encodeNode } from "../../src/pud/served-payloads.js";
import type { HostRig } from "./pud-pair.js";
import { type MemoryStream, streamPair } from "./stream-pair.js";
import { MemoryDisk, type MemoryDiskOptions } from "./memory-disk.js";

/** A whole frame; any field of the header may be a lie. */
export function frame(
  kind: Kind,
  fields: Partial<FrameHeader> = {},
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const header = frameHeader.encode({
    magic: PUD_MAGIC,
    version: PUD_VERSION,
    kind: kind.number,
    node: 0,
    status: 0,
    flags: 0,
    requestId: 0,
    payloadBytes: payload.length,
    offset: 0,
    count: 0,
    ...fields,
  });
  return concat([header, payload]);
}

/** @param memoryBytes  Shared memory that it says it has. */
export function hello(memoryBytes = 0): Uint8Array {
  return frame(KINDS.hello, {}, encodeHello(memoryBytes));
}

/** NODE for a memory disk of this shape, as class "sd". */
export function nodeFrame(node: number, unit: number, options: MemoryDiskOptions = {}): Uint8Array {
  return frame(KINDS.node, { node }, encodeNode("sd", unit, new MemoryDisk(options)));
}

export interface ReceivedFrame {
  readonly header: FrameHeader;
  readonly payload: Uint8Array;
}

/** The far end of a host's channel, in the hands of the test. */
export class RawRump {
  readonly stream: MemoryStream;
  /** What the host has sent, in order. */
  readonly received: ReceivedFrame[] = [];
  closed = false;
  readonly #reader: FrameReader;

  constructor(rig: HostRig, fragmentBytes?: number, options?: ConnectOptions) {
    const [hostEnd, rumpEnd] = streamPair(fragmentBytes === undefined ? {} : { fragmentBytes });
    this.stream = rumpEnd;
    this.#reader = new FrameReader("host", {
      admit: (header) => new Uint8Array(header.payloadBytes),
      take: (header, payload) => this.received.push({ header, payload }),
    });
    rumpEnd.onData((chunk) => this.#reader.push(chunk));
    rumpEnd.onClose(() => {
      this.closed = true;
    });
    rig.host.connect(hostEnd, options);
  }

  send(...frames: Uint8Array[]): void {
    this.stream.write(frames);
  }

  /** The requests of this kind that have come so far. */
  requests(kind: Kind): FrameHeader[] {
    return this.received.filter(({ header }) => header.kind === kind.number).map(({ header }) => header);
  }
}
