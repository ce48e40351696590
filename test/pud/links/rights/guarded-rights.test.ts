import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LinkRights } from "../../../../src/pud/links/link-rights.js";
import { parseLink } from "../../../../src/pud/links/links.js";
import { guardedRights } from "../../../../src/pud/links/rights/guarded-rights.js";

const DIR = "/run/user/1000/rumpusb";
const ASKED = [
  "nbd",
  "nbd=127.0.0.1:10809",
  "nbd=/dev/nbd3",
  "raw=unix:/run/gps.sock",
  "pty",
  "pty=/run/gps",
  "tty-cuse=ttyGPS",
];

/** Rights that make everything, and what they were asked for. */
class Recorded {
  readonly calls: unknown[][] = [];
  readonly rights: LinkRights;
  #made = 0;

  constructor() {
    const call =
      (name: string, answer: () => object | boolean | undefined) =>
      (...args: unknown[]): Promise<never> => {
        this.calls.push([name, ...args]);
        return Promise.resolve(answer() as never);
      };
    this.rights = {
      listen: call("listen", () => ({ listener: ++this.#made, fd: -1 })),
      unlisten: call("unlisten", () => undefined),
      openTerminal: call("openTerminal", () => ({ terminal: ++this.#made, master: -1, uses: -1, device: "" })),
      nameTerminal: call("nameTerminal", () => ({ path: "" })),
      refuseOthers: call("refuseOthers", () => undefined),
      tidyTerminal: call("tidyTerminal", () => true),
      closeTerminal: call("closeTerminal", () => undefined),
      attachKernelNbd: call("attachKernelNbd", () => ({ attachment: ++this.#made })),
      detachKernelNbd: call("detachKernelNbd", () => undefined),
      openCuse: call("openCuse", () => ({ fd: -1 })),
    };
  }
}

function guarded(specs: readonly string[] | "none" = ASKED): { guard: LinkRights; calls: unknown[][] } {
  const { rights, calls } = new Recorded();
  return {
    guard: guardedRights(rights, { runtimeDir: DIR, specs: specs === "none" ? undefined : specs.map(parseLink) }),
    calls,
  };
}

/** Any method with any arguments, as another process may send them. */
function call(guard: LinkRights, name: keyof LinkRights, args: readonly unknown[]): Promise<unknown> {
  return (guard[name] as (...all: unknown[]) => Promise<unknown>).apply(guard, [...args]);
}

const REFUSED = { name: "LinkSetupError", code: "LINK_USAGE" };
const NBD = { device: "/dev/nbd3", socketPath: `${DIR}/sd0.nbd.sock`, exportName: "sd0", blockBytes: 4096 };

describe("what the user asked for is allowed", () => {
  test.each<[keyof LinkRights, unknown]>([
    ["listen", { host: "127.0.0.1", port: 10_809 }],
    ["listen", { unix: "/run/gps.sock" }],
    ["listen", { unix: `${DIR}/sd0.nbd.sock` }],
    ["listen", { unix: `${DIR}/sd999.nbd.sock` }],
    ["attachKernelNbd", NBD],
    ["openCuse", "ttyGPS"],
  ])("%s %j", async (name, argument) => {
    const { guard, calls } = guarded();
    await call(guard, name, [argument]);
    expect(calls).toEqual([[name, argument]]);
  });

  test.each([
    ["ttyU0", "/run/gps"],
    ["ttyU12", `${DIR}/ttyU12`],
  ])("a terminal of %s at %s", async (nodeName, path) => {
    const { guard, calls } = guarded();
    const [{ terminal }, other] = [await guard.openTerminal(), await guard.openTerminal()];
    await guard.nameTerminal(terminal, { nodeName, path });
    await guard.nameTerminal(other.terminal, { nodeName, path, replaces: terminal });
    await guard.refuseOthers(terminal);
    expect(await guard.tidyTerminal(terminal)).toBe(true);
    await guard.closeTerminal(terminal);
    await guard.closeTerminal(terminal);
    expect(calls.slice(2)).toEqual([
      ["nameTerminal", 1, { nodeName, path }],
      ["nameTerminal", 2, { nodeName, path, replaces: 1 }],
      ["refuseOthers", 1],
      ["tidyTerminal", 1],
      ["closeTerminal", 1],
    ]);
    await expect(guard.refuseOthers(terminal)).rejects.toMatchObject(REFUSED);
  });

  test("where nobody asked for a link: disks on sockets and lines as terminals, in the runtime directory", async () => {
    const { guard } = guarded("none");
    await guard.listen({ unix: `${DIR}/sd0.nbd.sock` });
    const { terminal } = await guard.openTerminal();
    await guard.nameTerminal(terminal, { nodeName: "ttyU0", path: `${DIR}/ttyU0` });
    for (const address of [{ host: "127.0.0.1", port: 10_809 }, { unix: `${DIR}/ttyU0.raw.sock` }])
      await expect(guard.listen(address)).rejects.toMatchObject(REFUSED);
  });

  test("a device of CUSE that is called like its node", async () => {
    const { guard, calls } = guarded(["tty-cuse"]);
    await guard.openCuse("ttyU0");
    for (const name of ["ttyGPS", "sd0", "tty0", "null"])
      await expect(guard.openCuse(name)).rejects.toMatchObject(REFUSED);
    expect(calls).toEqual([["openCuse", "ttyU0"]]);
  });
});

describe("everything else is refused", () => {
  test.each<[keyof LinkRights, unknown]>([
    ["listen", { host: "127.0.0.1", port: 10_810 }],
    ["listen", { host: "127.0.0.1", port: "10809" }],
    ["listen", { host: "0.0.0.0", port: 10_809 }],
    ["listen", { unix: "/run/gps.sock2" }],
    ["listen", { unix: `${DIR}/../sd0.nbd.sock` }],
    ["listen", { unix: `${DIR}/x/sd0.nbd.sock` }],
    ["listen", { unix: `${DIR}//sd0.nbd.sock` }],
    ["listen", { unix: `${DIR}/sd0.raw.sock` }],
    ["listen", { unix: `${DIR}/sd0.pty.sock` }],
    ["listen", { unix: `${DIR}/sd12345.nbd.sock` }],
    ["listen", { unix: `${DIR}/sd0.nbd.sock\n` }],
    ["listen", { unix: `${DIR}/bus.sock` }],
    ["listen", { unix: [`${DIR}/sd0.nbd.sock`] }],
    ["listen", undefined],
    ["listen", null],
    ["attachKernelNbd", { ...NBD, device: "/dev/nbd0" }],
    ["attachKernelNbd", { ...NBD, device: ["/dev/nbd3"] }],
    ["attachKernelNbd", { ...NBD, socketPath: "/run/docker.sock" }],
    ["attachKernelNbd", { ...NBD, exportName: "-d" }],
    ["attachKernelNbd", { ...NBD, exportName: "sd1" }],
    ["attachKernelNbd", { ...NBD, blockBytes: 513 }],
    ["attachKernelNbd", { ...NBD, blockBytes: "512" }],
    ["attachKernelNbd", null],
    ["openCuse", "ttyU0"],
    ["openCuse", "ttyGPS\0x"],
    ["openCuse", ["ttyGPS"]],
    ["openCuse", null],
  ])("%s %j", async (name, argument) => {
    const { guard, calls } = guarded();
    await expect(call(guard, name, [argument])).rejects.toMatchObject(REFUSED);
    expect(calls).toEqual([]);
  });

  test.each<[unknown, unknown]>([
    [1, { nodeName: "ttyU0", path: "/etc/passwd" }],
    [1, { nodeName: "ttyU0", path: `${DIR}/ttyU1` }],
    [1, { nodeName: "../ttyU0", path: `${DIR}/../ttyU0` }],
    [1, { nodeName: "x", path: "/run/gps" }],
    [1, { nodeName: ["ttyU0"], path: "/run/gps" }],
    [1, { nodeName: "ttyU0", path: "/run/gps", replaces: 7 }],
    [1, { nodeName: "ttyU0", path: "/run/gps", replaces: "1" }],
    [7, { nodeName: "ttyU0", path: "/run/gps" }],
    ["1", { nodeName: "ttyU0", path: "/run/gps" }],
    [1, null],
  ])("naming terminal %j as %j", async (terminal, place) => {
    const { guard, calls } = guarded();
    await guard.openTerminal();
    await expect(call(guard, "nameTerminal", [terminal, place])).rejects.toMatchObject(REFUSED);
    expect(calls).toHaveLength(1);
  });

  test("a terminal, a kernel device where no link is for it", async () => {
    const { guard, calls } = guarded(["nbd"]);
    await expect(guard.openTerminal()).rejects.toMatchObject(REFUSED);
    await expect(guard.attachKernelNbd(NBD)).rejects.toMatchObject(REFUSED);
    expect(calls).toEqual([]);
  });

  test("what it says names what was asked, as a text that can say nothing itself", async () => {
    const { guard } = guarded();
    const path = `/etc/\n${"x".repeat(1000)}`;
    const error: unknown = await guard.listen({ unix: path }).catch((thrown: unknown) => thrown);
    expect(String(error)).toMatch(/refused: listen on \{"unix":"\/etc\/\\nx+; the user asked/);
    expect(String(error).length).toBeLessThan(300);
  });

  const METHODS = Object.keys(new Recorded().rights) as (keyof LinkRights)[];

  test("whatever it is", async () => {
    const word = fc.constantFrom(DIR, `${DIR}/sd0.nbd.sock`, "/dev/nbd3", "sd0", "ttyU0", "ttyGPS", "/run/gps", 1, 512);
    const value = fc.oneof(word, fc.jsonValue({ maxDepth: 1 }), fc.constant(undefined));
    const keys = [
      "unix",
      "host",
      "port",
      "path",
      "nodeName",
      "replaces",
      "device",
      "exportName",
      "blockBytes",
      "__proto__",
    ];
    const record = fc.dictionary(fc.constantFrom(...keys), value);
    const one = fc.tuple(fc.constantFrom(...METHODS), fc.array(fc.oneof(value, record), { maxLength: 2 }));
    await fc.assert(
      fc.asyncProperty(fc.array(one, { maxLength: 20 }), async (asked) => {
        const { guard, calls } = guarded();
        for (const [name, args] of asked) {
          const before = calls.length;
          const error: unknown = await call(guard, name, args).then(
            () => undefined,
            (thrown: unknown) => thrown,
          );
          if (error !== undefined) expect(error).toMatchObject(REFUSED);
          for (const made of calls.slice(before)) expect(made).toSatisfy(isAllowed);
        }
      }),
      { numRuns: 300 },
    );
  });
});

/** A call that may reach the rights, by what they are for and not by how the guard finds out. */
function isAllowed([name, first, second]: unknown[]): boolean {
  const says = JSON.stringify(first);
  switch (name) {
    case "listen":
      return (
        says === '{"host":"127.0.0.1","port":10809}' ||
        /^\{"unix":"(\/run\/gps\.sock|\/run\/user\/1000\/rumpusb\/[a-zA-Z]+\d{1,4}\.nbd\.sock)"\}$/.test(says)
      );
    case "nameTerminal":
      return (
        typeof first === "number" &&
        /"path":"(\/run\/gps|\/run\/user\/1000\/rumpusb\/[a-zA-Z]+\d{1,4})"/.test(JSON.stringify(second))
      );
    case "attachKernelNbd":
      return /^\{"device":"\/dev\/nbd3","socketPath":"\/run\/user\/1000\/rumpusb\/sd0\.nbd\.sock","exportName":"sd0","blockBytes":512\}$/.test(
        says,
      );
    case "openCuse":
      return first === "ttyGPS";
    case "openTerminal":
      return first === undefined;
    default:
      return typeof first === "number";
  }
}

describe("there is a bound", () => {
  test("for sockets, and what was taken back makes room", async () => {
    const { guard } = guarded();
    const numbers: number[] = [];
    for (let unit = 0; unit < 1024; unit++)
      numbers.push((await guard.listen({ unix: `${DIR}/sd${unit}.nbd.sock` })).listener);
    const more = { unix: `${DIR}/sd1024.nbd.sock` };
    await expect(guard.listen(more)).rejects.toMatchObject(REFUSED);
    await guard.unlisten(numbers[0] ?? 0);
    await guard.unlisten(numbers[0] ?? 0);
    await guard.listen(more);
    await expect(guard.listen(more)).rejects.toMatchObject(REFUSED);
  });

  test("for terminals that are asked for at once", async () => {
    const { guard, calls } = guarded();
    const results = await Promise.allSettled(Array.from({ length: 2000 }, () => guard.openTerminal()));
    expect([results.filter(({ status }) => status === "fulfilled").length, calls.length]).toEqual([1024, 1024]);
  });

  test("for attachments: one for each device that the user named", async () => {
    const { guard } = guarded();
    const { attachment } = await guard.attachKernelNbd(NBD);
    await expect(guard.attachKernelNbd(NBD)).rejects.toMatchObject(REFUSED);
    await guard.detachKernelNbd(attachment);
    await guard.attachKernelNbd(NBD);
  });

  test("a number of one kind is none of another", async () => {
    const { guard, calls } = guarded();
    const { listener } = await guard.listen({ unix: "/run/gps.sock" });
    await guard.closeTerminal(listener);
    await guard.detachKernelNbd(listener);
    await expect(guard.refuseOthers(listener)).rejects.toMatchObject(REFUSED);
    expect(calls).toHaveLength(1);
  });
});

test("devices of CUSE are made one after another: each holds descriptors until it is there", async () => {
  let underWay = 0;
  let most = 0;
  const { rights } = new Recorded();
  const slow: LinkRights = {
    ...rights,
    openCuse: async (name) => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 1));
      underWay--;
      if (name === "ttyU3") throw new Error("not this one");
      return { fd: -1 };
    },
  };
  const guard = guardedRights(slow, { runtimeDir: DIR, specs: [parseLink("tty-cuse")] });
  const names = Array.from({ length: 20 }, (_, unit) => `ttyU${unit}`);
  const made = await Promise.allSettled(names.map((name) => guard.openCuse(name)));
  expect(most).toBe(1);
  expect(made.filter(({ status }) => status === "rejected")).toHaveLength(1);
});
