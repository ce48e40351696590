/** The rows that the serial drivers declare: everything that they send is among them, and nothing is that they never send. */
import { describe, expect, test } from "vitest";
import { isAllowed, requestTypeOf } from "../../../../src/dev/usb/request-guard.js";
import type { RequestRule } from "../../../../src/dev/usb/usbdi.js";
import type { TraceEntry } from "../../../../src/dev/vhc/vhc.js";
import type { TtyPort } from "../../../../src/rump/devsw.js";
import { attachSerial, CHIPS, DRIVERS, SETTINGS, type SerialRig } from "./rig.js";

interface Sent {
  readonly type: number;
  readonly request: number;
  readonly value: number;
}

const rulesOf = (name: string): readonly RequestRule[] =>
  DRIVERS.find((driver) => driver.name === name)?.requests ?? [];

const fits = (rule: RequestRule, { type, request, value }: Sent): boolean =>
  requestTypeOf(rule) === type && rule.request === request && (rule.value ?? value) === value;

/** `40 9a 0606`; a row that leaves the value open has `any`. */
function textOf(rule: RequestRule): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const value = rule.value === undefined ? "any" : hex(rule.value, 4);
  return `${hex(requestTypeOf(rule), 2)} ${hex(rule.request, 2)} ${value}`;
}

function record(sent: Sent[]): (entry: TraceEntry) => void {
  return ({ transfer: { setup } }) => {
    if (setup === undefined) return;
    const [type = 0, request = 0, low = 0, high = 0] = setup;
    sent.push({ type, request, value: low | (high << 8) });
  };
}

/** Every request of a port that the device knows. */
async function exercise(rig: SerialRig, port: TtyPort): Promise<void> {
  const { canBreak, flowControls, hasLatency } = rig.tty().info;
  await rig.sim.run(async () => {
    for (const flowControl of flowControls) await port.configure({ ...SETTINGS, flowControl });
    await port.setOutputs({ dtr: false });
    await port.status();
    for (const on of canBreak ? [true, false] : []) await port.setBreak(on);
    if (hasLatency) await port.setLatency(2);
    await port.write(Uint8Array.of(1));
    await port.drain();
    for (const queue of ["in", "out", "both"] as const) await port.flush(queue);
    await port.close();
  });
}

/** Rows that no model asks for. */
const WITHOUT_MODEL: Readonly<Record<string, readonly string[]>> = {
  // Lines of a CH341 that is older than version 20h, which has no SET_LINES.
  uchcom: ["40 9a 0606"],
};

describe.each(DRIVERS.map(({ name }) => name))("%s", (name) => {
  test("nothing that is sent is refused, and every row is sent", async () => {
    const sent: Sent[] = [];
    for (const { make } of CHIPS.filter(({ driver }) => driver === name)) {
      const rig = await attachSerial(make, DRIVERS, record(sent));
      const { port } = await rig.openPort();
      await exercise(rig, port);
      expect(rig.problems()).toEqual([]);
    }
    const unused = rulesOf(name).filter((rule) => !sent.some((one) => fits(rule, one)));
    expect(unused.map(textOf)).toEqual(WITHOUT_MODEL[name] ?? []);
  });

  test("class and vendor requests alone, each row once", () => {
    const rows = rulesOf(name);
    expect(rows.filter(({ type }) => type === "standard")).toEqual([]);
    expect(new Set(rows.map(textOf)).size).toBe(rows.length);
  });
});

/** Requests that reach what a chip keeps, or its pins. */
test.each([
  ["umodem", "DFU_DNLOAD (DFU 1.1 §3)", 0x21, 0x01, 0],
  ["uftdi", "write of the EEPROM", 0x40, 0x91, 0],
  ["uftdi", "erasure of the EEPROM", 0x40, 0x92, 0],
  ["uftdi", "bit-bang", 0x40, 0x0b, 0x01ff],
  ["uslsa", "write of the GPIO latch (as in Linux cp210x)", 0x40, 0xff, 0x37e1],
  ["uslsa", "the same, to the interface", 0x41, 0xff, 0x37e1],
  ["uslsa", "another question than GET_PARTNUM", 0xc0, 0xff, 0x000b],
  ["uchcom", "registers that are no part of the UART", 0x40, 0x9a, 0x4040],
  ["uplcom", "a register that flow control and start-up do not write", 0x40, 0x01, 0x0003],
  ["uplcom", "a register of the HXN that is no part of them", 0x40, 0x80, 0x0001],
] as const)("%s refuses: %s", (name, _what, type, request, value) => {
  expect(isAllowed(rulesOf(name), type, request, value)).toBe(false);
});
