/**
 * Our drivers beside Linux's: the same things done to the same model make the same line, and what one sends and the other
 * does not has a reason. The kernel's requests are those of test/fixtures/kernel-serial.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type LineSettings, LineSettingsError, type TtyPort } from "../../../../src/rump/devsw.js";
import { AcmModel } from "../../../../src/vdev/serial-acm.js";
import { Ch34xModel } from "../../../../src/vdev/serial-ch34x.js";
import { Cp210xModel } from "../../../../src/vdev/serial-cp210x.js";
import { FtdiModel } from "../../../../src/vdev/serial-ftdi.js";
import type { SerialModel, SerialOptions } from "../../../../src/vdev/serial-model.js";
import { Pl2303Model } from "../../../../src/vdev/serial-pl2303.js";
import type { Uart } from "../../../../src/vdev/serial-uart.js";
import { done, ManualClock, TestBus } from "../../../vdev/bus.js";
import { attachSerial, DRIVERS, type SerialRig, SETTINGS } from "./rig.js";

/** bmRequestType and bRequest. */
type Kind = string;

interface Row {
  readonly make: (options: SerialOptions) => SerialModel;
  /** The port that was recorded. */
  readonly port?: number;
  /** What only the kernel sends, and why we do not. */
  readonly kernelOnly?: Readonly<Record<Kind, string>>;
  /** What only we send, and why. */
  readonly oursOnly?: Readonly<Record<Kind, string>>;
}

const FTDI = {
  kernelOnly: { "c0 0a": "GET_LATENCY_TIMER: sysfs shows what the chip has; we set it at each open" },
} as const;
const CP = {
  kernelOnly: {
    "41 19": "SET_CHARS at each change of settings: we set XON and XOFF when they are used",
    "c1 14": "GET_FLOW: we know what we have set, and leave nothing of what was set before",
  },
  oursOnly: {
    "41 15": "EMBED_EVENTS: the kernel has them under INPCK alone and asks for lines; we are told of lines and errors",
    "c1 08": "GET_MDMSTS at open: the lines as they are, before the first event",
  },
} as const;
const PL = {
  kernelOnly: { "a1 21": "GET_LINE_CODING: nothing of what was there before is kept, so nothing has to be read" },
} as const;

const ROWS: Readonly<Record<string, Row>> = {
  ft232r: { make: (options) => new FtdiModel("ft232r", options), ...FTDI },
  ft2232h: { make: (options) => new FtdiModel("ft2232h", options), port: 1, ...FTDI },
  cp2102: { make: (options) => new Cp210xModel("cp2102", options), ...CP },
  cp2104: { make: (options) => new Cp210xModel("cp2104", options), ...CP },
  ch340: { make: (options) => new Ch34xModel("ch340", options) },
  hl340: { make: (options) => new Ch34xModel("hl340", options) },
  "pl2303-hx": { make: (options) => new Pl2303Model("pl2303-hx", options), ...PL },
  "pl2303-hxn": { make: (options) => new Pl2303Model("pl2303-hxn", options), ...PL },
  acm: { make: (options) => new AcmModel(options) },
};

/** A step of a program, and what the kernel sent for it. */
interface Step {
  readonly name: string;
  readonly requests: readonly string[];
}

function readSteps(chip: string): Step[] {
  const text = readFileSync(new URL(`../../../fixtures/kernel-serial/${chip}.txt`, import.meta.url), "utf8");
  return text
    .split(/^# /m)
    .slice(1)
    .map((part) => {
      const [name = "", ...requests] = part.trim().split("\n");
      return { name, requests };
    });
}

const kindOf = (request: string): Kind => request.slice(0, 5);

/** `40 03 4138 0000 00c2… stalled`, as it was: the model must answer as it did. */
function send(bus: TestBus, request: string): void {
  const [, setup = "", data = "", stalled] = /^(\S+ \S+ \S+ \S+)(?: ([0-9a-f]+))?( stalled)?$/.exec(request) ?? [];
  const [type = 0, bRequest = 0, value = 0, index = 0] = setup.split(" ").map((word) => Number.parseInt(word, 16));
  // What the kernel reads at most; the answer is the device's.
  const stage = (type & 0x80) !== 0 ? (LENGTHS[kindOf(request)] ?? 2) : new Uint8Array(Buffer.from(data, "hex"));
  const { status } = done(bus.control(type, bRequest, value, index, stage));
  expect(status, request).toBe(stalled === undefined ? "ok" : "stalled");
}
/** wLength of reads that are not of two bytes. */
const LENGTHS: Readonly<Record<Kind, number>> = { "c1 10": 19, "c1 14": 16, "a1 21": 7, "c0 01": 1, "c0 81": 1 };

/** Of two divisors one may be nearer by a trifle. */
const MAX_BAUD_DIFFERENCE = 0.005;

function expectSameLine(ours: Uart, theirs: Uart, step: string): void {
  const { baud, ...settings } = theirs.settings;
  expect(ours.settings, step).toMatchObject(settings);
  expect(ours.outputs, step).toEqual(theirs.outputs);
  expect(Math.abs(ours.settings.baud - baud) / baud, step).toBeLessThan(MAX_BAUD_DIFFERENCE);
}

const PARITY = { N: "none", O: "odd", E: "even" } as const;

function settingsOf(text: string, { flowControls }: { readonly flowControls: readonly string[] }): LineSettings {
  const [, baud, dataBits, parity, stopBits, flow] =
    /^set:(\d+),([78])([NOE])([12])(,rtscts)?$/.exec(text) ?? ([] as (string | undefined)[]);
  const rtsCts = flow !== undefined && flowControls.includes("rtsCts");
  return {
    ...SETTINGS,
    baud: Number(baud),
    dataBits: dataBits === "7" ? 7 : 8,
    parity: PARITY[parity as keyof typeof PARITY],
    stopBits: stopBits === "2" ? 2 : 1,
    flowControl: rtsCts ? "rtsCts" : "none",
  };
}

/** The kernel takes the nearest rate without a word; our callers are told and decide. */
async function configure(port: TtyPort, settings: LineSettings): Promise<void> {
  try {
    await port.configure(settings);
  } catch (error) {
    if (!(error instanceof LineSettingsError)) throw error;
    await port.configure(error.nearest);
  }
}

async function doStep(rig: SerialRig, port: TtyPort, name: string): Promise<void> {
  const [verb, what = ""] = name.split(":");
  await rig.sim.run(async () => {
    if (verb === "set") await configure(port, settingsOf(name, rig.tty().info));
    else if (verb === "lower" || verb === "raise") await port.setOutputs({ [what]: verb === "raise" });
    else if (verb === "break") await port.setBreak(what === "on");
    else if (verb === "close") await port.close();
    else throw new Error(`step ${name}`);
  });
}

describe.each(Object.entries(ROWS))("%s", (chip, { make, port: index = 0, kernelOnly = {}, oursOnly = {} }) => {
  test("each step makes the line that it makes under the kernel's driver", async () => {
    const kernel = make({ clock: new ManualClock() });
    const bus = new TestBus(kernel).configure();
    const rig = await attachSerial(make);
    let port: TtyPort | undefined;
    for (const { name, requests } of readSteps(chip)) {
      for (const request of requests) send(bus, request);
      if (name === "attach") continue;
      if (port === undefined) ({ port } = await rig.openPort({ baud: 9600 }, `ttyU${index}`));
      else await doStep(rig, port, name);
      expectSameLine(rig.model.port(index).uart, kernel.port(index).uart, name);
    }
    expect(port).toBeDefined();
  });

  test("what only one of the two sends is known", async () => {
    const ours = new Set<Kind>();
    const rig = await attachSerial(make, DRIVERS, ({ transfer: { setup } }) => {
      if (setup === undefined || ((setup[0] ?? 0) & 0x60) === 0) return;
      ours.add(Buffer.from(setup.subarray(0, 2)).toString("hex").replace(/^../, "$& "));
    });
    const steps = readSteps(chip);
    const { port } = await rig.openPort({ baud: 9600 }, `ttyU${index}`);
    for (const { name } of steps.slice(2)) await doStep(rig, port, name);
    const theirs = new Set(steps.flatMap(({ requests }) => requests.map(kindOf)));
    expect([...theirs].filter((kind) => !ours.has(kind)).sort()).toEqual(Object.keys(kernelOnly).sort());
    expect([...ours].filter((kind) => !theirs.has(kind)).sort()).toEqual(Object.keys(oursOnly).sort());
  });
});
