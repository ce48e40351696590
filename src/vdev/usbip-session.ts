/**
 * One connection of a USB/IP server: a list of the exports, or an import and then the device's URBs.
 *
 * Spec: usbip_protocol. Works with Linux's vhci_hcd, which keeps SET_ADDRESS to itself and never resets the device; that
 * is why a device is reset when it is imported, unless it keeps its state. The client is not trusted: see `SessionLimits`;
 * a header that cannot be ends the connection, with the reason in the log.
 *
 * Not supported: isochronous transfers. Their payload and packet descriptors are read over and the URB ends with EINVAL.
 */
import { BufferPool } from "../buffers.js";
import { concat, hex, viewOf } from "../bytes.js";
import { ENDPOINT_IN, HUB_FEATURE, REQUEST, REQUEST_TYPE } from "../dev/usb/usb.js";
import { type PayloadTarget, RecordReader } from "../dev/usbip/reader.js";
import {
  AT,
  BUS_ID_BYTES,
  COMMAND,
  DIRECTION,
  devlistReply,
  ERRNO,
  errnoOfStatus,
  ISO_PACKET_BYTES,
  MAX_URB_BYTES,
  NOT_ISOCHRONOUS,
  OP_CODE,
  OP_STATUS,
  opHeader,
  textOf,
  URB_HEADER_BYTES,
  USBIP_VERSION,
  HeaderSlab,
} from "../dev/usbip/wire.js";
import type { ByteStream, TransferStatus } from "../rumpuser/rumpuser.js";
import type { DeviceModel, Urb } from "./model.js";
import type { Export, ExportTable, Importer } from "./usbip-exports.js";

/** How much of the server one client may use. */
export interface SessionLimits {
  /** Longest transfer; a longer IN ends with EMSGSIZE, a longer OUT ends the connection. */
  readonly maxUrbBytes: number;
  /** URBs at the device at one time; one more ends with ENOMEM. */
  readonly maxUrbs: number;
  /** Bytes of them, both directions; what exceeds it ends with ENOMEM. */
  readonly maxBytesInFlight: number;
}

export const DEFAULT_LIMITS: SessionLimits = {
  maxUrbBytes: MAX_URB_BYTES,
  maxUrbs: 1024,
  maxBytesInFlight: 64 << 20,
};

/** Linux allows 1024 packets in one isochronous URB. */
const MAX_ISO_PACKETS = 1024;
/** Memory kept for the payloads of the next URBs. */
const MAX_IDLE_BYTES = 4 << 20;

export interface SessionOptions {
  readonly exports: ExportTable;
  readonly limits: SessionLimits;
  /** As in ServeOptions. */
  readonly keepState?: boolean;
  /** Something worth a line in the log happened on this connection. */
  readonly onNote: (level: "info" | "warn", message: string) => void;
  /** The device was imported: the connection may last. */
  readonly onImport?: () => void;
  /** Called once, when the connection is over and its URBs were taken back. */
  readonly onEnd: () => void;
}

interface SubmitHeader {
  readonly seqnum: number;
  readonly endpointAddress: number;
  readonly isIn: boolean;
  readonly bytes: number;
  readonly setup: Uint8Array;
  readonly numberOfPackets: number;
}

export class Session implements Importer {
  readonly #stream: ByteStream;
  readonly #options: SessionOptions;
  readonly #reader: RecordReader;
  readonly #slab = new HeaderSlab();
  readonly #buffers = new BufferPool(MAX_IDLE_BYTES);
  readonly #urbs = new Map<number, SessionUrb>();
  #bytesInFlight = 0;
  #export: Export | undefined;
  /** What happens when the payload that is arriving is complete. */
  #afterPayload: (() => void) | undefined;
  #out: Uint8Array[] = [];
  #corks = 0;
  #parting = false;
  #over = false;

  /** Takes over the stream. */
  constructor(stream: ByteStream, options: SessionOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#reader = new RecordReader(opHeader.size, URB_HEADER_BYTES, {
      onHeader: (view, bytes) => this.#takeHeader(view, bytes),
      onPayload: () => {
        const next = this.#afterPayload;
        this.#afterPayload = undefined;
        next?.();
      },
    });
    stream.onClose((reason) => this.#finish("info", `client gone: ${reason}`));
    stream.onDrain(() => stream.resume());
    stream.onData((chunk) => this.#batch(() => this.#reader.push(chunk)));
  }

  end(reason: string): void {
    this.#finish("info", reason);
  }

  /** The client is at fault. */
  #refuse(why: string): undefined {
    this.#finish("warn", `client dropped: ${why}`);
    return undefined;
  }

  /** Takes back every URB; the device stays as it is for the next client. */
  #finish(level: "info" | "warn", message: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#reader.stop();
    this.#out = [];
    if (!this.#parting) this.#options.onNote(level, message);
    this.#stream.destroy();
    const held = this.#export;
    if (held !== undefined) {
      for (const urb of this.#urbs.values()) held.model.unlink(urb);
      this.#urbs.clear();
      if (held.importer === this) held.importer = undefined;
    }
    this.#options.onEnd();
  }

  #batch(body: () => void): void {
    this.#corks++;
    try {
      body();
    } finally {
      this.#corks--;
      this.#flush();
    }
  }

  /** A client that does not read what it asked for is not read any more, until it does. */
  #send(...parts: Uint8Array[]): void {
    if (this.#over) return;
    this.#out.push(...parts);
    this.#flush();
  }

  #flush(): void {
    if (this.#corks > 0 || this.#out.length === 0) return;
    const parts = this.#out;
    this.#out = [];
    if (!this.#stream.write(parts)) this.#stream.pause();
    if (this.#parting) this.#stream.close();
  }

  #takeHeader(view: DataView, bytes: Uint8Array): PayloadTarget {
    if (this.#export !== undefined) return this.#takeUrbHeader(this.#export, view, bytes);
    if (bytes.length === BUS_ID_BYTES) return this.#import(textOf(bytes));
    const { version, code } = opHeader.decode(bytes);
    if (version !== USBIP_VERSION)
      return this.#refuse(`it starts with ${hex(bytes)}, which is no USB/IP 1.1.1 request`);
    if (code === OP_CODE.REQ_DEVLIST) this.#sendList();
    else if (code === OP_CODE.REQ_IMPORT) this.#reader.expect(BUS_ID_BYTES);
    else return this.#refuse(`operation ${code.toString(16)}h is none of a client's`);
    return undefined;
  }

  /** "Finally the TCP/IP connection is closed." */
  #sendList(): void {
    const exports = this.#options.exports.list();
    this.#reply(OP_CODE.REP_DEVLIST, OP_STATUS.OK, [
      devlistReply.encode({ deviceCount: exports.length }),
      ...exports.flatMap((one) => [one.device, one.interfaces]),
    ]);
    this.#part("sent the list of devices");
  }

  #import(busId: string): undefined {
    const wanted = this.#options.exports.find(busId);
    if (wanted === undefined || wanted.importer !== undefined) {
      this.#reply(OP_CODE.REP_IMPORT, wanted === undefined ? OP_STATUS.NO_DEVICE : OP_STATUS.DEVICE_BUSY, []);
      this.#part(`refused ${JSON.stringify(busId)}: ${wanted === undefined ? "no such device" : "in use"}`);
      return;
    }
    wanted.importer = this;
    this.#export = wanted;
    if (this.#options.keepState !== true) wanted.model.reset();
    this.#reply(OP_CODE.REP_IMPORT, OP_STATUS.OK, [wanted.device]);
    this.#reader.expect(URB_HEADER_BYTES);
    this.#options.onNote("info", `${busId} imported`);
    this.#options.onImport?.();
  }

  #reply(code: number, status: number, parts: readonly Uint8Array[]): void {
    this.#send(concat([opHeader.encode({ version: USBIP_VERSION, code, status }), ...parts]));
  }

  /** Nothing more is read; the connection ends when the reply has been sent. */
  #part(message: string): void {
    this.#options.onNote("info", message);
    this.#reader.stop();
    this.#parting = true;
  }

  #takeUrbHeader(held: Export, view: DataView, bytes: Uint8Array): PayloadTarget {
    const command = view.getUint32(AT.COMMAND);
    const seqnum = view.getUint32(AT.SEQNUM);
    const devid = view.getUint32(AT.DEVID);
    if (devid !== held.devid)
      return this.#refuse(`URB ${seqnum} is for device ${devid}, ${held.busId} is device ${held.devid}`);
    if (command === COMMAND.UNLINK) return this.#unlink(held.model, seqnum, view.getUint32(AT.UNLINK_SEQNUM));
    if (command !== COMMAND.SUBMIT) return this.#refuse(`command ${command} is none of a client's`);
    if (this.#urbs.has(seqnum)) return this.#refuse(`URB ${seqnum} is in flight and was submitted again`);
    const direction = view.getUint32(AT.DIRECTION);
    const endpoint = view.getUint32(AT.ENDPOINT);
    if (direction > DIRECTION.IN || endpoint > 15)
      return this.#refuse(`URB ${seqnum} is for endpoint ${endpoint}, direction ${direction}`);
    const isIn = direction === DIRECTION.IN;
    return this.#takeSubmit(held, {
      seqnum,
      endpointAddress: endpoint === 0 || !isIn ? endpoint : endpoint | ENDPOINT_IN,
      isIn,
      bytes: view.getUint32(AT.TRANSFER_BUFFER_LENGTH),
      setup: bytes.slice(AT.SETUP, AT.SETUP + 8),
      numberOfPackets: view.getInt32(AT.NUMBER_OF_PACKETS),
    });
  }

  #takeSubmit(held: Export, header: SubmitHeader): PayloadTarget {
    const { seqnum, isIn, bytes, numberOfPackets } = header;
    const { maxUrbBytes, maxUrbs, maxBytesInFlight } = this.#options.limits;
    const payloadBytes = isIn ? 0 : bytes;
    if (payloadBytes > maxUrbBytes)
      return this.#refuse(`URB ${seqnum} carries ${bytes} bytes, at most ${maxUrbBytes} are taken`);
    if (!NOT_ISOCHRONOUS.some((none) => none === numberOfPackets)) {
      if (numberOfPackets < 0 || numberOfPackets > MAX_ISO_PACKETS)
        return this.#refuse(`URB ${seqnum} has ${numberOfPackets} isochronous packets`);
      return this.#decline(header, ERRNO.EINVAL, payloadBytes + numberOfPackets * ISO_PACKET_BYTES);
    }
    if (bytes > maxUrbBytes) return this.#decline(header, ERRNO.EMSGSIZE, 0);
    if (this.#urbs.size >= maxUrbs || this.#bytesInFlight + bytes > maxBytesInFlight)
      return this.#decline(header, ERRNO.ENOMEM, payloadBytes);
    // Bounded: maxUrbBytes. A URB counts from here on, so that half-sent ones count too.
    const out = this.#buffers.take(payloadBytes);
    this.#bytesInFlight += bytes;
    if (payloadBytes === 0) {
      this.#start(held, header, out);
      return undefined;
    }
    this.#afterPayload = () => this.#start(held, header, out);
    return out;
  }

  /** Ends a URB that does not reach the device, after its payload has gone by. */
  #decline(header: SubmitHeader, errno: number, skipBytes: number): PayloadTarget {
    this.#afterPayload = () => this.#send(this.#retSubmit(header.seqnum, errno, 0, 0));
    return { skipBytes };
  }

  #start(held: Export, header: SubmitHeader, out: Uint8Array): void {
    const urb = new SessionUrb(held, header, out, (status, actualBytes, data) =>
      this.#complete(header, urb, status, actualBytes, data),
    );
    this.#urbs.set(header.seqnum, urb);
    if (header.endpointAddress === 0 && this.#answerForTheBus(held.model, header.setup, urb)) return;
    held.model.submit(urb);
  }

  /** What a device on a bus never sees: its address and its port. Linux's stub treats them alike. */
  #answerForTheBus(model: DeviceModel, setup: Uint8Array, urb: SessionUrb): boolean {
    const [requestType = 0, request = 0] = setup;
    if (requestType === REQUEST_TYPE.STANDARD && request === REQUEST.SET_ADDRESS) {
      urb.complete("ok");
      return true;
    }
    const isReset =
      requestType === (REQUEST_TYPE.CLASS | REQUEST_TYPE.OTHER) &&
      request === REQUEST.SET_FEATURE &&
      viewOf(setup).getUint16(2, true) === HUB_FEATURE.PORT_RESET;
    if (!isReset) return false;
    model.reset();
    urb.complete("ok");
    return true;
  }

  /** A URB that completed before its unlink took effect is answered as if there had been none, and then the unlink. */
  #complete(
    header: SubmitHeader,
    urb: SessionUrb,
    status: TransferStatus,
    actualBytes: number,
    data: Uint8Array | undefined,
  ): void {
    if (this.#over || this.#urbs.get(header.seqnum) !== urb) return;
    this.#urbs.delete(header.seqnum);
    this.#bytesInFlight -= header.bytes;
    this.#buffers.give(urb.out);
    const unlinked = status === "cancelled" && urb.unlinkSeqnum !== undefined;
    this.#batch(() => {
      if (!unlinked) {
        this.#send(this.#retSubmit(header.seqnum, errnoOfStatus(status), actualBytes, header.numberOfPackets));
        if (data !== undefined && data.length > 0) this.#send(data);
      }
      if (urb.unlinkSeqnum !== undefined) this.#sendRetUnlink(urb.unlinkSeqnum, unlinked ? ERRNO.ECONNRESET : 0);
    });
  }

  #unlink(model: DeviceModel, seqnum: number, target: number): undefined {
    const urb = this.#urbs.get(target);
    if (urb === undefined) return this.#sendRetUnlink(seqnum, 0);
    if (urb.unlinkSeqnum !== undefined) return this.#refuse(`URB ${target} is unlinked a second time`);
    urb.unlinkSeqnum = seqnum;
    model.unlink(urb);
    return undefined;
  }

  #retSubmit(seqnum: number, errno: number, actualBytes: number, numberOfPackets: number): Uint8Array {
    const { bytes, view } = this.#slab.take();
    view.setUint32(AT.COMMAND, COMMAND.RET_SUBMIT);
    view.setUint32(AT.SEQNUM, seqnum);
    view.setInt32(AT.STATUS, errno);
    view.setUint32(AT.ACTUAL_LENGTH, actualBytes);
    view.setInt32(AT.NUMBER_OF_PACKETS, numberOfPackets);
    return bytes;
  }

  #sendRetUnlink(seqnum: number, errno: number): undefined {
    const { bytes, view } = this.#slab.take();
    view.setUint32(AT.COMMAND, COMMAND.RET_UNLINK);
    view.setUint32(AT.SEQNUM, seqnum);
    view.setInt32(AT.STATUS, errno);
    this.#send(bytes);
    return undefined;
  }
}

type Completed = (status: TransferStatus, actualBytes: number, data: Uint8Array | undefined) => void;

/** A URB at the device. The first completion counts. */
class SessionUrb implements Urb {
  readonly type: Urb["type"];
  readonly endpointAddress: number;
  readonly setup?: Uint8Array;
  readonly out: Uint8Array;
  readonly maxBytes: number;
  readonly #isIn: boolean;
  #completed: Completed | undefined;
  unlinkSeqnum: number | undefined;

  constructor(held: Export, header: SubmitHeader, out: Uint8Array, completed: Completed) {
    this.endpointAddress = header.endpointAddress;
    this.type = header.endpointAddress === 0 ? "control" : (held.endpointTypes.get(header.endpointAddress) ?? "bulk");
    if (this.type === "control") this.setup = header.setup;
    this.out = out;
    this.#isIn = header.isIn;
    this.maxBytes = header.isIn ? header.bytes : 0;
    this.#completed = completed;
  }

  complete(status: TransferStatus, data?: Uint8Array, actualBytes?: number): void {
    const completed = this.#completed;
    if (completed === undefined) return;
    this.#completed = undefined;
    if (!this.#isIn) {
      const taken = actualBytes ?? (status === "ok" ? this.out.length : 0);
      completed(status, Math.min(Math.max(0, taken), this.out.length), undefined);
    } else if (data !== undefined && data.length > this.maxBytes) {
      // A device that sends more than it was asked for babbles (USB 2.0 §8.7.4).
      completed("overflow", this.maxBytes, data.subarray(0, this.maxBytes));
    } else completed(status, data?.length ?? 0, data);
  }
}
