/**
 * URBs over a USB/IP connection, seen from the client: submit, unlink, and what the server answers.
 *
 * Spec: usbip_protocol, USBIP_CMD_SUBMIT to USBIP_RET_UNLINK. The server is not trusted: an answer nobody waits for, a
 * length beyond what was asked, an unknown command end the connection; every URB in flight then ends as "disconnected".
 */
import { PendingMap } from "../../pending.js";
import type { ByteStream, Clock, Timer } from "../../rumpuser/rumpuser.js";
import { RestTimer } from "../usb/rest-timer.js";
import type { HcCompletion, HcTransfer } from "../usb/usbdivar.js";
import { type PayloadTarget, RecordReader } from "./reader.js";
import { OutgoingParts } from "./outgoing.js";
import { AT, COMMAND, DIRECTION, ERRNO, HeaderSlab, statusOfErrno, TRANSFER_FLAG, URB_HEADER_BYTES } from "./wire.js";

const NO_BYTES = new Uint8Array(0);

/** An unlink that is not answered in this time ends the connection: a cancelled transfer must come to an end. */
const UNLINK_TIMEOUT_MS = 5000;

/**
 * RET_UNLINK with status 0 says that the URB had completed before. Its RET_SUBMIT comes first, or right behind; Linux's
 * stub sends none at all when the URB completes while it is being unlinked. So much time it gets.
 */
const LATE_SUBMIT_MS = 1000;

/**
 * Linux refuses interrupt URBs without an interval. It is in frames or microframes; eight is 1 ms at high speed, and the
 * usual interval of slow devices.
 */
const INTERRUPT_INTERVAL = 8;

/** A transfer as the wire wants it: the direction decided, the data no longer than what moves. */
export interface WireTransfer {
  readonly transfer: HcTransfer;
  readonly isIn: boolean;
  /** OUT: what is sent. IN: the memory to fill. */
  readonly data: Uint8Array;
}

export interface UrbConnectionOptions {
  readonly clock: Clock;
  /** From the import. */
  readonly devid: number;
  /** Called once, after the URBs in flight were ended: the connection is gone, by the peer or by `end`. */
  readonly onDown: (reason: string) => void;
}

interface PendingUrb extends WireTransfer {
  readonly seqnum: number;
  readonly done: (completion: HcCompletion) => void;
  unlinking: boolean;
}

interface PendingUnlink {
  readonly urb: PendingUrb;
  readonly deadlineMs: number;
}

export class UrbConnection {
  readonly #stream: ByteStream;
  readonly #clock: Clock;
  readonly #devid: number;
  readonly #onDown: (reason: string) => void;
  readonly #reader: RecordReader;
  readonly #slab = new HeaderSlab();
  readonly #pending = new PendingMap<PendingUrb>();
  /** By the seqnum of the CMD_UNLINK, oldest first. */
  readonly #unlinks = new Map<number, PendingUnlink>();
  #unlinkTimer: Timer | undefined;
  /** The URB whose payload is arriving, and how it ended. */
  #receiving: { readonly urb: PendingUrb; readonly completion: HcCompletion } | undefined;
  /** Where its payload goes; the same each time. */
  readonly #part = { into: NO_BYTES as Uint8Array, bytes: 0 };
  #lastSeqnum = 0;
  /** Numbers have been used before. */
  #areUsed = false;
  readonly #out = new OutgoingParts();
  #willFlush = false;
  /** Whom to call when everything that has arrived is taken, and whether that will happen. */
  #tellers: (() => void)[] = [];
  #isTaking = false;
  readonly #rest: RestTimer;
  #down = false;

  /** Takes over the stream's listeners. */
  constructor(stream: ByteStream, options: UrbConnectionOptions) {
    this.#stream = stream;
    this.#clock = options.clock;
    this.#devid = options.devid;
    this.#onDown = options.onDown;
    this.#rest = new RestTimer(options.clock, (on) => (on ? stream.pause() : stream.resume()));
    this.#reader = new RecordReader(URB_HEADER_BYTES, URB_HEADER_BYTES, {
      onHeader: (view) => this.#takeHeader(view),
      onPayload: () => this.#takePayload(),
    });
    stream.onClose((reason) => this.end(reason));
    stream.onData((chunk) => this.#together(() => this.#reader.push(chunk)));
  }

  /**
   * Sends a URB. `done` is called once and never synchronously; the memory is lent until then.
   * @returns asks for cancellation.
   */
  submit(request: WireTransfer, done: (completion: HcCompletion) => void): () => void {
    if (this.#down) {
      this.#clock.startTimer(0, () => done({ status: "disconnected", actualBytes: 0 }));
      return () => undefined;
    }
    const { transfer, isIn, data } = request;
    // Written out: V8 makes a new map for each object that is spread and added to.
    const urb: PendingUrb = { transfer, isIn, data, seqnum: this.#nextSeqnum(), done, unlinking: false };
    this.#pending.add(urb.seqnum, urb);
    this.#addSubmit(urb);
    if (!urb.isIn && urb.data.length > 0) this.#out.add(urb.data);
    this.#flush();
    return () => this.#unlink(urb);
  }

  /** For completions that are told together: `tell` is called when everything that has arrived by now is taken. */
  afterTaking(tell: () => void): void {
    this.#tellers.push(tell);
    if (!this.#isTaking && this.#tellers.length === 1) queueMicrotask(() => this.#tell());
  }

  /** Asks to cancel everything in flight. */
  cancelAll(): void {
    for (const urb of this.#pending.values()) this.#unlink(urb);
  }

  /** As HostController.rest: answers stay in the socket. */
  rest(ms: number): void {
    if (!this.#down) this.#rest.rest(ms);
  }

  /** Ends the connection; what is in flight ends as "disconnected" in a later turn. Later calls do nothing. */
  end(reason: string): void {
    if (this.#down) return;
    this.#down = true;
    this.#reader.stop();
    this.#unlinkTimer?.cancel();
    this.#rest.cancel();
    this.#stream.destroy();
    const receiving = this.#receiving;
    const ended = receiving === undefined ? [] : [receiving.urb];
    ended.push(...this.#pending.values());
    this.#receiving = undefined;
    this.#pending.clear();
    this.#unlinks.clear();
    this.#out.take();
    this.#clock.startTimer(0, () => {
      for (const urb of ended) urb.done({ status: "disconnected", actualBytes: 0 });
      this.#onDown(reason);
    });
  }

  #together(take: () => void): void {
    this.#isTaking = true;
    try {
      take();
    } finally {
      this.#isTaking = false;
    }
    this.#tell();
  }

  #tell(): void {
    for (const tell of this.#tellers.splice(0)) tell();
  }

  #nextSeqnum(): number {
    do {
      this.#areUsed ||= this.#lastSeqnum >= 0xffffffff;
      this.#lastSeqnum = this.#lastSeqnum >= 0xffffffff ? 1 : this.#lastSeqnum + 1;
    } while (this.#areUsed && (this.#pending.has(this.#lastSeqnum) || this.#unlinks.has(this.#lastSeqnum)));
    return this.#lastSeqnum;
  }

  #addSubmit(urb: PendingUrb): void {
    const { transfer, isIn } = urb;
    const at = this.#slab.cut();
    const { bytes, view } = this.#slab;
    view.setUint32(at + AT.COMMAND, COMMAND.SUBMIT);
    view.setUint32(at + AT.SEQNUM, urb.seqnum);
    view.setUint32(at + AT.DEVID, this.#devid);
    view.setUint32(at + AT.DIRECTION, isIn ? DIRECTION.IN : DIRECTION.OUT);
    view.setUint32(at + AT.ENDPOINT, transfer.endpointAddress & 0x0f);
    const zlp = !isIn && transfer.sendZlp === true ? TRANSFER_FLAG.ZERO_PACKET : 0;
    view.setUint32(at + AT.TRANSFER_FLAGS, zlp | (isIn ? TRANSFER_FLAG.DIR_IN : 0));
    view.setUint32(at + AT.TRANSFER_BUFFER_LENGTH, urb.data.length);
    // number_of_packets stays 0, as Linux's vhci_hcd has it: every server must know that one.
    if (transfer.type === "interrupt") view.setUint32(at + AT.INTERVAL, INTERRUPT_INTERVAL);
    if (transfer.setup !== undefined) bytes.set(transfer.setup, at + AT.SETUP);
    this.#out.addHeader(bytes, at);
  }

  /** What is submitted in one go leaves in one write. */
  #flush(): void {
    if (this.#willFlush) return;
    this.#willFlush = true;
    queueMicrotask(() => {
      this.#willFlush = false;
      const parts = this.#out.take();
      // What waits here is memory of the transfers in flight: the stack bounds it, so the answer may be ignored.
      if (parts.length > 0) this.#stream.write(parts);
    });
  }

  #unlink(urb: PendingUrb): void {
    if (this.#down || urb.unlinking || !this.#pending.has(urb.seqnum)) return;
    urb.unlinking = true;
    const seqnum = this.#nextSeqnum();
    this.#unlinks.set(seqnum, { urb, deadlineMs: this.#clock.nowMs() + UNLINK_TIMEOUT_MS });
    this.#watchUnlinks();
    const at = this.#slab.cut();
    const { bytes, view } = this.#slab;
    view.setUint32(at + AT.COMMAND, COMMAND.UNLINK);
    view.setUint32(at + AT.SEQNUM, seqnum);
    view.setUint32(at + AT.DEVID, this.#devid);
    view.setUint32(at + AT.UNLINK_SEQNUM, urb.seqnum);
    this.#out.addHeader(bytes, at);
    this.#flush();
  }

  /** One timer, for the unlink that has waited longest. */
  #watchUnlinks(): void {
    if (this.#unlinkTimer !== undefined || this.#down) return;
    const [oldest] = this.#unlinks.values();
    if (oldest === undefined) return;
    this.#unlinkTimer = this.#clock.startTimer(oldest.deadlineMs - this.#clock.nowMs(), () => {
      this.#unlinkTimer = undefined;
      const [first] = this.#unlinks.entries();
      if (first !== undefined && first[1].deadlineMs <= this.#clock.nowMs())
        this.end(`no answer to the unlink of URB ${first[1].urb.seqnum} within ${UNLINK_TIMEOUT_MS} ms`);
      else this.#watchUnlinks();
    });
  }

  #takeHeader(view: DataView): PayloadTarget {
    const command = view.getUint32(AT.COMMAND);
    if (command === COMMAND.RET_SUBMIT) return this.#takeRetSubmit(view);
    if (command === COMMAND.RET_UNLINK) this.#takeRetUnlink(view.getUint32(AT.SEQNUM), view.getInt32(AT.STATUS));
    else this.end(`the server sent command ${command}, which is none of a server's`);
    return undefined;
  }

  #takeRetSubmit(view: DataView): PayloadTarget {
    const seqnum = view.getUint32(AT.SEQNUM);
    const urb = this.#pending.get(seqnum);
    if (urb === undefined) {
      this.end(`the server answered URB ${seqnum}, which is not in flight`);
      return undefined;
    }
    const actualBytes = view.getUint32(AT.ACTUAL_LENGTH);
    if (actualBytes > urb.data.length) {
      this.end(`the server answered URB ${seqnum} with ${actualBytes} bytes; ${urb.data.length} were asked for`);
      return undefined;
    }
    this.#pending.delete(seqnum);
    const completion = { status: statusOfErrno(view.getInt32(AT.STATUS)), actualBytes };
    if (!urb.isIn || actualBytes === 0) {
      urb.done(completion);
      return undefined;
    }
    this.#receiving = { urb, completion };
    this.#part.into = urb.data;
    this.#part.bytes = actualBytes;
    return this.#part;
  }

  #takePayload(): void {
    const receiving = this.#receiving;
    this.#receiving = undefined;
    receiving?.urb.done(receiving.completion);
  }

  #takeRetUnlink(seqnum: number, errno: number): void {
    const unlink = this.#unlinks.get(seqnum);
    if (unlink === undefined) return this.end(`the server answered unlink ${seqnum}, which nobody waits for`);
    this.#unlinks.delete(seqnum);
    if (this.#unlinks.size === 0) {
      this.#unlinkTimer?.cancel();
      this.#unlinkTimer = undefined;
    }
    const { urb } = unlink;
    if (!this.#isPending(urb)) return;
    if (errno !== 0) return this.#finishUnlinked(urb, errno);
    this.#clock.startTimer(LATE_SUBMIT_MS, () => this.#finishUnlinked(urb, ERRNO.ECONNRESET));
  }

  #isPending(urb: PendingUrb): boolean {
    return this.#pending.get(urb.seqnum) === urb;
  }

  /** The protocol does not say how many bytes of an unlinked URB moved. */
  #finishUnlinked(urb: PendingUrb, errno: number): void {
    if (!this.#isPending(urb)) return;
    this.#pending.delete(urb.seqnum);
    urb.done({ status: statusOfErrno(errno), actualBytes: 0 });
  }
}
