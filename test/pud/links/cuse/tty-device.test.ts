import fc from "fast-check";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { viewOf } from "../../../../src/bytes.js";
import type { Tty } from "../../../../src/rump/devsw.js";
import { decodeRequest, OPCODES } from "../../../../src/pud/links/cuse/protocol.js";
import {
  FRESH_TERMIOS,
  termios2Record,
  termiosRecord,
  withLineSettings,
} from "../../../../src/pud/links/tty/termios.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { Kernel, type PendingCall } from "./kernel.js";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TCGETS2 = 0x802c542a;
const TCSETS2 = 0x402c542b;
const TCSETSW2 = 0x402c542c;
const TCSETSF2 = 0x402c542d;
const TIOCMGET = 0x5415;
const POLLIN = 0x41;
const POLLOUT = 0x104;
const POLLHUP = 0x10;

async function opened(tty?: MemoryTty): Promise<Kernel> {
  const kernel = new Kernel(tty);
  await kernel.open();
  return kernel;
}

/** Waiting time and least bytes of a read. */
async function setReadRule(kernel: Kernel, vmin: number, vtime: number): Promise<void> {
  const controlChars = FRESH_TERMIOS.controlChars.slice();
  controlChars[5] = vtime;
  controlChars[6] = vmin;
  await kernel.ioctl(TCSETS2, termios2Record.encode({ ...FRESH_TERMIOS, controlChars }));
}

async function isWaiting(call: PendingCall): Promise<boolean> {
  return await Promise.race([call.answered.then(() => false), delay(30).then(() => true)]);
}

describe("open and release", () => {
  test("the line is opened with DTR and RTS up, and drained and closed at release", async () => {
    const kernel = await opened();
    expect(kernel.tty.port?.outputs).toEqual({ dtr: true, rts: true });
    await kernel.release();
    expect(kernel.tty.calls).toEqual(["open 9600", "drain", "close"]);
  });

  test("what arrives while the last bytes go out is thrown away: the device is not held", async () => {
    const kernel = await opened();
    kernel.tty.hold(true);
    await kernel.write("x");
    const released = kernel.release();
    kernel.tty.arrive(new Uint8Array(300_000));
    expect(kernel.tty.waitingBytes).toBe(0);
    kernel.tty.hold(false);
    await released;
  });

  test("a second opener is refused", async () => {
    const kernel = await opened();
    await expect(kernel.open()).rejects.toThrow("EBUSY");
    await kernel.release();
    await kernel.open();
  });

  test("settings stay for the next program", async () => {
    const kernel = await opened();
    await kernel.ioctl(TCSETS2, termios2Record.encode(withLineSettings(FRESH_TERMIOS, { baud: 31_250 })));
    await kernel.release();
    await kernel.open();
    expect(kernel.tty.port?.settings.baud).toBe(31_250);
  });

  test("without HUPCL the line stays open, and what came meanwhile is for nobody", async () => {
    const kernel = await opened();
    await kernel.ioctl(TCSETS2, termios2Record.encode({ ...FRESH_TERMIOS, cflag: FRESH_TERMIOS.cflag & ~0x400 }));
    await kernel.release();
    kernel.tty.arrive("lost");
    await kernel.open();
    kernel.tty.arrive("seen");
    expect(await kernel.read(10)).toBe("seen");
    expect(kernel.tty.calls).not.toContain("close");
  });

  test("a line that cannot be opened says why, and can be opened later", async () => {
    const tty = new MemoryTty();
    const kernel = new Kernel(tty);
    const settings = { baud: 300, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" } as const;
    const nobody = { received: () => undefined, changed: () => undefined, closed: () => undefined };
    const other = await (tty as Tty).open({ settings, outputs: { dtr: false, rts: false } }, nobody);
    await expect(kernel.open()).rejects.toThrow("EBUSY");
    await other.close();
    await kernel.open();
  });
});

describe("read", () => {
  test("bytes as they are, as many as are there", async () => {
    const kernel = await opened();
    kernel.tty.arrive("abc");
    expect([await kernel.read(2), await kernel.read(10)]).toEqual(["ab", "c"]);
  });

  test("waits for the first byte; without waiting EAGAIN", async () => {
    const kernel = await opened();
    const read = kernel.startRead(10);
    expect(await isWaiting(read)).toBe(true);
    await expect(kernel.read(10, true)).rejects.toThrow("EAGAIN");
    kernel.tty.arrive("x");
    expect(Buffer.from(await read.answered).toString()).toBe("x");
  });

  test("VMIN 3: waits for three, or as many as were asked for", async () => {
    const kernel = await opened();
    await setReadRule(kernel, 3, 0);
    const read = kernel.startRead(10);
    kernel.tty.arrive("ab");
    expect(await isWaiting(read)).toBe(true);
    kernel.tty.arrive("cd");
    expect(Buffer.from(await read.answered).toString()).toBe("abcd");
    kernel.tty.arrive("ef");
    expect(await kernel.read(2)).toBe("ef");
  });

  test("VMIN 0, VTIME 0: does not wait", async () => {
    const kernel = await opened();
    await setReadRule(kernel, 0, 0);
    expect([await kernel.read(10), await kernel.read(10, true)]).toEqual(["", ""]);
  });

  test("VMIN 0, VTIME 1: waits a tenth of a second for the first", async () => {
    const kernel = await opened();
    await setReadRule(kernel, 0, 1);
    const before = performance.now();
    expect(await kernel.read(10)).toBe("");
    expect(performance.now() - before).toBeGreaterThan(95);
    const read = kernel.startRead(10);
    kernel.tty.arrive("x");
    expect(Buffer.from(await read.answered).toString()).toBe("x");
  });

  test("VMIN 3, VTIME 1: waits for the first, then a tenth of a second for each", async () => {
    const kernel = await opened();
    await setReadRule(kernel, 3, 1);
    const read = kernel.startRead(10);
    await delay(150);
    kernel.tty.arrive("a");
    await delay(50);
    kernel.tty.arrive("b");
    expect(Buffer.from(await read.answered).toString()).toBe("ab");
  });

  test("the device is held while nobody reads, and nothing is lost", async () => {
    const kernel = await opened();
    const bytes = Uint8Array.from({ length: 200_000 }, (_, index) => index % 251);
    kernel.tty.arrive(bytes);
    expect(kernel.tty.waitingBytes).toBeGreaterThan(100_000);
    let got = "";
    while (got.length < bytes.length) got += await kernel.read(60_000);
    expect(Buffer.from(got, "latin1").equals(bytes)).toBe(true);
  });
});

describe("write", () => {
  test("bytes in order", async () => {
    const kernel = await opened();
    expect(await Promise.all([kernel.write("one "), kernel.write("two")])).toEqual([4, 3]);
    expect(String(kernel.tty.sentBytes)).toBe("one two");
  });

  test("waits while the line is held; without waiting EAGAIN; nothing is lost", async () => {
    const kernel = await opened();
    kernel.tty.hold(true);
    const part = Uint8Array.from({ length: 40_000 }, (_, index) => index % 251);
    await kernel.write(part);
    await kernel.write(part);
    const third = kernel.startWrite(part);
    expect(await isWaiting(third)).toBe(true);
    await expect(kernel.write("x", true)).rejects.toThrow("EAGAIN");
    expect(await kernel.int(0x5411)).toBe(80_000);
    kernel.tty.hold(false);
    await third.answered;
    await vi.waitFor(() => expect(kernel.tty.sentBytes.equals(Buffer.concat([part, part, part]))).toBe(true));
  });

  test("tcflow stops and starts it, and sends DC3 and DC1", async () => {
    const kernel = await opened();
    await kernel.ioctl(0x540a, 0);
    const write = kernel.startWrite("held");
    expect(await isWaiting(write)).toBe(true);
    await kernel.ioctl(0x540a, 2);
    await kernel.ioctl(0x540a, 3);
    await kernel.ioctl(0x540a, 1);
    await write.answered;
    expect(kernel.tty.sentBytes.toString("latin1")).toBe("\x13\x11held");
    await expect(kernel.ioctl(0x540a, 4)).rejects.toThrow("EINVAL");
  });
});

describe("ioctl", () => {
  test("TCGETS and TCSETS: rates that have a code", async () => {
    const kernel = await opened();
    const termios = termiosRecord.decode(await kernel.ioctl(TCGETS));
    expect(termios).toMatchObject({ iflag: 0, oflag: 0, lflag: 0, cflag: FRESH_TERMIOS.cflag });
    // 115200 7E2, as cfsetspeed and cflag make it.
    await kernel.ioctl(TCSETS, termiosRecord.encode({ ...termios, cflag: 0x1002 | 0x20 | 0x100 | 0x40 | 0x80 }));
    expect(kernel.tty.calls.at(-1)).toBe("configure 115200 7 even 2 none");
  });

  test.each([
    [{ dataBits: 7, parity: "mark", stopBits: 2 }, "configure 9600 7 mark 2 none"],
    [{ dataBits: 5, parity: "space", stopBits: 1.5 }, "configure 9600 5 space 1.5 none"],
    [{ baud: 1_234_567, flowControl: "rtsCts" }, "configure 1234567 8 none 1 rtsCts"],
    [{ parity: "odd", flowControl: "xonXoff" }, "configure 9600 8 odd 1 xonXoff"],
  ] as const)("TCSETS2 %o", async (settings, call) => {
    const kernel = await opened();
    const asked = withLineSettings(FRESH_TERMIOS, settings);
    await kernel.ioctl(TCSETS2, termios2Record.encode(asked));
    expect(kernel.tty.calls.at(-1)).toBe(call);
    expect(termios2Record.decode(await kernel.ioctl(TCGETS2))).toEqual(asked);
  });

  test("what cannot be becomes the nearest, and the program sees it", async () => {
    const kernel = await opened(new MemoryTty({ maxBaud: 230_400 }));
    await kernel.ioctl(TCSETS2, termios2Record.encode(withLineSettings(FRESH_TERMIOS, { baud: 4_000_000 })));
    expect(termios2Record.decode(await kernel.ioctl(TCGETS2))).toMatchObject({ ospeed: 230_400, ispeed: 230_400 });
  });

  test("there is no line discipline, and no flag says so", async () => {
    const kernel = await opened();
    await kernel.ioctl(TCSETS2, termios2Record.encode({ ...FRESH_TERMIOS, iflag: 0x500, oflag: 5, lflag: 0x8a3b }));
    expect(termios2Record.decode(await kernel.ioctl(TCGETS2))).toMatchObject({ iflag: 0x400, oflag: 0, lflag: 0 });
  });

  test("B0 lets DTR and RTS fall, any other rate raises them, and no other change does", async () => {
    const kernel = await opened();
    const set = async (baud: number): Promise<void> => {
      await kernel.ioctl(TCSETS2, termios2Record.encode(withLineSettings(FRESH_TERMIOS, { baud })));
    };
    await set(0);
    await set(1200);
    await kernel.int(0x5417, 0x2);
    await set(2400);
    expect(kernel.tty.calls.filter((call) => call.startsWith("outputs"))).toEqual([
      "outputs dtr=false rts=false",
      "outputs dtr=true rts=true",
      "outputs dtr=false rts=true",
    ]);
  });

  test("TCSETSW waits for what was written, TCSETSF throws away what was not read too", async () => {
    const kernel = await opened();
    kernel.tty.hold(true);
    await kernel.write("first");
    const set = kernel.ioctl(TCSETSW2, termios2Record.encode(FRESH_TERMIOS));
    await delay(30);
    expect(kernel.tty.calls).toEqual(["open 9600"]);
    kernel.tty.hold(false);
    await set;
    kernel.tty.arrive("old");
    await kernel.ioctl(TCSETSF2, termios2Record.encode(FRESH_TERMIOS));
    expect(await kernel.int(0x541b)).toBe(0);
    expect(kernel.tty.calls).toContain("flush in");
  });

  test("TIOCMGET, TIOCMSET, TIOCMBIS, TIOCMBIC", async () => {
    const kernel = await opened();
    kernel.tty.setLines({ cts: true, ri: true });
    expect(await kernel.int(TIOCMGET)).toBe(0x2 | 0x4 | 0x20 | 0x80);
    await kernel.int(0x5418, 0x4);
    expect(await kernel.int(TIOCMGET)).toBe(0x4 | 0x20 | 0x80);
    await kernel.int(0x5416, 0x2);
    await kernel.int(0x5417, 0x4);
    kernel.tty.setLines({ cts: false, ri: false, dsr: true, dcd: true });
    expect(await kernel.int(TIOCMGET)).toBe(0x2 | 0x100 | 0x40);
  });

  test("lines that are on when the line is opened have not changed", async () => {
    const tty = new MemoryTty();
    tty.setLines({ cts: true, dsr: true });
    const kernel = await opened(tty);
    expect([...(await kernel.ioctl(0x545d)).subarray(0, 16)]).toEqual(Array.from({ length: 16 }, () => 0));
    expect(await kernel.int(TIOCMGET)).toBe(0x2 | 0x4 | 0x20 | 0x100);
  });

  test("TIOCMIWAIT waits for one of its lines; TIOCGICOUNT counts", async () => {
    const kernel = await opened();
    const waited = kernel.ioctl(0x545c, 0x100 | 0x40);
    kernel.tty.setLines({ cts: true });
    kernel.tty.countError("framing");
    expect(await Promise.race([waited.then(() => "over"), delay(30).then(() => "waits")])).toBe("waits");
    kernel.tty.setLines({ dsr: true });
    await waited;
    kernel.tty.arrive("12");
    await kernel.write("123");
    const counts = viewOf(await kernel.ioctl(0x545d));
    const names = ["cts", "dsr", "rng", "dcd", "rx", "tx", "frame", "overrun", "parity", "brk", "bufOverrun"];
    const got = Object.fromEntries(names.map((name, index) => [name, counts.getUint32(4 * index, true)]));
    expect(got).toMatchObject({ cts: 1, dsr: 1, rng: 0, dcd: 0, rx: 2, tx: 3, frame: 1, overrun: 0 });
    await expect(kernel.ioctl(0x545c, 0)).rejects.toThrow("EINVAL");
  });

  test("breaks: TCSBRK 0, TCSBRKP, TIOCSBRK, TIOCCBRK; TCSBRK 1 drains", async () => {
    const kernel = await opened();
    const before = performance.now();
    await kernel.ioctl(0x5409, 0);
    expect(performance.now() - before).toBeGreaterThan(240);
    await kernel.ioctl(0x5425, 1);
    await kernel.ioctl(0x5427);
    await kernel.ioctl(0x5428);
    await kernel.ioctl(0x5409, 1);
    const onOff = ["break on", "break off"];
    expect(kernel.tty.calls.slice(1)).toEqual(["drain", ...onOff, "drain", ...onOff, ...onOff, "drain"]);
  });

  test("TCFLSH throws away what waits", async () => {
    const kernel = await opened();
    kernel.tty.arrive("old");
    await kernel.ioctl(0x540b, 0);
    kernel.tty.hold(true);
    await kernel.write("held");
    await kernel.ioctl(0x540b, 1);
    kernel.tty.hold(false);
    await kernel.ioctl(0x540b, 2);
    expect([await kernel.int(0x541b), await kernel.int(0x5411), kernel.tty.sentBytes.length]).toEqual([0, 0, 0]);
    await expect(kernel.ioctl(0x540b, 3)).rejects.toThrow("EINVAL");
  });

  test("TIOCGSERIAL and TIOCSSERIAL: low latency", async () => {
    const kernel = await opened();
    const serial = (await kernel.ioctl(0x541e)).slice();
    expect([serial.length, viewOf(serial).getUint32(16, true)]).toEqual([72, 0]);
    viewOf(serial).setUint32(16, 0x2000, true);
    await kernel.ioctl(0x541f, serial);
    expect(viewOf(await kernel.ioctl(0x541e)).getUint32(16, true)).toBe(0x2000);
    expect(kernel.tty.calls).toContain("latency 1");
    await expect(kernel.ioctl(0x541e, new Uint8Array(72), 8)).rejects.toThrow("ENOTTY");
  });

  test("TIOCEXCL, TIOCNXCL, TIOCGEXCL, TIOCGWINSZ", async () => {
    const kernel = await opened();
    await kernel.ioctl(0x540c);
    await kernel.ioctl(0x540d);
    expect([await kernel.int(0x80045440), await kernel.ioctl(0x5413)]).toEqual([1, new Uint8Array(8)]);
  });

  test("any other is ENOTTY, whatever sizes it claims", async () => {
    const kernel = await opened();
    for (const cmd of [0x540e, 0x5412, 0x5420, 0x5423, 0xffffffff, 0x4fff5480])
      await expect(kernel.ioctl(cmd, new Uint8Array(16_384))).rejects.toThrow("ENOTTY");
  });
});

describe("poll", () => {
  test("says what is there, and tells once when that changes", async () => {
    const kernel = await opened();
    expect(await kernel.poll(true)).toBe(POLLOUT);
    kernel.tty.arrive("x");
    kernel.tty.arrive("y");
    expect([kernel.woken, await kernel.poll()]).toEqual([[77n], POLLIN | POLLOUT]);
    kernel.tty.hold(true);
    await kernel.write(new Uint8Array(65_536));
    expect(await kernel.poll(true)).toBe(POLLIN);
    kernel.tty.hold(false);
    await vi.waitFor(() => expect(kernel.woken.length).toBe(2));
    expect(await kernel.poll()).toBe(POLLIN | POLLOUT);
  });
});

describe("what ends a call", () => {
  test.each<[string, (kernel: Kernel) => PendingCall]>([
    ["read", (kernel) => kernel.startRead(1)],
    ["write", (kernel) => kernel.startWrite("x")],
  ])("%s: an interrupt", async (_what, start) => {
    const kernel = await opened();
    kernel.tty.hold(true);
    await kernel.write(new Uint8Array(65_536));
    const call = start(kernel);
    expect(await isWaiting(call)).toBe(true);
    kernel.interrupt(call);
    await expect(call.answered).rejects.toThrow("EINTR");
    kernel.interrupt(call);
  });

  test("TIOCMIWAIT, tcdrain, a break: an interrupt", async () => {
    const kernel = await opened();
    for (const [cmd, argument] of [
      [0x545c, 0x20],
      [0x5425, 100],
    ] as const) {
      const body = new Uint8Array(32);
      viewOf(body).setUint32(12, cmd, true);
      viewOf(body).setBigUint64(16, BigInt(argument), true);
      const call = kernel.start(OPCODES.ioctl, body);
      expect(await isWaiting(call)).toBe(true);
      kernel.interrupt(call);
      await expect(call.answered).rejects.toThrow("EINTR");
    }
    expect(kernel.tty.calls.at(-1)).toBe("break off");
    kernel.tty.hold(true);
    await kernel.write("x");
    const body = new Uint8Array(32);
    viewOf(body).setUint32(12, 0x5409, true);
    viewOf(body).setBigUint64(16, 1n, true);
    const drain = kernel.start(OPCODES.ioctl, body);
    expect(await isWaiting(drain)).toBe(true);
    kernel.interrupt(drain);
    await expect(drain.answered).rejects.toThrow("EINTR");
  });

  test("a device that goes: reads end with nothing, others with EIO, poll with a hang-up", async () => {
    const kernel = await opened();
    kernel.tty.hold(true);
    await kernel.write(new Uint8Array(65_536));
    const read = kernel.startRead(1);
    const write = kernel.startWrite("x");
    const wait = kernel.ioctl(0x545c, 0x20);
    const gone = [expect(write.answered).rejects.toThrow("EIO"), expect(wait).rejects.toThrow("EIO")];
    kernel.tty.fail();
    expect((await read.answered).length).toBe(0);
    await Promise.all(gone);
    expect((await kernel.poll()) & POLLHUP).toBe(POLLHUP);
    await expect(kernel.write("x")).rejects.toThrow("EIO");
    await expect(kernel.ioctl(TIOCMGET, new Uint8Array(4))).rejects.toThrow("EIO");
    await kernel.release();
    await kernel.open();
    expect(await kernel.write("again")).toBe(5);
  });

  test("more calls than threads may wait are refused", async () => {
    const kernel = await opened();
    const reads = Array.from({ length: 64 }, () => kernel.startRead(1));
    await expect(kernel.read(1)).rejects.toThrow("ENOMEM");
    kernel.tty.arrive(new Uint8Array(64));
    await Promise.all(reads.map((read) => read.answered));
    expect(kernel.waitingCalls).toBe(0);
  });
});

describe("requests of any kind", () => {
  test("are each answered once, and leave the device whole", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.oneof(fc.constantFrom(...Object.values(OPCODES)), fc.integer({ min: 0, max: 5000 })),
            fc.uint8Array({ maxLength: 120 }),
          ),
          { maxLength: 20 },
        ),
        async (requests) => {
          const kernel = await opened();
          const calls = requests
            .filter(([opcode]) => opcode !== OPCODES.interrupt && opcode !== OPCODES.release)
            .map(([opcode, body]) => kernel.start(opcode, body));
          for (const call of calls) kernel.interrupt(call);
          kernel.tty.fail();
          await Promise.allSettled(calls.map((call) => call.answered));
          expect(kernel.waitingCalls).toBe(0);
          expect(kernel.log).toEqual([]);
          await kernel.device.close();
        },
      ),
      { numRuns: 200 },
    );
  });

  test("shorter than its header is no request", () => {
    expect(() => decodeRequest(new Uint8Array(39))).toThrow("39 bytes, 40 needed");
  });
});
