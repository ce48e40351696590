/** Pseudo terminals whose rights are far away: what they do takes time, and programs come and go meanwhile. */
import { closeSync, constants, openSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { errnoOf, LinkSetupError } from "../../../../src/pud/links/errors.js";
import type { LinkRights, OpenTerminal } from "../../../../src/pud/links/link-rights.js";
import { LocalRights } from "../../../../src/pud/links/rights/local-rights.js";
import { SerialProgram } from "../serial-program.js";
import { PtyRig } from "./rig.js";

/** Each call takes time before and after it is done; a terminal that is opened for a moment is open all the while. */
class SlowRights {
  readonly asked: string[] = [];
  /** Of those to come, fails. */
  refused: Error | undefined;
  readonly rights: LinkRights;
  readonly #devices = new Map<number, string>();

  constructor(ms: number) {
    const local = new LocalRights();
    this.rights = new Proxy<LinkRights>(local, {
      get:
        (_target, name: keyof LinkRights) =>
        async (...args: unknown[]) => {
          this.asked.push(name);
          await delay(ms);
          if (name === "openTerminal" && this.refused !== undefined) throw this.refused;
          const close = this.#open(name, args[0]);
          await delay(ms);
          close();
          const result = await (local[name] as (...all: unknown[]) => Promise<unknown>).apply(local, args);
          if (name === "openTerminal")
            this.#devices.set((result as OpenTerminal).terminal, (result as OpenTerminal).device);
          await delay(ms);
          return result;
        },
    });
  }

  #open(name: keyof LinkRights, terminal: unknown): () => void {
    const device = this.#devices.get(Number(terminal));
    if (device === undefined || (name !== "refuseOthers" && name !== "tidyTerminal")) return () => undefined;
    try {
      const fd = openSync(device, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
      return () => closeSync(fd);
    } catch (error) {
      if (errnoOf(error) === "EBUSY") return () => undefined; // kept for one program, and this user may not open it
      throw error;
    }
  }
}

const open = ({ path }: PtyRig): string => `fd = open_raw(${JSON.stringify(path)})`;

test("a terminal that the rights hold open for a moment is no program that came back", async () => {
  const slow = new SlowRights(10);
  await using rig = await PtyRig.start({ rights: slow.rights });
  await using program = await rig.program();
  await delay(600);
  rig.tty.hold(true);
  await program.run("os.write(fd, b'last words'), os.close(fd)");
  await delay(150);
  expect(rig.tty.calls).not.toContain("close");
  rig.tty.hold(false);
  await rig.called("close");
  await delay(100);
  expect(String(rig.tty.sentBytes)).toBe("last words");
  expect(rig.tty.calls.filter((call) => call.startsWith("open"))).toEqual([]);
  expect(slow.asked.filter((call) => call === "tidyTerminal")).toHaveLength(1);
});

test("a program that comes while it is made tidy goes on with the line, and is not flushed", async () => {
  await using rig = await PtyRig.start({ rights: new SlowRights(30).rights });
  await using program = await rig.program();
  await program.run("os.close(fd)");
  await delay(35);
  await program.run(open(rig));
  await program.run("os.write(fd, b'early')");
  await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("early"));
  rig.tty.arrive("answer");
  expect(await program.run("read_all(fd, 6)")).toBe("answer");
});

test("a line that is lost hangs up, and the terminal that replaces it has the name when it is there", async () => {
  await using rig = await PtyRig.start({ rights: new SlowRights(20).rights });
  const before = await readlink(rig.path);
  await using program = await rig.program();
  await program.run("os.write(fd, b'x')");
  rig.tty.fail();
  expect(await program.run("select.select([fd], [], [], 5)[0] == [fd] and os.read(fd, 1)")).toBe("");
  expect(await readlink(rig.path)).not.toBe(before);
  await program.run("os.close(fd)");
  await using next = await rig.program();
  await next.run("os.write(fd, b'again')");
  await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toMatch(/again$/));
});

test("the old terminal is left in peace until the new one is there: no turns of the loop are burnt", async () => {
  await using rig = await PtyRig.start({ rights: new SlowRights(200).rights });
  await using program = await rig.program();
  await program.run("os.write(fd, b'x')");
  const before = process.cpuUsage();
  rig.tty.fail();
  await program.run("os.write(fd, b'unread'), select.select([fd], [], [], 5)");
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000).toBeLessThan(200);
});

test.each([0, 10, 30, 50, 70, 90, 120])("removed %i ms after its line was lost, it leaves nothing", async (afterMs) => {
  await using rig = await PtyRig.start({ rights: new SlowRights(15).rights });
  await using program = await rig.program();
  rig.tty.fail();
  await delay(afterMs);
  await Promise.all([rig.node.remove("unplugged"), rig.node.remove("again")]);
  expect(await readdir(rig.folder)).toEqual([]);
  expect(await program.run("os.read(fd, 1)")).toBe("");
});

test("where none can be had for a while, it is asked for again, and removal ends that", async () => {
  const slow = new SlowRights(5);
  await using rig = await PtyRig.start({ rights: slow.rights });
  await using program = await rig.program();
  const cause = Object.assign(new Error("too many open files"), { code: "EMFILE" });
  slow.refused = new LinkSetupError("LINK_FAILED", "no pseudo terminal", { cause });
  rig.tty.fail();
  await vi.waitFor(() => expect(rig.log.join()).toContain("no new pseudo terminal"));
  expect([await program.run("os.read(fd, 1)"), await readdir(rig.folder)]).toEqual(["", []]);
  slow.refused = undefined;
  await vi.waitFor(async () => expect(await readdir(rig.folder)).toEqual(["ttyU0"]), { timeout: 4000 });
  await using next = await rig.program();
  await next.run("os.write(fd, b'back')");
  await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("back"));
});

test("rights that fail in use cost the visit, not the line", async () => {
  const slow = new SlowRights(1);
  const rights = new Proxy<LinkRights>(slow.rights, {
    get: (target, name: keyof LinkRights) =>
      name === "tidyTerminal"
        ? () => Promise.reject(new LinkSetupError("LINK_FAILED", "not today"))
        : (target[name] as () => unknown),
  });
  await using rig = await PtyRig.start({ rights });
  await using first = await rig.program();
  await first.run("os.close(fd)");
  await rig.called("close");
  expect(rig.log.join()).toContain("not today");
  await using second = new SerialProgram();
  await vi.waitFor(() => second.run(open(rig)));
  await second.run("os.write(fd, b'x')");
  await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("x"));
});
