import { describe, expect, test } from "vitest";
import { Rfc2217Session } from "../../../../src/pud/links/rfc2217/session.js";
import {
  BINARY,
  COM_PORT,
  DO,
  DONT,
  ECHO,
  encodeNegotiation,
  encodeSubnegotiation,
  IAC,
  SUPPRESS_GO_AHEAD,
  TIMING_MARK,
  WILL,
  WONT,
} from "../../../../src/pud/links/rfc2217/telnet.js";
import { MAX_BACKLOG_BYTES } from "../../../../src/pud/links/serial/connection.js";
import { WINDOW_BYTES } from "../../../../src/pud/links/serial/line.js";
import { DeviceError, type TtyInfo } from "../../../../src/rump/devsw.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { connectInMemory, settled, type StreamRig } from "../serial/rig.js";

const GREETING = Buffer.concat([
  encodeNegotiation(WILL, BINARY),
  encodeNegotiation(DO, BINARY),
  encodeNegotiation(WILL, SUPPRESS_GO_AHEAD),
  encodeNegotiation(WILL, ECHO),
  encodeNegotiation(DO, COM_PORT),
]);

const OFFER = Buffer.concat([
  encodeNegotiation(DO, BINARY),
  encodeNegotiation(WILL, BINARY),
  encodeNegotiation(WILL, COM_PORT),
]);

interface SessionRig extends StreamRig {
  /** Sends bytes, and returns what has come since the last call, as hexadecimal digits. */
  ask(...bytes: number[]): Promise<string>;
  /** A command of the COM port option. */
  command(...payload: number[]): Promise<string>;
}

/** A client that has seen the greeting. */
async function connect(tty = new MemoryTty(), { deaf = false } = {}): Promise<SessionRig> {
  const rig = await connectInMemory((conversation) => new Rfc2217Session(conversation, "a line"), tty, { deaf });
  let seen = 0;
  const ask = async (...bytes: number[]): Promise<string> => {
    if (bytes.length > 0) rig.client.write(Uint8Array.from(bytes));
    await settled();
    const news = rig.received().subarray(seen);
    seen += news.length;
    return news.toString("hex");
  };
  if (!deaf) expect(await ask()).toBe(GREETING.toString("hex"));
  return {
    ...rig,
    ask,
    command: (...payload) => ask(...encodeSubnegotiation(COM_PORT, Uint8Array.from(payload))),
  };
}

/** A client that has agreed to BINARY and the COM port option. */
async function agree(tty = new MemoryTty()): Promise<SessionRig> {
  const rig = await connect(tty);
  expect(await rig.ask(...OFFER)).toBe(answer(107, 0));
  return rig;
}

function answer(...payload: number[]): string {
  return Buffer.from(encodeSubnegotiation(COM_PORT, Uint8Array.from(payload))).toString("hex");
}

function failures({ log }: StreamRig): string[] {
  return log.entries.filter((entry) => entry.startsWith("error"));
}

describe("telnet", () => {
  test("data is NVT until BINARY is agreed (RFC 854, 856)", async () => {
    const rig = await connect();
    await rig.ask(...Buffer.from("a\r\0b\r\nc"));
    rig.tty.arrive("x\ry\r\n");
    expect(await rig.ask()).toBe(Buffer.from("x\r\0y\r\n").toString("hex"));
    expect(rig.tty.sentBytes.toString()).toBe("a\rb\r\nc");
    await rig.ask(...OFFER);
    await rig.ask(13, 0, IAC, IAC);
    rig.tty.arrive(Uint8Array.of(13, 255, 0));
    expect(await rig.ask()).toBe("0dffff00");
    expect(rig.tty.sentBytes.toString("latin1")).toBe("a\rb\r\nc\r\0\xff");
  });

  test("options that there are not are refused", async () => {
    const rig = await connect();
    expect(await rig.ask(IAC, DO, 24, IAC, WILL, 31)).toBe(Buffer.of(IAC, WONT, 24, IAC, DONT, 31).toString("hex"));
  });

  test("are you there: yes (RFC 854)", async () => {
    expect(await (await connect()).ask(IAC, 246)).toBe(Buffer.from("\r\n[yes]\r\n").toString("hex"));
  });

  test("a timing mark is answered when the device has sent what was before it (RFC 860)", async () => {
    const rig = await agree();
    rig.tty.hold(true);
    expect(await rig.ask(65, IAC, DO, TIMING_MARK)).toBe("");
    rig.tty.hold(false);
    expect(await rig.ask()).toBe(Buffer.of(IAC, WILL, TIMING_MARK).toString("hex"));
    expect(rig.tty.calls.at(-1)).toBe("drain");
  });

  test("BRK is a break of 300 ms", async () => {
    const rig = await agree();
    await rig.ask(IAC, 243);
    expect(rig.tty.calls.at(-1)).toBe("break on");
    rig.clock.advance(300);
    await settled();
    expect(rig.tty.calls.at(-1)).toBe("break off");
  });
});

describe("COM port commands (RFC 2217)", () => {
  test.each<[string, number[], number[], string?]>([
    ["SIGNATURE asked for", [0], [100, ...Buffer.from("a line")]],
    ["SET-BAUDRATE 9600", [1, 0, 0, 0x25, 0x80], [101, 0, 0, 0x25, 0x80], "configure 9600 8 none 1 none"],
    ["SET-BAUDRATE asked for", [1, 0, 0, 0, 0], [101, 0, 1, 0xc2, 0]],
    ["SET-BAUDRATE that cannot be", [1, 0xff, 0xff, 0xff, 0xff], [101, 0, 1, 0xc2, 0]],
    ["SET-DATASIZE 7", [2, 7], [102, 7], "configure 115200 7 none 1 none"],
    ["SET-DATASIZE asked for", [2, 0], [102, 8]],
    ["SET-PARITY mark", [3, 4], [103, 4], "configure 115200 8 mark 1 none"],
    ["SET-PARITY asked for", [3, 0], [103, 1]],
    ["SET-STOPSIZE 1.5", [4, 3], [104, 3], "configure 115200 8 none 1.5 none"],
    ["SET-STOPSIZE asked for", [4, 0], [104, 1]],
    ["flow control asked for", [5, 0], [105, 1]],
    ["no flow control", [5, 1], [105, 1], "configure 115200 8 none 1 none"],
    ["XON/XOFF", [5, 2], [105, 2], "configure 115200 8 none 1 xonXoff"],
    ["hardware flow control", [5, 3], [105, 3], "configure 115200 8 none 1 rtsCts"],
    ["break asked for", [5, 4], [105, 6]],
    ["break on", [5, 5], [105, 5], "break on"],
    ["break off", [5, 6], [105, 6], "break off"],
    ["DTR asked for", [5, 7], [105, 8]],
    ["DTR on", [5, 8], [105, 8], "outputs dtr=true rts=true"],
    ["DTR off", [5, 9], [105, 9], "outputs dtr=false rts=true"],
    ["RTS asked for", [5, 10], [105, 11]],
    ["RTS on", [5, 11], [105, 11], "outputs dtr=true rts=true"],
    ["RTS off", [5, 12], [105, 12], "outputs dtr=true rts=false"],
    ["inbound flow control asked for", [5, 13], [105, 14]],
    ["inbound flow control of its own: there is none", [5, 16], [105, 14]],
    ["DCD flow control: there is none", [5, 17], [105, 1]],
    ["DTR flow control: there is none", [5, 18], [105, 14]],
    ["DSR flow control: there is none", [5, 19], [105, 1]],
    ["NOTIFY-LINESTATE asked for", [6], [106, 0]],
    ["NOTIFY-MODEMSTATE asked for", [7], [107, 0]],
    ["SET-LINESTATE-MASK", [10, 255], [110, 255]],
    ["SET-MODEMSTATE-MASK", [11, 16], [111, 16]],
    ["PURGE-DATA receive", [12, 1], [112, 1], "flush in"],
    ["PURGE-DATA transmit", [12, 2], [112, 2], "flush out"],
    ["PURGE-DATA both", [12, 3], [112, 3], "flush both"],
  ])("%s", async (_what, command, expected, call) => {
    const rig = await agree();
    const before = rig.tty.calls.length;
    expect(await rig.command(...command)).toBe(answer(...expected));
    expect(rig.tty.calls.slice(before)).toEqual(call === undefined ? [] : [call]);
    expect(failures(rig)).toEqual([]);
  });

  test.each<[string, number[]]>([
    ["nothing", []],
    ["an unknown command", [13]],
    ["an answer", [101, 0, 0, 0x25, 0x80]],
    ["a rate of three bytes", [1, 0, 0x25, 0x80]],
    ["a data size of 9", [2, 9]],
    ["a data size of two bytes", [2, 8, 8]],
    ["a parity of 6", [3, 6]],
    ["a stop size of 4", [4, 4]],
    ["a control of 20", [5, 20]],
    ["a control of nothing", [5]],
    ["a mask of nothing", [10]],
    ["a purge of 0", [12, 0]],
    ["a purge of 4", [12, 4]],
  ])("%s is not answered, and said in the log", async (_what, command) => {
    const rig = await agree();
    const before = rig.tty.calls.length;
    expect(await rig.command(...command)).toBe("");
    expect(rig.tty.calls.slice(before)).toEqual([]);
    expect(failures(rig)).toHaveLength(1);
    expect(await rig.command(2, 0)).toBe(answer(102, 8));
  });

  test("are nothing before the option is agreed", async () => {
    const rig = await connect();
    expect(await rig.command(2, 7)).toBe("");
    expect(failures(rig)).toEqual([expect.stringMatching(/before the option was agreed/)]);
  });

  test("are taken from a client that asks for the option in place of offering it", async () => {
    const rig = await connect();
    expect(await rig.ask(IAC, DO, COM_PORT)).toBe(`fffb2c${answer(107, 0)}`);
    expect(await rig.command(2, 0)).toBe(answer(102, 8));
  });

  test("what the device refuses stays, and the answer says so", async () => {
    const rig = await agree();
    const { port } = rig.tty;
    if (port !== undefined) port.setBreak = () => Promise.reject(new DeviceError("EOPNOTSUPP", "no break here"));
    expect(await rig.command(5, 5)).toBe(answer(105, 6));
  });

  test("a rate is answered as it was asked for when the device is near enough", async () => {
    const rig = await agree();
    const { port } = rig.tty;
    if (port !== undefined) port.configure = (settings) => Promise.resolve({ ...settings, baud: 115_384 });
    expect(await rig.command(1, 0, 1, 0xc2, 0)).toBe(answer(101, 0, 1, 0xc2, 0));
  });

  test("settings build on each other", async () => {
    const rig = await agree();
    const both = [
      [2, 7],
      [3, 3],
    ].flatMap((one) => [...encodeSubnegotiation(COM_PORT, Uint8Array.from(one))]);
    expect(await rig.ask(...both)).toBe(answer(102, 7) + answer(103, 3));
    expect(rig.tty.calls.at(-1)).toBe("configure 115200 7 even 1 none");
  });

  test("a purge ends what waits for the line, and the break that waits for that", async () => {
    const rig = await agree();
    rig.tty.hold(true);
    await rig.ask(65, 66);
    const { port } = rig.tty;
    const setBreak = port?.setBreak.bind(port);
    let written: Promise<unknown> = Promise.resolve();
    if (port !== undefined) {
      const write = port.write(Uint8Array.of(67));
      written = write.catch(() => undefined);
      port.setBreak = async (on) => {
        await written;
        await setBreak?.(on);
      };
    }
    expect(await rig.command(5, 5)).toBe("");
    expect(await rig.command(12, 2)).toBe(answer(112, 2) + answer(105, 5));
  });
});

describe("notifications (RFC 2217 §4)", () => {
  test("of modem lines mark what changed", async () => {
    const rig = await agree();
    rig.tty.setLines({ cts: true, dcd: true });
    expect(await rig.ask()).toBe(answer(107, 16 + 1 + 128 + 8));
    rig.tty.setLines({ ri: true });
    expect(await rig.ask()).toBe(answer(107, 128 + 64 + 16));
    rig.tty.setLines({ ri: false });
    expect(await rig.ask()).toBe(answer(107, 128 + 16 + 4));
  });

  test("are as the mask has it, and say also that a line has fallen", async () => {
    const rig = await agree();
    await rig.command(11, 16);
    rig.tty.setLines({ dsr: true });
    expect(await rig.ask()).toBe("");
    rig.tty.setLines({ cts: true });
    expect(await rig.ask()).toBe(answer(107, 16));
    rig.tty.setLines({ cts: false });
    expect(await rig.ask()).toBe(answer(107, 0));
    await rig.command(11, 0);
    rig.tty.setLines({ cts: true });
    expect(await rig.ask()).toBe("");
  });

  test("of errors are made when the mask says so", async () => {
    const rig = await agree();
    rig.tty.countError("framing");
    expect(await rig.ask()).toBe("");
    await rig.command(10, 8 + 2);
    for (const error of ["framing", "parity", "overrun", "break"] as const) rig.tty.countError(error);
    expect(await rig.ask()).toBe(answer(106, 8) + answer(106, 2));
  });

  test("stand before the bytes that came after", async () => {
    const rig = await agree();
    rig.tty.setLines({ cts: true });
    rig.tty.arrive("x");
    rig.tty.setLines({ cts: false });
    expect(await rig.ask()).toBe(`${answer(107, 17)}78${answer(107, 1)}`);
  });

  test("are one for all that happened while the client did not read", async () => {
    const tty = new MemoryTty();
    const rig = await connect(tty, { deaf: true });
    rig.client.write(OFFER);
    await settled();
    tty.arrive(Buffer.alloc(4 * WINDOW_BYTES));
    await settled();
    for (let at = 0; at <= 40_000; at++) tty.setLines({ cts: at % 2 === 0 });
    const parts: Buffer[] = [];
    rig.client.on("data", (chunk: Buffer) => parts.push(chunk));
    for (let turn = 0; turn < 10; turn++) await settled();
    const received = Buffer.concat(parts);
    const told = received.toString("hex").split("fffa2c6b").length - 1;
    expect(told).toBeLessThan(MAX_BACKLOG_BYTES / 7 + 3);
    expect(received.subarray(received.lastIndexOf(250)).toString("hex")).toMatch(/^fa2c6b11fff0/);
  });
});

describe("flow control (RFC 2217 §5)", () => {
  test("SUSPEND holds data and commands, RESUME lets them go in their order", async () => {
    const rig = await agree();
    expect(await rig.command(8)).toBe("");
    rig.tty.arrive("ab");
    expect(await rig.command(2, 0)).toBe("");
    rig.tty.setLines({ cts: true });
    expect(await rig.command(9)).toBe(`6162${answer(102, 8)}${answer(107, 17)}`);
  });

  test("what a suspended client lets wait is bounded", async () => {
    const rig = await agree();
    rig.client.on("error", () => undefined);
    await rig.command(8);
    rig.tty.arrive(Buffer.alloc(10 * WINDOW_BYTES));
    await settled();
    expect(rig.tty.waitingBytes).toBe(9 * WINDOW_BYTES);
    const question = Buffer.from(encodeSubnegotiation(COM_PORT, Uint8Array.of(0)));
    for (let at = 0; at < 50; at++) await rig.ask(...Buffer.concat(Array<Buffer>(500).fill(question)));
    rig.clock.advance(60_000);
    await settled();
    expect(rig.isClosed()).toBe(true);
    expect(failures(rig)).toEqual([expect.stringMatching(/wait for FLOWCONTROL-RESUME/)]);
  });
});

test("questions are held back while the device owes answers", async () => {
  const rig = await agree();
  const { port } = rig.tty;
  let answered = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    answered = resolve;
  });
  const status = port?.status.bind(port);
  if (port !== undefined && status !== undefined)
    port.status = async () => {
      await gate;
      return await status();
    };
  const question = Buffer.from(encodeSubnegotiation(COM_PORT, Uint8Array.of(7)));
  for (let at = 0; at < 40_000; at += 100) rig.client.write(Buffer.concat(Array<Buffer>(100).fill(question)));
  await settled();
  expect(rig.client.writableLength).toBeGreaterThan(100_000);
  answered();
  for (let turn = 0; turn < 400; turn++) await settled();
  expect(rig.received().length - GREETING.length).toBe(40_001 * 7);
});

test("a device without some lines is served like any other", async () => {
  const info: Partial<TtyInfo> = { modemLines: [], canBreak: false, hasLatency: false };
  const rig = await agree(new MemoryTty(info));
  expect(await rig.command(7)).toBe(answer(107, 0));
});
