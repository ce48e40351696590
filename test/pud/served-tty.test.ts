/** Writes that the host asks for, on their way to the driver. */
import { expect, test } from "vitest";
import { NO_BYTES } from "../../src/pud/channel.js";
import { KINDS } from "../../src/pud/frames.js";
import { RateBound } from "../../src/pud/rate-bound.js";
import { ServedRequest } from "../../src/pud/served-request.js";
import { ServedTty } from "../../src/pud/served-tty.js";
import { encodeTtyOpen, FLUSH_NUMBERS } from "../../src/pud/tty-payloads.js";
import { DeviceError, type LineSettings, type Tty, type TtyPort, WriteError } from "../../src/rump/devsw.js";
import { createSimulatedRumpuser } from "../../src/rumpuser/simulated.js";
import { MemoryTty } from "../fakes/memory-tty.js";

const SETTINGS: LineSettings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
const HOW = { settings: SETTINGS, outputs: { dtr: true, rts: true } };

const HEADER = { magic: 0, version: 1, node: 1, status: 0, flags: 0, requestId: 1, offset: 0, count: 0 };

interface Handed {
  readonly bytes: number;
  readonly end: (error?: unknown) => void;
}

interface Rig {
  /** Writes that the driver has had, all of them. */
  readonly handed: Handed[];
  /** How writes were answered, in the order of that. */
  readonly answers: string[];
  write(name: string, bytes: number, offset?: number): void;
  flush(): Promise<void>;
}

const request = (kind: number, payload: Uint8Array, fields: { offset?: number; count?: number } = {}): ServedRequest =>
  new ServedRequest({ ...HEADER, kind, payloadBytes: payload.length, ...fields }, payload);

async function open(): Promise<Rig> {
  const { clock } = createSimulatedRumpuser({ seed: 1 });
  const handed: Handed[] = [];
  const memory = new MemoryTty();
  const tty: Tty = {
    kind: "tty",
    info: memory.info,
    open: async (how, receiver): Promise<TtyPort> => {
      const port = await memory.open(how, receiver);
      return Object.assign(port, {
        write: (data: Uint8Array) =>
          new Promise<void>((resolve, reject) => {
            const end = (error?: unknown): void => (error === undefined ? resolve() : reject(error));
            handed.push({ bytes: data.length, end });
          }),
        flush: async () => undefined,
      });
    },
  };
  const served = new ServedTty(tty, {
    clock,
    statuses: new RateBound(clock, 1, 1),
    send: () => undefined,
    isChoked: () => false,
  });
  await served.serve(request(KINDS.ttyOpen.number, encodeTtyOpen(HOW)));
  const answers: string[] = [];
  return {
    handed,
    answers,
    write: (name, bytes, offset = 0) => {
      served.serve(request(KINDS.ttyWrite.number, new Uint8Array(bytes), { offset })).then(
        () => answers.push(`${name} ok`),
        (error: unknown) => answers.push(`${name} ${error instanceof DeviceError ? error.code : String(error)}`),
      );
    },
    flush: async () => {
      await served.serve(request(KINDS.ttyFlush.number, NO_BYTES, { count: FLUSH_NUMBERS.out }));
    },
  };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const sizes = ({ handed }: Rig): number[] => handed.map(({ bytes }) => bytes);

test("a write of its own is handed over at once; they are answered in their order", async () => {
  const rig = await open();
  rig.write("a", 1);
  rig.write("b", 2);
  rig.write("c", 3);
  await settle();
  expect(sizes(rig)).toEqual([1, 2, 3]);
  rig.handed[1]?.end(new DeviceError("ENODEV", "gone"));
  rig.handed[2]?.end();
  await settle();
  expect(rig.answers).toEqual([]);
  rig.handed[0]?.end();
  await settle();
  expect(rig.answers).toEqual(["a ok", "b ENODEV", "c ok"]);
});

test("what goes on where another chunk ended waits for its end, and others behind it; it is not sent when that failed", async () => {
  const rig = await open();
  rig.write("a", 1);
  rig.write("a+", 2, 1);
  rig.write("b", 3);
  await settle();
  expect(sizes(rig)).toEqual([1]);
  rig.handed[0]?.end(new WriteError("EIO", "broken", 0));
  await settle();
  expect(sizes(rig)).toEqual([1, 3]);
  rig.handed[1]?.end();
  await settle();
  expect(rig.answers).toEqual(["a EIO", "a+ EIO", "b ok"]);
  rig.write("b+", 4, 3);
  await settle();
  expect(sizes(rig)).toEqual([1, 3, 4]);
});

test("what waits is not sent after a flush; after a bug nothing is", async () => {
  const rig = await open();
  rig.write("a", 1);
  rig.write("a+", 2, 1);
  await rig.flush();
  rig.handed[0]?.end();
  await settle();
  expect(rig.answers).toEqual(["a ok", "a+ ECANCELED"]);
  rig.write("b", 3);
  await settle();
  rig.handed[1]?.end();
  await settle();
  rig.write("c", 4);
  rig.write("d", 5);
  rig.handed[2]?.end(new TypeError("a bug"));
  rig.handed[3]?.end();
  await settle();
  rig.write("e", 6);
  await settle();
  expect(sizes(rig)).toEqual([1, 3, 4, 5]);
  expect(rig.answers.slice(2)).toEqual(["b ok", ...["c", "d", "e"].map((name) => `${name} TypeError: a bug`)]);
});
