/** Sessions in a process of their own: what becomes of everything when that process is hostile, or dies. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openApart } from "../../src/host/apart.js";
import { HostError } from "../../src/host/errors.js";
import type { HostEvent } from "../../src/host/events.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import type { Sessions, SessionsOptions } from "../../src/host/sessions.js";
import type { DeviceSource, OpenedDevice } from "../../src/host/sources/source.js";
import { sharedUnits } from "../../src/host/units.js";
import { deferred } from "../../src/host/waits.js";
import { parseLink } from "../../src/pud/links/links.js";
import { isAlive } from "../cli/command.js";
import { realClock } from "../../src/rumpuser/real/clock.js";

/** What a pud process does first, and words for what follows. */
const PREAMBLE = `
import net from "node:net";
import { writeSync } from "node:fs";
const host = new net.Socket({ fd: 3 });
writeSync(4, new Uint8Array(1));
const waiting = new Map();
let last = 0;
const say = (message) => host.write(typeof message === "string" ? message : JSON.stringify(message) + "\\n");
const notify = (notice, argument) => say({ notice, argument });
const ask = (name, argument) => new Promise((resolve) => {
  waiting.set(++last, resolve);
  say({ call: last, name, argument });
});
const heard = {};
let answer = ({ call }) => say({ answer: call, value: true });
let text = "";
host.on("data", (chunk) => {
  text += chunk;
  for (let end = text.indexOf("\\n"); end !== -1; end = text.indexOf("\\n")) {
    const message = JSON.parse(text.slice(0, end));
    text = text.slice(end + 1);
    if ("answer" in message) waiting.get(message.answer)?.(message);
    else if ("call" in message) answer(message);
    else heard[message.notice]?.(message.argument);
  }
});
host.on("close", () => process.exit(0));
const tell = (value) => notify("event", { event: "log", level: "warn", source: "test", message: JSON.stringify(value) });
`;

/** Of a device that the kernel does not take back. */
const STUCK = "1-9";

interface Rig {
  readonly sessions: Sessions;
  readonly events: HostEvent[];
  readonly lost: Promise<HostError>;
  /** What the script told, in order. */
  readonly told: () => unknown[];
  readonly source: (key?: string) => DeviceSource;
  /** Devices that are open. */
  readonly open: () => number;
}

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-a-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/**
 * @param script     What the pud process does once it runs.
 * @param openMs     How long a device takes to be opened; `releaseMs`: to be given back.
 */
async function start(
  script: string,
  { preamble = PREAMBLE, ...more }: Partial<SessionsOptions> & { readonly preamble?: string } = {},
  { openMs = 0, releaseMs = 0 } = {},
): Promise<Rig> {
  const pudScript = join(folder, "pud.mjs");
  writeFileSync(pudScript, preamble + script);
  const events: HostEvent[] = [];
  const lost = deferred<HostError>();
  let open = 0;
  const sessions = await openApart({
    clock: realClock,
    runtimeDir: folder,
    takeUnit: await sharedUnits(folder),
    links: [],
    ownLinks: [],
    readOnly: false,
    emit: (event) => events.push(event),
    graceMs: 0,
    mode: "auto",
    sharesMemory: true,
    sandbox: noSandbox,
    onLost: (error) => lost.resolve(error),
    pudScript,
    ...more,
  });
  const source = (key = "1-1"): DeviceSource => ({
    key,
    mayReturn: false,
    open: async (): Promise<OpenedDevice> => {
      await delay(openMs);
      open++;
      let isReleased = false;
      return {
        bus: { kind: "usbip", busId: key },
        drivers: [],
        descriptor: 0,
        closeDescriptor: () => {},
        reopen: async () => true,
        release: async () => {
          if (isReleased) return;
          isReleased = true;
          await delay(releaseMs);
          open--;
          if (key === STUCK) throw new HostError("KERNEL_DRIVER", `${key}: not given back`);
        },
      };
    },
  });
  const told = (): unknown[] =>
    events.flatMap((event) => (event.event === "log" ? [JSON.parse(event.message) as unknown] : []));
  return { sessions, events, lost: lost.promise, told, source, open: () => open };
}

describe("a pud process that says what cannot be right", () => {
  test.each([
    ["no JSON", `say("nonsense\\n")`, /cannot be right/],
    ["a call that there is not", `ask("exec", ["/bin/sh"])`, /nothing is called "exec"/],
    ["a word of the language", `ask("constructor", {})`, /nothing is called/],
    ["an event that is none", `notify("event", { event: "node", node: 7 })`, /event node/],
    ["an event of the host process", `notify("event", { event: "ready", nodes: [] })`, /an event "ready"/],
    [
      "a flood of events",
      `for (let i = 0; i < 9000; i++) notify("event", { event: "detach", device: "x" })`,
      /more than 200 events/,
    ],
    [
      "a flood of messages",
      `for (let i = 0; i < 60000; i++) notify("kill", { process: 1 })`,
      /more than 4000 messages/,
    ],
    ["a line without an end", `say("x".repeat(3 << 20))`, /a line of more than/],
    ["its end", `process.exit(3)`, /status 3/],
    ["its death", `process.kill(process.pid, "SIGSEGV")`, /SIGSEGV/],
  ])("%s: nothing of it goes on, and the reason is told once", async (_, script, reason) => {
    const { sessions, events, lost, source } = await start(`heard.launch = () => { ${script} };`);
    const launched = sessions.launch(source());
    expect((await lost).message).toMatch(reason);
    expect(await launched.attached).toBeInstanceOf(HostError);
    expect(await launched.ended).toBeInstanceOf(HostError);
    expect(events.filter(({ event }) => event === "error")).toHaveLength(1);
    // Whatever comes later ends at once.
    expect(await sessions.launch(source("1-2")).attached).toBeInstanceOf(HostError);
    await sessions.stopAll("the test is over");
  });
});

/** Nothing that moves a cursor, colours or reorders, and not without end. */
const HARMLESS = /^[\P{C}\n]{1,5000}$/u;

describe("what it says to people is harmless on a terminal", () => {
  test.each([
    ["no JSON", `say("\\x1b[2J\\x9b31m\\n")`],
    ["a name that there is not", `ask("\\u009b31m\\u202e" + "x".repeat(1 << 19), {})`],
    ["an answer to nothing", `say({ answer: "\\x1b[2J" + "x".repeat(1 << 19), value: 0 })`],
    ["an event of no kind", `notify("event", { event: "\\u009b31m" })`],
  ])("as the reason of its end: %s", async (_, script) => {
    const { sessions, lost, source } = await start(`heard.launch = () => { ${script} };`);
    void sessions.launch(source());
    expect((await lost).message).toMatch(HARMLESS);
    await sessions.stopAll("the test is over");
  });

  test.each(["LINK", "LINK_IN_USE", "NO_SUCH_CODE"])("as the reason of a session's end (%s)", async (code) => {
    const { sessions, source } = await start(`heard.launch = ({ session }) =>
      notify("ended", { session, error: { code: "${code}", message: "no\\x1b[2J\\u009b31m" + "x".repeat(1 << 19) } });`);
    const { attached, ended } = sessions.launch(source());
    for (const error of [await attached, await ended]) {
      expect(error).toBeInstanceOf(HostError);
      expect(error?.message).toMatch(HARMLESS);
    }
    await sessions.stopAll("the test is over");
  });

  test("as the reason why a link is not opened", async () => {
    const refused = start("", {
      links: [],
      preamble: PREAMBLE.replace("value: true", `error: { code: "LINK", message: "no\\x1b[2J\\u009b31m" }`),
    });
    await expect(refused).rejects.toMatchObject({ code: "LINK", message: expect.stringMatching(HARMLESS) });
  });
});

test("arguments that are nested without end are refused, and nothing else happens", async () => {
  const { sessions, told, source, lost } = await start(`
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    const names = ["open", "start", "takeUnit", "createMemory", "link listen", "link nameTerminal", "link openCuse", "link unlisten"];
    heard.launch = async () => {
      const answers = [];
      for (const name of names)
        answers.push(await new Promise((resolve) => {
          waiting.set(++last, resolve);
          say('{"call":' + last + ',"name":"' + name + '","argument":[' + deep + ']}\\n');
        }));
      tell(answers.map(({ error }) => error !== undefined));
      heard.resume = () => say("[".repeat(1 << 19) + "\\n");
    };`);
  void sessions.launch(source());
  const refused = [true, true, true, true, true, true, true, false];
  await vi.waitFor(() => expect(told()).toEqual([refused]), { timeout: 5000 });
  sessions.resumeAll();
  expect((await lost).message).toMatch(/cannot be right/);
  await sessions.stopAll("the test is over");
});

test("errors of no shape are errors all the same", async () => {
  const wrong = `{ code: ["x"], message: { toString: 1, valueOf: 1 }, shortage: { toString: 1 } }`;
  const { sessions, source } = await start(
    `heard.launch = ({ session }) => notify("ended", { session, error: ${wrong} });`,
  );
  expect(await sessions.launch(source()).ended).toBeInstanceOf(HostError);
  await sessions.stopAll("the test is over");
  const refused = start("", { links: [], preamble: PREAMBLE.replace("value: true", `error: ${wrong}`) });
  await expect(refused).rejects.toBeInstanceOf(HostError);
});

test("what cannot be taken back when it has gone is told, whatever takes longer than that", async () => {
  const inside = join(folder, "inside");
  mkdirSync(inside);
  const { sessions, told, source, lost, events } = await start(
    `heard.launch = async ({ source }) => {
      await ask("open", { source });
      const { value } = await ask("link listen", [{ unix: ${JSON.stringify(join(inside, "s"))} }]);
      tell(value !== undefined);
      heard.resume = () => process.exit(3);
    };`,
    { links: [parseLink(`nbd=unix:${join(inside, "s")}`)] },
    { releaseMs: 300 },
  );
  void sessions.launch(source());
  await vi.waitFor(() => expect(told()).toEqual([true]));
  rmSync(inside, { recursive: true });
  writeFileSync(inside, "a file now");
  sessions.resumeAll();
  await lost;
  await sessions.stopAll("the test is over");
  const messages = events.flatMap((event) => (event.event === "error" ? [event.message] : []));
  expect(messages).toEqual([
    expect.stringMatching(/is lost: status 3/),
    expect.stringMatching(/inside.*cannot be removed/),
  ]);
});

/** A rump process that says that it is locked and waits; its id is in the folder while the test runs. */
function lockedScript(): string {
  const script = join(folder, "rump.mjs");
  writeFileSync(
    script,
    `import { writeFileSync, writeSync } from "node:fs";
    writeFileSync(${JSON.stringify(folder)} + "/pid-" + process.pid, "");
    writeSync(4, new Uint8Array(1));
    setInterval(() => {}, 1000);`,
  );
  return script;
}

/** Rump processes that were started, and those that live. */
function started(): { readonly all: number; readonly alive: number } {
  const pids = readdirSync(folder).flatMap((name) => (name.startsWith("pid-") ? [Number(name.slice(4))] : []));
  return { all: pids.length, alive: pids.filter(isAlive).length };
}

/** Words of the script. */
const DEMAND = `
const demand = (device, more) => ask("start", { device, interrupted: false, driverOptions: {}, ahead: false, alone: false, ...more });
const locked = new Map();
const isLocked = (process) => new Promise((resolve) => locked.set(process, resolve));
heard.locked = ({ process, error }) => locked.get(process)?.(error);
`;

describe("a session gets its own, and nothing of another", () => {
  test.each([
    ["its device in the process of another", `notify("send", { device: a, process: q })`, /another session's device/],
    [
      "two devices in one process",
      `notify("send", { device: a, process: p }); notify("send", { device: a, process: p })`,
      /a second device/,
    ],
  ])("%s", async (_, script, reason) => {
    const { sessions, lost, source, open } = await start(
      `${DEMAND}
      const sources = [];
      heard.launch = async ({ source }) => {
        if (sources.push(source) < 2) return;
        const devices = [];
        for (const source of sources) devices.push((await ask("open", { source })).value.device);
        const [a, b] = devices;
        const p = (await demand(a)).value.process;
        await isLocked(p);
        const q = (await demand(b)).value.process;
        await isLocked(q);
        ${script};
      };`,
      { rumpScript: lockedScript() },
    );
    for (const key of ["1-1", "1-2"]) void sessions.launch(source(key));
    expect((await lost).message).toMatch(reason);
    await sessions.stopAll("the test is over");
    expect([open(), started()]).toEqual([0, { all: 2, alive: 0 }]);
  });

  test("memory that a process of another has, or one piece more", async () => {
    const { sessions, told, source } = await start(
      `${DEMAND}
      const sources = [];
      heard.launch = async ({ source }) => {
        if (sources.push(source) < 2) return;
        const devices = [];
        for (const source of sources) devices.push((await ask("open", { source })).value.device);
        const memoryOf = (source) => ask("createMemory", { source });
        const [first, second, third] = [await memoryOf(sources[0]), await memoryOf(sources[1]), await memoryOf(sources[0])];
        const { memory } = first.value;
        const answers = [await demand(devices[0], { memory }), await demand(devices[1], { memory }), second, third];
        tell(answers.map(({ error }) => error === undefined));
      };`,
      { rumpScript: lockedScript() },
    );
    for (const key of ["1-1", "1-2"]) void sessions.launch(source(key));
    await vi.waitFor(() => expect(told()).toEqual([[true, false, true, false]]), { timeout: 5000 });
    await sessions.stopAll("the test is over");
  });

  test("no more than eight processes, however often the device is opened anew", async () => {
    const { sessions, told, source } = await start(
      `${DEMAND}
      heard.launch = async ({ source }) => {
        let started = 0;
        for (let round = 0; round < 3; round++) {
          const { device } = (await ask("open", { source })).value;
          for (let i = 0; i < 5; i++) if ((await demand(device)).error === undefined) started++;
          await ask("release", { device });
        }
        tell(started);
      };`,
      { rumpScript: lockedScript() },
    );
    void sessions.launch(source());
    await vi.waitFor(() => expect(told()).toEqual([8]), { timeout: 10_000 });
    await sessions.stopAll("the test is over");
    await vi.waitFor(() => expect(started().alive).toBe(0));
  }, 20_000);

  test("no processes without end, though each is ended at once", async () => {
    const rumpScript = join(folder, "rump.mjs");
    writeFileSync(rumpScript, "");
    const { sessions, told, source } = await start(
      `${DEMAND}
      heard.launch = async ({ source }) => {
        const { device } = (await ask("open", { source })).value;
        const begun = Date.now();
        for (let count = 0; ; count++) {
          const { value, error } = await demand(device);
          if (value !== undefined) notify("kill", { process: value.process });
          else if (error.message.includes("a second")) return tell(count - (Date.now() - begun) / 100 < 70);
        }
      };`,
      { rumpScript },
    );
    void sessions.launch(source());
    await vi.waitFor(() => expect(told()).toEqual([true]), { timeout: 20_000 });
    await sessions.stopAll("the test is over");
  }, 30_000);
});

test.each([
  ["by the pud process, which is told", `await ask("release", { device })`, 0],
  ["because its session has ended", "", 1],
])("a device that cannot be given back, %s", async (_, script, count) => {
  const { sessions, events, source, open } = await start(`heard.launch = async ({ session, source }) => {
    const { device } = (await ask("open", { source })).value;
    ${script};
    notify("ended", { session });
  };`);
  await sessions.launch(source(STUCK)).ended;
  await vi.waitFor(() => expect(open()).toBe(0));
  await sessions.stopAll("the test is over");
  expect(events.map((event) => "code" in event && event.code)).toEqual(
    Array.from({ length: count }, () => "KERNEL_DRIVER"),
  );
});

describe("when a session has ended nothing of it is left, whatever the pud process thinks", () => {
  test("its device is given back, its processes are ended", async () => {
    const { sessions, source, open } = await start(
      `${DEMAND}
      heard.launch = async ({ session, source }) => {
        const { device } = (await ask("open", { source })).value;
        for (let i = 0; i < 2; i++) await isLocked((await demand(device)).value.process);
        notify("ended", { session });
      };`,
      { rumpScript: lockedScript() },
    );
    await sessions.launch(source()).ended;
    await vi.waitFor(() => expect([open(), started()]).toEqual([0, { all: 2, alive: 0 }]), { timeout: 5000 });
    await sessions.stopAll("the test is over");
  });

  test("a device that was being opened is let go", async () => {
    const { sessions, told, source, open } = await start(
      `heard.launch = async ({ session, source }) => {
        const opened = ask("open", { source });
        notify("ended", { session });
        const { error } = await opened;
        tell(error?.message);
      };`,
      {},
      { openMs: 200 },
    );
    await sessions.launch(source()).ended;
    await vi.waitFor(() => expect(told()).toEqual(["1-1: its session has ended"]));
    expect(open()).toBe(0);
    await sessions.stopAll("the test is over");
  });

  test("a device that was being opened when the process died is let go", async () => {
    const { sessions, lost, source, open } = await start(
      `heard.launch = ({ source }) => { ask("open", { source }); setTimeout(() => process.exit(3), 50); };`,
      {},
      { openMs: 300 },
    );
    void sessions.launch(source());
    await lost;
    await sessions.stopAll("the test is over");
    await delay(400);
    expect(open()).toBe(0);
  });
});

test("a device may come back for ever", async () => {
  const { sessions, source } = await start(`heard.launch = () => {};`);
  const { session } = sessions.launch(source());
  for (let time = 0; time < 1200; time++) expect(await session.replugged(source())).toBe(true);
  await sessions.stopAll("the test is over");
});

/** Of the way by which descriptors go. */
const GONE = expect.stringMatching(/EPIPE|no descriptor \(any more\)/);

test("who takes no descriptors gets no process either", async () => {
  const { sessions, told, source } = await start(
    `${DEMAND}
    import { closeSync } from "node:fs";
    heard.launch = async ({ source }) => {
      const { device } = (await ask("open", { source })).value;
      closeSync(4);
      tell([(await demand(device)).error !== undefined, (await ask("createMemory", { source })).error?.message, (await ask("createMemory", { source })).error?.message]);
    };`,
    { rumpScript: lockedScript() },
  );
  void sessions.launch(source());
  await vi.waitFor(() => expect(told()).toEqual([[true, GONE, GONE]]), { timeout: 5000 });
  await vi.waitFor(() => expect(started().alive).toBe(0), { timeout: 5000 });
  await sessions.stopAll("the test is over");
});

describe("a pud process gets what it was given, and nothing else", () => {
  test("devices by their numbers, each once at a time", async () => {
    const { sessions, told, source, open } = await start(`
      heard.launch = async ({ source }) => {
        const answers = [];
        for (const argument of [{ source: source + 1 }, { source: "1" }, { path: "/dev/mem" }, undefined, { source }, { source }])
          answers.push(await ask("open", argument));
        tell(answers.map(({ value, error }) => value ?? error.code));
      };`);
    void sessions.launch(source());
    await vi.waitFor(() => expect(told()).toHaveLength(1));
    expect(told()[0]).toEqual(["FAILED", "", "", "", { device: 1 }, "FAILED"]);
    expect(open()).toBe(1);
    await sessions.stopAll("the test is over");
    expect(open()).toBe(0);
  });

  test("no process before its device is open, none that gets a device before it is locked, no more than eight", async () => {
    const rumpScript = join(folder, "rump.mjs");
    writeFileSync(rumpScript, `setInterval(() => {}, 1000);`); // never says that it is locked
    const demand = `{ device: 1, interrupted: false, driverOptions: {}, ahead: false, alone: false }`;
    const { sessions, told, lost, source, open } = await start(
      `heard.launch = async ({ source }) => {
        const early = await ask("start", ${demand});
        await ask("open", { source });
        const wrong = await ask("start", { ...${demand}, driverOptions: { umass: { mode: ["x"] } } });
        const many = [];
        for (let i = 0; i < 9; i++) many.push(await ask("start", ${demand}));
        tell([early.error.code, wrong.error !== undefined, many.map(({ error }) => error?.code ?? "started")]);
        notify("kill", { process: 999 });
        notify("send", { device: 1, process: 999 });
        notify("send", { device: 1, process: many[0].value.process });
      };`,
      { rumpScript },
    );
    const launched = sessions.launch(source());
    await vi.waitFor(() => expect(told()).toHaveLength(1), { timeout: 10_000 });
    expect(told()[0]).toEqual(["FAILED", true, [...Array.from({ length: 8 }, () => "started"), "FAILED"]]);
    expect((await lost).message).toMatch(/before it is locked/);
    await launched.ended;
    expect(open()).toBe(0);
    await sessions.stopAll("the test is over");
  }, 20_000);

  test("units of a sane name, and they are free again when it has gone", async () => {
    const { sessions, told, source } = await start(`
      heard.launch = async () => {
        const names = ["sd", "../x", "", "sd0", "a".repeat(99), 7];
        const answers = [];
        for (const className of names) answers.push(await ask("takeUnit", { className }));
        tell(answers.map(({ value }) => value?.name ?? "refused"));
      };`);
    void sessions.launch(source());
    await vi.waitFor(() => expect(told()).toHaveLength(1));
    expect(told()[0]).toEqual(["sd0", ...Array.from({ length: 5 }, () => "refused")]);
    await sessions.stopAll("the test is over");
    const unit = await (await sharedUnits(folder))("sd");
    expect(unit.name).toBe("sd0");
    unit.release();
  });

  test("sockets where the user asked for them, and their files go with it", async () => {
    const { sessions, told, source } = await start(
      `
      heard.launch = async () => {
        const places = [{ unix: ${JSON.stringify(folder)} + "/sd0.nbd.sock" }, { unix: "/tmp/elsewhere.sock" },
          { host: "0.0.0.0", port: 0 }, { host: "127.0.0.1", port: 0 }, { unix: ["x"] }, { unix: ${JSON.stringify(folder)} + "/../x.sock" }];
        const answers = [];
        for (const place of places) answers.push(await ask("link listen", [place]));
        tell(answers.map(({ value }) => value === undefined ? "refused" : "listens"));
      };`,
      { links: undefined },
    );
    void sessions.launch(source());
    await vi.waitFor(() => expect(told()).toHaveLength(1));
    expect(told()[0]).toEqual(["listens", ...Array.from({ length: 5 }, () => "refused")]);
    expect(readdirSync(folder)).toContain("sd0.nbd.sock");
    await sessions.stopAll("the test is over");
    expect(readdirSync(folder)).not.toContain("sd0.nbd.sock");
  });
});

test("what was begun while it started, and is not asked for, is undone", async () => {
  const rumpScript = join(folder, "rump.mjs");
  const pidFile = join(folder, "rump.pid");
  writeFileSync(
    rumpScript,
    `import { writeFileSync } from "node:fs"; writeFileSync(${JSON.stringify(pidFile)}, String(process.pid)); setInterval(() => {}, 1000);`,
  );
  const { sessions, source, open } = await start("", { links: undefined, rumpScript });
  const launched = sessions.launch(source());
  await vi.waitFor(() => expect(existsSync(pidFile)).toBe(true), { timeout: 5_000 });
  expect(open()).toBe(1);
  await sessions.stopAll("the test is over");
  expect(await launched.attached).toBeInstanceOf(HostError);
  expect(open()).toBe(0);
  const pid = Number(readFileSync(pidFile, "utf8"));
  await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), { timeout: 5_000 });
});

describe("a pud process that goes on but does not answer", () => {
  test("beats alone do not end its sessions for ever, and none means that it hangs", async () => {
    const { sessions, events } = await start(
      `answer = ({ call, name }) => { if (name !== "stopAll") say({ answer: call, value: true }); };`,
    );
    const begun = performance.now();
    const stopped = sessions.stopAll("the test is over");
    await delay(7000);
    expect(events).toEqual([]);
    await sessions.killAll();
    // Who ends it so knows.
    expect(await stopped).toBeUndefined();
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(events).toEqual([]);
  }, 20_000);

  test("one that hangs is ended after some seconds", async () => {
    const { sessions, events } = await start(`heard.resume = () => { for (;;); };`);
    sessions.resumeAll();
    const begun = performance.now();
    expect(await sessions.stopAll("the test is over")).toMatchObject({
      message: expect.stringMatching(/silent for 5 s/),
    });
    expect(performance.now() - begun).toBeLessThan(9000);
    expect(events).toHaveLength(1);
  }, 20_000);

  test("one that ends in order is no error, and what is launched later ends at once", async () => {
    const { sessions, events, source } = await start("");
    const stopped = sessions.stopAll("the test is over");
    const during = sessions.launch(source());
    expect(await stopped).toBeUndefined();
    expect(await sessions.stopAll("again")).toBeUndefined();
    for (const { attached, ended } of [during, sessions.launch(source())]) {
      expect(await attached).toBeInstanceOf(HostError);
      expect(await ended).toBeUndefined();
    }
    expect(events).toEqual([]);
  });
});

test("one that does not start: thrown with its last words, and not told as well", async () => {
  const pudScript = join(folder, "none.mjs");
  writeFileSync(pudScript, `console.error("no luck today"); process.exit(1);`);
  const events: HostEvent[] = [];
  const started = start("", { pudScript, emit: (event) => events.push(event) });
  await expect(started).rejects.toMatchObject({
    code: "FAILED",
    message: expect.stringMatching(/pud process[^]*no luck today/),
  });
  expect(events).toEqual([]);
});
