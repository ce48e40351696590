import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HostError } from "../../src/host/errors.js";
import { Messenger, type MessengerOptions, WithDescriptors } from "../../src/pud-process/messenger.js";
import { LinkSetupError } from "../../src/pud/links/errors.js";
import { isOutOfResources } from "../../src/rumpuser/real/resources.js";
import { createMemoryStreamPair } from "../../src/rumpuser/memory-stream.js";
import { createVirtualClock, type VirtualClock } from "../../src/rumpuser/simulated.js";
import type { ByteStream } from "../../src/rumpuser/rumpuser.js";

interface Side {
  readonly messenger: Messenger;
  readonly ended: string[];
}

function side(stream: ByteStream, options: Partial<MessengerOptions> = {}): Side {
  const ended: string[] = [];
  const messenger = new Messenger(stream, {
    calls: {},
    notices: {},
    ended: (reason) => ended.push(reason),
    ...options,
  });
  return { messenger, ended };
}

/** A messenger, and the bare stream behind it. */
function bare(options: Partial<MessengerOptions> = {}): Side & {
  readonly clock: VirtualClock;
  readonly say: (text: string) => Promise<void>;
  readonly heard: () => string;
} {
  const clock = createVirtualClock();
  const [near, far] = createMemoryStreamPair({ clock });
  let text = "";
  far.onData((chunk) => {
    text += new TextDecoder().decode(chunk);
  });
  const say = async (line: string): Promise<void> => {
    far.write([new TextEncoder().encode(line)]);
    await clock.run();
  };
  return { ...side(near, options), clock, say, heard: () => text };
}

function pair(left: Partial<MessengerOptions>, right: Partial<MessengerOptions>): [Side, Side, VirtualClock] {
  const clock = createVirtualClock();
  const [a, b] = createMemoryStreamPair({ clock, maxChunkBytes: 7 });
  return [side(a, left), side(b, right), clock];
}

const whole = (answer: unknown): unknown => answer;

test("calls are answered, in whatever order; notices come in theirs", async () => {
  const heard: unknown[] = [];
  let release: (word: string) => void = () => {};
  const [near, , clock] = pair(
    {},
    {
      calls: {
        slow: () => new Promise((resolve) => (release = resolve)),
        double: (n) => 2 * (n as number),
        nothing: () => undefined,
      },
      notices: { tell: (told) => heard.push(told) },
    },
  );
  const slow = near.messenger.call("slow", {}, whole);
  const double = near.messenger.call("double", 21, whole);
  near.messenger.notify("tell", { first: "ä\n" });
  near.messenger.notify("tell", 2);
  await clock.run();
  expect(await double).toBe(42);
  release("late");
  await clock.run();
  expect(await slow).toBe("late");
  expect(heard).toEqual([{ first: "ä\n" }, 2]);
  const nothing = near.messenger.call("nothing", {}, whole);
  await clock.run();
  expect(await nothing).toBeUndefined();
});

test("an answer is read before anything that was said after it", async () => {
  const { messenger, say } = bare({ notices: { after: () => order.push("after") } });
  const order: string[] = [];
  const call = messenger.call("x", {}, () => order.push("answer"));
  await say('{"answer":1,"value":{}}\n{"notice":"after"}\n');
  await call;
  expect(order).toEqual(["answer", "after"]);
});

describe("what a handler throws comes out where it was called", () => {
  const shortage = Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
  test.each([
    ["HostError", new HostError("DEVICE_BUSY", "1-1: in use"), HostError, "DEVICE_BUSY"],
    ["LinkSetupError", new LinkSetupError("LINK_IN_USE", "/x is in use"), LinkSetupError, "LINK_IN_USE"],
    ["a system error", shortage, Error, "EMFILE"],
    [
      "a shortage behind a HostError",
      new HostError("NO_RESOURCES", "none", { cause: shortage }),
      HostError,
      "NO_RESOURCES",
    ],
  ])("%s", async (_, thrown, kind, code) => {
    const [near, , clock] = pair(
      {},
      {
        calls: {
          fail: () => {
            throw thrown;
          },
        },
      },
    );
    const failed = near.messenger.call("fail", {}, whole).catch((error: unknown) => error);
    await clock.run();
    const error = await failed;
    expect(error).toBeInstanceOf(kind);
    expect(error).toMatchObject({ code, message: thrown.message });
    expect(isOutOfResources(error)).toBe(isOutOfResources(thrown));
  });
});

test("descriptors go before the answer that counts them, and are closed whatever comes", async () => {
  const sent: (number | string)[] = [];
  const { messenger, say, heard, ended } = bare({
    sendDescriptor: (fd) => sent.push(fd),
    calls: { give: () => new WithDescriptors({ name: "x" }, [5, 6], (isSent) => sent.push(`closed ${isSent}`)) },
  });
  await say('{"call":1,"name":"give"}\n');
  expect(sent).toEqual([5, 6, "closed true"]);
  expect(JSON.parse(heard())).toEqual({ answer: 1, value: { name: "x" }, descriptors: 2 });
  messenger.end("enough");
  expect(ended).toEqual(["enough"]);

  const taken = [7, 8];
  const taker = bare({ takeDescriptor: () => taken.shift() ?? -1 });
  const answer = taker.messenger.call("x", {}, whole);
  await taker.say('{"answer":1,"value":{"name":"x"},"descriptors":2}\n');
  expect(await answer).toEqual({ name: "x", descriptors: [7, 8] });
});

test("descriptors that could not all be sent: the answer says so, and those that went are closed", async () => {
  const full = Object.assign(new Error("EAGAIN"), { code: "EAGAIN" });
  const way: number[] = [];
  const given: boolean[] = [];
  let room = 1;
  const closed: number[] = [];
  const [near, , clock] = pair(
    { takeDescriptor: () => way.shift() ?? -1, closeDescriptor: (fd) => closed.push(fd) },
    {
      sendDescriptor: (fd) => {
        if (room-- <= 0) throw full;
        way.push(fd);
      },
      calls: { give: (first) => new WithDescriptors({}, [Number(first), 6], (isSent) => given.push(isSent)) },
    },
  );
  const failed = near.messenger.call("give", 5, whole).catch((error: unknown) => error);
  await clock.run();
  expect(isOutOfResources(await failed)).toBe(true);
  expect([given, closed, way]).toEqual([[false], [5], []]);
  room = 2;
  const next = near.messenger.call("give", 7, whole);
  await clock.run();
  expect(await next).toEqual({ descriptors: [7, 6] });
});

test("who takes no descriptors believes nobody who says that some come", async () => {
  const { messenger, say } = bare();
  const answer = messenger.call("x", {}, whole);
  await say('{"answer":1,"value":{},"descriptors":4000000000}\n');
  expect(await answer).toEqual({ descriptors: [] });
});

describe("the conversation ends", () => {
  test.each([
    ["no JSON", "nonsense\n"],
    ["no object", "3\n"],
    ["no message", "{}\n"],
    ["a call without a name", '{"call":1}\n'],
    ["a call that there is not", '{"call":1,"name":"toString"}\n'],
    ["a notice that there is not", '{"notice":"__proto__"}\n'],
    ["an answer to nothing", '{"answer":1,"value":0}\n'],
    ["an answer to a word", '{"answer":"1","value":0}\n'],
    ["a notice that cannot be right", '{"notice":"picky"}\n'],
  ])("%s", async (_, line) => {
    const { ended, say, messenger } = bare({
      notices: {
        picky: () => {
          throw new Error("not like that");
        },
      },
    });
    const waiting = messenger.call("x", {}, whole).catch((error: unknown) => error);
    await say(line.replace('"answer":1', '"answer":9'));
    expect(ended).toEqual([expect.stringMatching(/cannot be right/)]);
    expect(await waiting).toBeInstanceOf(Error);
    await expect(messenger.call("x", {}, whole)).rejects.toThrow(/cannot be right/);
  });

  test("bytes that are no UTF-8", async () => {
    const clock = createVirtualClock();
    const [near, far] = createMemoryStreamPair({ clock });
    const { ended } = side(near);
    far.write([Uint8Array.of(0xff, 0x0a)]);
    await clock.run();
    expect(ended).toEqual([expect.stringMatching(/cannot be right/)]);
  });

  test("a line without an end", async () => {
    const { ended, say } = bare();
    const piece = "a".repeat(1 << 18);
    for (let i = 0; i < 5; i++) await say(piece);
    expect(ended).toEqual([expect.stringMatching(/a line of more than/)]);
  });

  test("more calls than may be under way", async () => {
    const { ended, say } = bare({ calls: { wait: () => new Promise(() => {}) } });
    await say('{"call":1,"name":"wait"}\n'.repeat(4096));
    expect(ended).toEqual([]);
    await say('{"call":2,"name":"wait"}\n');
    expect(ended).toEqual([expect.stringMatching(/more than 4096 calls/)]);
  });

  test("who asks and does not read", async () => {
    const clock = createVirtualClock();
    const [near, far] = createMemoryStreamPair({ clock, highWaterBytes: 1 << 16 });
    far.pause();
    const { messenger, ended } = side(near);
    for (let i = 0; i < 2000 && ended.length === 0; i++) messenger.notify("x", "y".repeat(100));
    expect(ended).toEqual(["the other process does not read"]);
  });

  test("whatever comes: nothing is thrown, and what waits is told", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.string(), fc.json(), fc.constant("\n")), { maxLength: 20 }),
        async (texts) => {
          const { messenger, say } = bare();
          const waiting = messenger.call("x", {}, whole).then(
            () => "answered",
            () => "told",
          );
          for (const text of texts) await say(text);
          messenger.end("the test is over");
          expect(["answered", "told"]).toContain(await waiting);
        },
      ),
      { numRuns: 300 },
    );
  });
});
