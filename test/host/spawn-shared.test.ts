import net from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ProcessExit } from "../../src/host/process-exit.js";
import type { StartedProcess } from "../../src/host/spawn.js";
import { SharedProcess } from "../../src/host/spawn-shared.js";
import { deferred } from "../../src/host/waits.js";
import type { DeviceConfig, DeviceOrder } from "../../src/rump-process/config.js";
import { loadAddon } from "../../src/rumpuser/real/addon.js";

const CONFIG: DeviceConfig = { bus: { kind: "usbip", busId: "1-1" }, drivers: [] };
const SLOTS = 2;
/** Of the event loop, in which what is in a socket already is read. */
const TURNS = 10;

const sockets: net.Socket[] = [];
let orders: net.Socket;
let exit = deferred<ProcessExit>();
const kill = vi.fn<() => void>();
const sent: unknown[] = [];
let shared: SharedProcess;

function pair(): [net.Socket, net.Socket] {
  const [near, far] = [loadAddon().socketpair(0)].flat().map((fd) => new net.Socket({ fd }));
  if (near === undefined || far === undefined) throw new Error("a pair of one");
  sockets.push(near, far);
  return [near, far];
}

beforeEach(() => {
  exit = deferred();
  kill.mockReset().mockImplementation(() => exit.resolve({ code: null, signal: "SIGKILL" }));
  sent.length = 0;
  const [near, far] = pair();
  orders = far;
  const started: StartedProcess = {
    pid: 7,
    locked: new Promise(() => {}),
    channels: [near, ...Array.from({ length: SLOTS }, () => pair()[0])],
    sendDevice: (device) => sent.push(device),
    closeWay: () => {},
    exited: exit.promise,
    lastWords: () => [],
    processorWaitMs: () => 0,
    kill,
  };
  shared = new SharedProcess(started);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

function lease(): NonNullable<ReturnType<SharedProcess["lease"]>> {
  const place = shared.lease(CONFIG);
  if (place === undefined) throw new Error("no place");
  return place;
}

/** How a place has ended; undefined: it has not, after everything that was reported was read. */
async function state(place: { readonly exited: Promise<ProcessExit> }): Promise<ProcessExit | undefined> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
  return await Promise.race([place.exited, Promise.resolve(undefined)]);
}

const report = (...bytes: number[]): void => void orders.write(Uint8Array.from(bytes));

test("each device is sent, then ordered, with its slot; there are no more places than slots", async () => {
  const text: string[] = [];
  orders.on("data", (chunk: Buffer) => text.push(chunk.toString()));
  const places = [lease(), lease()];
  expect(shared.lease(CONFIG)).toBeUndefined();
  places[1]?.sendDevice(11);
  places[0]?.sendDevice(10);
  expect(sent).toEqual([11, 10]);
  await vi.waitFor(() => expect(text.join("").split("\n")).toHaveLength(3));
  const said = text.join("").trim().split("\n");
  expect(said.map((line) => JSON.parse(line) as DeviceOrder)).toEqual([
    { slot: 1, device: CONFIG },
    { slot: 0, device: CONFIG },
  ]);
});

describe("a device that has ended", () => {
  test("is told by two bytes, however they come; the others go on, and it cannot be killed any more", async () => {
    const places = [lease(), lease()] as const;
    for (const place of places) place.sendDevice(10);
    report(0);
    expect(await state(places[0])).toBeUndefined();
    report(1);
    expect(await state(places[0])).toEqual({ code: 1, signal: null });
    expect(await state(places[1])).toBeUndefined();
    places[0].kill();
    expect(kill).not.toHaveBeenCalled();
  });

  test("as the last one takes the process with it, and has ended after that", async () => {
    const places = [lease(), lease()] as const;
    for (const place of places) place.sendDevice(10);
    kill.mockImplementation(() => {}); // takes its time
    report(0, 0, 1, 0);
    expect(await state(places[0])).toEqual({ code: 0, signal: null });
    expect(await state(places[1])).toBeUndefined();
    expect(kill).toHaveBeenCalledOnce();
    expect(shared.lease(CONFIG)).toBeUndefined();
    exit.resolve({ code: null, signal: "SIGKILL" });
    expect(await state(places[1])).toEqual({ code: 0, signal: null });
  });
});

test("a process that reports nonsense ends no device with it that was not given to it", async () => {
  const places = [lease(), lease()] as const;
  places[0].sendDevice(10);
  report(1, 0, 2, 0, 255, 255, ...Array.from({ length: 10_000 }, () => 9));
  expect(await state(places[0])).toBeUndefined();
  expect(await state(places[1])).toBeUndefined();
  expect(kill).not.toHaveBeenCalled();
});

test("the end of the process is that of every device in it", async () => {
  const places = [lease(), lease()] as const;
  places[0].sendDevice(10);
  const how = { code: null, signal: "SIGSEGV" } as const;
  exit.resolve(how);
  expect(await Promise.all(places.map(async ({ exited }) => await exited))).toEqual([how, how]);
  expect(shared.lease(CONFIG)).toBeUndefined();
});

test("a place that is given back before it was used ends at once; the last one ends the process", async () => {
  const places = [lease(), lease()] as const;
  places[0].discard();
  expect(await state(places[0])).toEqual({ code: 0, signal: null });
  expect(kill).not.toHaveBeenCalled();
  places[1].discard();
  expect(kill).toHaveBeenCalledOnce();
  expect(await state(places[1])).toEqual({ code: 0, signal: null });
});

test("a place in use that is given back: its channel ends, and it has ended when the process says so", async () => {
  const places = [lease(), lease()] as const;
  places[0].sendDevice(10);
  places[0].discard();
  expect(await state(places[0])).toBeUndefined();
  report(0, 0);
  expect(await state(places[0])).toEqual({ code: 0, signal: null });
  expect(kill).not.toHaveBeenCalled();
});
