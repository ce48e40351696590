/** What goes over the default pipe: requests, values, bytes, in their order, against the documents. */
import { describe, expect, test } from "vitest";
import type { LineSettings } from "../../../../src/rump/devsw.js";
import { attachSerial, CHIPS, SETTINGS, type SerialRig } from "./rig.js";

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Control requests as `40 03 4138 0000` (type, request, value, index) and the data stage of OUT requests. */
function record(rig: SerialRig): { take: () => string[] } {
  let lines: string[] = [];
  rig.vhc.trace(({ transfer: { setup, data } }) => {
    if (setup === undefined) return;
    const word = (at: number): string => hexOf(Uint8Array.of(setup[at + 1] ?? 0, setup[at] ?? 0));
    const isOut = ((setup[0] ?? 0) & 0x80) === 0;
    const payload = isOut && data.length > 0 ? ` ${hexOf(data)}` : "";
    lines.push(`${hexOf(setup.subarray(0, 1))} ${hexOf(setup.subarray(1, 2))} ${word(2)} ${word(4)}${payload}`);
  });
  return {
    take: () => {
      const taken = lines;
      lines = [];
      return taken;
    },
  };
}

/** What is asked before a break, where the chip can be asked: GET_MODEM_STATUS, GET_COMM_STATUS. */
const ASKS_QUEUE = /^c0 05|^c1 10/;

/** Linux pl2303, pl2303_startup. */
const PL2303_START_UP = [
  "c0 01 8484 0000",
  "40 01 0404 0000",
  "c0 01 8484 0000",
  "c0 01 8383 0000",
  "c0 01 8484 0000",
  "40 01 0404 0001",
  "c0 01 8484 0000",
  "c0 01 8383 0000",
  "40 01 0000 0001",
  "40 01 0001 0000",
  "40 01 0002 0044",
];

interface Row {
  readonly chip: string;
  readonly node?: string;
  readonly open: readonly string[];
  /** 9600 7E2 with RTS/CTS where there is such a thing. */
  readonly configure: readonly string[];
  readonly settings?: Partial<LineSettings>;
  readonly dropDtr: readonly string[];
  readonly breakOn: readonly string[];
}

const ROWS: readonly Row[] = [
  {
    chip: "ft232r",
    open: [
      "40 00 0000 0000", // SIO reset
      "40 00 0001 0000", // purge receive
      "40 00 0002 0000", // purge transmit
      "40 09 0010 0000", // latency 16 ms
      "40 03 001a 0000", // 115,385 baud
      "40 04 0008 0000", // 8N1
      "40 02 0000 0000", // no flow control
      "40 01 0303 0000", // DTR and RTS up
      "c0 05 0000 0000", // modem status
    ],
    configure: ["40 03 4138 0000", "40 04 1207 0000", "40 02 0000 0100"],
    dropDtr: ["40 01 0302 0000"],
    breakOn: ["40 04 5207 0000"],
  },
  {
    chip: "ft2232h",
    node: "ttyU1",
    open: [
      "40 00 0000 0002",
      "40 00 0001 0002",
      "40 00 0002 0002",
      "40 09 0010 0002",
      "40 03 c068 0202", // 115,246 baud of the 12 MHz reference
      "40 04 0008 0002",
      "40 02 0000 0002",
      "40 01 0303 0002",
      "c0 05 0000 0002",
    ],
    configure: ["40 03 04e2 0202", "40 04 1207 0002", "40 02 0000 0102"],
    dropDtr: ["40 01 0302 0002"],
    breakOn: ["40 04 5207 0002"],
  },
  {
    chip: "cp2102",
    open: [
      "41 00 0001 0000", // IFC_ENABLE
      "41 12 000f 0000", // PURGE
      "41 15 00ec 0000", // EMBED_EVENTS
      "41 1e 0000 0000 00c20100", // 115,200
      "41 03 0800 0000", // 8N1
      "41 13 0000 0000 01000000400000008000000080000000", // DTR and RTS up
      "41 07 0303 0000",
      "c1 08 0000 0000",
    ],
    configure: [
      "41 1e 0000 0000 80250000",
      "41 03 0722 0000",
      "41 13 0000 0000 09000000800000008000000080000000", // CTS handshake, DTR up; RTS by the queue
    ],
    dropDtr: ["41 07 0100 0000"], // RTS is not touched under RTS/CTS
    breakOn: ["41 05 0001 0000"],
  },
  {
    chip: "ch340",
    open: [
      "40 a1 0000 0000",
      "40 9a 1312 cc83", // divisor and prescaler, sent at once
      "40 9a 2518 00c3", // 8N1, both directions on
      "40 9a 2727 0000",
      "40 a4 009f 0000", // DTR and RTS, inverted
      "c0 95 0706 0000",
    ],
    configure: ["40 9a 1312 b282", "40 9a 2518 00de", "40 9a 2727 0101"],
    dropDtr: ["40 a4 00bf 0000"],
    breakOn: ["c0 95 1805 0000", "40 9a 1805 9efe"],
  },
  {
    chip: "ch343",
    open: ["40 a1 c38c cc03", "40 a4 009f 0000", "c0 95 0706 0000"],
    settings: { flowControl: "none" },
    configure: ["40 a1 de8c b202"],
    dropDtr: ["40 a4 00bf 0000"],
    breakOn: ["40 a8 0080 0000"],
  },
  {
    chip: "pl2303-hx",
    open: [
      ...PL2303_START_UP,
      "40 01 0008 0000",
      "40 01 0009 0000",
      "21 20 0000 0000 00c20100000008",
      "c0 01 0080 0000",
      "40 01 0000 0001", // no flow control; bit 0 stays as start-up set it
      "21 22 0003 0000",
    ],
    configure: ["21 20 0000 0000 80250000020207", "c0 01 0080 0000", "40 01 0000 0061"],
    dropDtr: ["21 22 0002 0000"],
    breakOn: ["21 23 ffff 0000"],
  },
  {
    chip: "pl2303-hxn",
    open: [
      "40 80 0007 0003",
      "21 20 0000 0000 00c20100000008",
      "c0 81 000a 0000",
      "40 80 000a 001c",
      "21 22 0003 0000",
    ],
    configure: ["21 20 0000 0000 80250000020207", "c0 81 000a 0000", "40 80 000a 0018"],
    dropDtr: ["21 22 0002 0000"],
    breakOn: ["21 23 ffff 0000"],
  },
  {
    chip: "acm",
    open: ["21 20 0000 0000 00c20100000008", "21 22 0003 0000"],
    settings: { flowControl: "none" },
    configure: ["21 20 0000 0000 80250000020207"],
    dropDtr: ["21 22 0002 0000"],
    breakOn: ["21 23 ffff 0000"],
  },
];

describe.each(ROWS)("$chip", ({ chip, node, open, configure, settings, dropDtr, breakOn }) => {
  test("open, configure, DTR, break", async () => {
    const make = CHIPS.find(({ name }) => name === chip)?.make;
    if (make === undefined) throw new Error(`no ${chip}`);
    const rig = await attachSerial(make);
    const requests = record(rig);
    const { port } = await rig.openPort({}, node);
    expect(requests.take()).toEqual(open);
    const wanted = { baud: 9600, dataBits: 7, parity: "even", stopBits: 2, flowControl: "rtsCts" } as const;
    await rig.sim.run(() => port.configure({ ...SETTINGS, ...wanted, ...settings }));
    expect(requests.take()).toEqual(configure);
    await rig.sim.run(() => port.setOutputs({ dtr: false }));
    expect(requests.take()).toEqual(dropDtr);
    await rig.sim.run(() => port.setBreak(true));
    expect(requests.take().filter((line) => !ASKS_QUEUE.test(line))).toEqual(breakOn);
  });
});

test("PL2303: the start-up is sent once", async () => {
  const make = CHIPS.find(({ name }) => name === "pl2303-hx")?.make;
  if (make === undefined) throw new Error("no chip");
  const rig = await attachSerial(make);
  const requests = record(rig);
  const first = await rig.openPort();
  expect(requests.take().slice(0, PL2303_START_UP.length)).toEqual(PL2303_START_UP);
  await rig.sim.run(() => first.port.close());
  requests.take();
  await rig.openPort();
  expect(requests.take()[0]).toBe("40 01 0008 0000");
});
