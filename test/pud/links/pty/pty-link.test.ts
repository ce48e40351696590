import { lstat, readdir, readlink, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { openLink, parseLink } from "../../../../src/pud/links/links.js";
import { linkContext } from "../../../fakes/link-context.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { requireTool, runTool } from "../../../tools.js";
import { SerialProgram } from "../serial-program.js";
import { PtyRig } from "./rig.js";

describe("opened and closed", () => {
  test("the line is opened with the first open, DTR and RTS up, and closed with the last close", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    expect(rig.tty.port?.outputs).toEqual({ dtr: true, rts: true });
    await rig.called("open 9600");
    await program.run("os.close(fd)");
    await rig.called("close");
  });

  test("before that nothing of the line is used", async () => {
    await using rig = await PtyRig.start();
    rig.tty.arrive("nobody reads this");
    await delay(100);
    expect([rig.tty.calls, rig.tty.waitingBytes]).toEqual([[], 17]);
  });

  test("bytes go both ways, as they are", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    const all = Uint8Array.from({ length: 256 }, (_, index) => index);
    await program.run("os.write(fd, bytes(range(256)))");
    await vi.waitFor(() => expect(rig.tty.sentBytes).toEqual(Buffer.from(all)));
    rig.tty.arrive(all);
    expect(await program.run("read_all(fd, 256)")).toBe(Buffer.from(all).toString("latin1"));
  });

  test("what is written before a close goes out before the line is closed", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.write(fd, b'last words'), os.close(fd)");
    await delay(100);
    expect(rig.tty.calls).not.toContain("close");
    rig.tty.hold(false);
    await rig.called("drain");
    await rig.called("close");
    expect(String(rig.tty.sentBytes)).toBe("last words");
  });

  test("what arrives while that goes out is thrown away: the device is not held", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.write(fd, b'x'), os.close(fd)");
    await delay(50);
    rig.tty.arrive(new Uint8Array(300_000));
    expect(rig.tty.waitingBytes).toBe(0);
    rig.tty.hold(false);
    await rig.called("close");
  });

  test("who opens it while that goes out goes on with the line", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.write(fd, b'one '), os.close(fd)");
    await delay(50);
    await program.run(`fd = open_raw(${JSON.stringify(rig.path)})`);
    await program.run("os.write(fd, b'two')");
    await delay(50);
    rig.tty.hold(false);
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("one two"));
    expect(rig.tty.calls).not.toContain("close");
  });

  test("a program that switches HUPCL off leaves the line open, and what came meanwhile is for nobody", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.run("modes(fd, cflag=modes(fd)[2] & ~termios.HUPCL); os.write(fd, b'x'); os.close(fd)");
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("x"));
    await delay(50);
    expect(rig.tty.calls).not.toContain("close");
    rig.tty.arrive("lost");
    await program.run(`fd = open_raw(${JSON.stringify(rig.path)})`);
    await delay(50);
    rig.tty.arrive("seen");
    expect(await program.run("read_all(fd, 4)")).toBe("seen");
    await program.run("modes(fd, cflag=modes(fd)[2] | termios.HUPCL); os.close(fd)");
    await rig.called("close");
    expect(rig.tty.calls).not.toContain("open 9600");
  });

  test("what a program did not read is not for the next one", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.arrive("unread");
    await program.run("select.select([fd], [], [], 5); os.close(fd)");
    await rig.called("close");
    await program.run(`fd = open_raw(${JSON.stringify(rig.path)})`);
    await rig.called("open 9600");
    rig.tty.arrive("new");
    expect(await program.run("read_all(fd, 3)")).toBe("new");
  });

  test("a program that opens, writes and closes at once is served", async () => {
    await using rig = await PtyRig.start();
    for (const word of ["one", "two", "three"]) await writeFile(rig.path, word);
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("onetwothree"));
    await rig.called("close");
  });
});

describe("settings", () => {
  test.each([
    ["rate(fd, 250000)", "configure 250000 8 none 1 none"],
    ["modes(fd, ispeed=termios.B115200, ospeed=termios.B115200)", "configure 115200 8 none 1 none"],
    ["modes(fd, cflag=modes(fd)[2] | termios.CSTOPB)", "configure 9600 8 none 2 none"],
    ["modes(fd, cflag=modes(fd)[2] | termios.CRTSCTS)", "configure 9600 8 none 1 rtsCts"],
    ["modes(fd, iflag=termios.IXON | termios.IXOFF)", "configure 9600 8 none 1 xonXoff"],
  ])("%s: %s, within 50 ms", async (line, call) => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    const before = performance.now();
    await program.run(line);
    await rig.called(call);
    expect(performance.now() - before).toBeLessThan(50);
  });

  test("stty's settings stay for the next program", async (context) => {
    await using rig = await PtyRig.start();
    const stty = requireTool("stty", context);
    expect(await runTool(stty, ["-F", rig.path, "57600", "cstopb"])).toMatchObject({ exitCode: 0, stderr: "" });
    await writeFile(rig.path, "AT\r");
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("AT\r"));
    expect((await runTool(stty, ["-F", rig.path, "speed"])).stdout).toBe("57600\n");
    expect(rig.tty.calls).toContain("open 57600");
  });

  test("bytes written before new settings go out before them", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.write(fd, b'slow')");
    await delay(50);
    await program.run("rate(fd, 19200)");
    await program.run("os.write(fd, b'fast')");
    await delay(100);
    expect(rig.tty.calls.filter((call) => call.startsWith("configure"))).toEqual([]);
    rig.tty.hold(false);
    await rig.called("configure 19200 8 none 1 none");
    await vi.waitFor(() => expect(rig.tty.sent.map((part) => Buffer.from(part).toString())).toEqual(["slow", "fast"]));
  });

  test("bytes that cannot go out hold new settings up for a second", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.write(fd, b'held'); time.sleep(0.05); modes(fd, cflag=modes(fd)[2] | termios.CRTSCTS)");
    await rig.called("configure 9600 8 none 1 rtsCts", 3000);
    rig.tty.hold(false);
  });

  test("a rate that cannot be becomes the nearest, and the program sees it", async () => {
    await using rig = await PtyRig.start({ tty: new MemoryTty({ maxBaud: 230_400 }) });
    await using program = await rig.program();
    await program.run("rate(fd, 4000000)");
    await rig.called("configure 230400 8 none 1 none");
    await vi.waitFor(async () => expect(await program.run("rate_of(fd)")).toBe(230_400));
    await program.run("os.close(fd)");
    await rig.called("close");
  });

  test("B0 lets DTR and RTS fall, any other rate raises them", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.run("modes(fd, ispeed=0, ospeed=termios.B0)");
    await rig.called("outputs dtr=false rts=false");
    await program.run("modes(fd, ispeed=termios.B4800, ospeed=termios.B4800)");
    await rig.called("configure 4800 8 none 1 none");
    await rig.called("outputs dtr=true rts=true");
  });

  test("the kernel keeps data bits and parity from a pseudo terminal; the link's place says them", async () => {
    await using rig = await PtyRig.start({ where: "7E" });
    await using program = await rig.program();
    await program.run(
      "modes(fd, cflag=(modes(fd)[2] & ~termios.CSIZE) | termios.CS6 | termios.PARENB | termios.PARODD)",
    );
    await program.run("rate(fd, 2400)");
    await rig.called("configure 2400 7 even 1 none");
  });

  test("many changes in a row end with the last", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.run("[rate(fd, 1000 + n) for n in range(1000)]");
    await rig.called("configure 1999 8 none 1 none");
    await delay(50);
    expect(rig.tty.port?.settings.baud).toBe(1999);
  });

  test.each([
    ["TCIFLUSH", "flush in"],
    ["TCOFLUSH", "flush out"],
    ["TCIOFLUSH", "flush both"],
  ])("tcflush %s: %s", async (queue, call) => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.run(`termios.tcflush(fd, termios.${queue})`);
    await rig.called(call);
  });

  test("a flush frees a writer that the line holds", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.set_blocking(fd, False)");
    await fillUp(program);
    await program.run("termios.tcflush(fd, termios.TCOFLUSH)");
    await rig.called("flush out");
    rig.tty.hold(false);
    await vi.waitFor(async () => expect(await program.run("os.write(fd, b'after')")).toBe(5));
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toMatch(/after$/));
  });

  test("a program that wants lines and echo gets them from the terminal, and raw bytes when it wants those again", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.run("modes(fd, iflag=termios.ICRNL, lflag=termios.ICANON | termios.ECHO)");
    await delay(100);
    rig.tty.arrive("user");
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("user"));
    expect(await program.run("select.select([fd], [], [], 0.05)[0]")).toEqual([]);
    rig.tty.arrive("\r");
    expect(await program.run("os.read(fd, 100)")).toBe("user\n");
    await program.run("modes(fd, iflag=0, lflag=0)");
    await program.run("os.write(fd, b'x')");
    await delay(100);
    await program.run("rate(fd, 1200)");
    await rig.called("configure 1200 8 none 1 none");
    rig.tty.arrive("\r");
    expect(await program.run("os.read(fd, 100)")).toBe("\r");
  });

  test("a program that knows nothing of EXTPROC and clears it is seen all the same", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.run("modes(fd, lflag=0); rate(fd, 1800)");
    await rig.called("configure 1800 8 none 1 none");
    await delay(100);
    await program.run("rate(fd, 2400)");
    await rig.called("configure 2400 8 none 1 none");
  });
});

describe("more than can be taken", () => {
  test("a writer waits while the line is held, and nothing is lost", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.hold(true);
    await program.run("os.set_blocking(fd, False)");
    const written = await fillUp(program);
    expect(written).toBeLessThan(256 * 1024);
    rig.tty.hold(false);
    await vi.waitFor(() => expect(rig.tty.sentBytes.length).toBe(written));
    expect(rig.tty.sentBytes.every((byte, index) => byte === index % 251)).toBe(true);
  });

  test("the device is held while a program does not read, and nothing is lost", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    const bytes = 1_000_003;
    rig.tty.arrive(Uint8Array.from({ length: bytes }, (_, index) => index % 251));
    await delay(100);
    expect(rig.tty.waitingBytes).toBeGreaterThan(bytes - 256 * 1024);
    const check = `(lambda data: len(data) == ${bytes} and all(b == i % 251 for i, b in enumerate(data)))(read_all(fd, ${bytes}))`;
    expect(await program.run(check)).toBe(true);
  });

  test("flushed input makes room for as much", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    for (let round = 0; round < 4; round++) {
      rig.tty.arrive(new Uint8Array(300_000));
      await delay(50);
      await program.run("termios.tcflush(fd, termios.TCIFLUSH)");
      await rig.called("flush in");
    }
    rig.tty.arrive("end");
    await vi.waitFor(async () => expect(await program.run("os.read(fd, 4096)")).toMatch(/end$/), { timeout: 3000 });
  });
});

describe("the end", () => {
  test("a device that goes hangs programs up at once", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    rig.tty.fail();
    expect(await program.run("select.select([fd], [], [], 5)[0] == [fd] and os.read(fd, 1)")).toBe("");
    await expect(program.run("os.write(fd, b'x')")).rejects.toThrow("EIO");
    expect(rig.log.join()).toContain("unplugged");
  });

  test("a line that cannot be opened hangs the program up, and the next may try again", async () => {
    const tty = new MemoryTty();
    await using rig = await PtyRig.start({ tty });
    const other = await tty.open(
      {
        settings: { baud: 300, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
        outputs: { dtr: false, rts: false },
      },
      { received: () => undefined, changed: () => undefined, closed: () => undefined },
    );
    await using program = new SerialProgram();
    await program.run(`fd = open_raw(${JSON.stringify(rig.path)})`);
    expect(await program.run("select.select([fd], [], [], 5)[0] == [fd] and os.read(fd, 1)")).toBe("");
    await other.close();
    await using second = await rig.program();
    await second.run("os.write(fd, b'mine')");
    await vi.waitFor(() => expect(String(tty.sentBytes)).toBe("mine"));
  });

  test("a node that is removed hangs programs up and leaves nothing", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await rig.node.remove("unplugged");
    expect(await program.run("os.read(fd, 1)")).toBe("");
    expect([await readdir(rig.folder), rig.tty.port]).toEqual([[], undefined]);
    await rig.node.remove("again");
  });

  test("a program that is killed closes the line", async () => {
    await using rig = await PtyRig.start();
    await using program = await rig.program();
    await program.kill();
    await rig.called("close");
  });
});

describe("who may have it", () => {
  test("the terminal is its user's alone", async () => {
    await using rig = await PtyRig.start();
    expect(await stat(rig.path)).toMatchObject({ uid: process.getuid?.(), mode: 0o20600 });
  });

  test("a second program is refused while the first stays, and admitted after it", async () => {
    await using rig = await PtyRig.start();
    await using first = await rig.program({ ordinary: true });
    await using second = new SerialProgram({ ordinary: true });
    const open = `fd = open_raw(${JSON.stringify(rig.path)})`;
    await delay(700);
    await expect(second.run(open)).rejects.toThrow("EBUSY");
    await first.run("os.close(fd)");
    await rig.called("close");
    await second.run(open);
    await rig.called("open 9600");
  });

  test("a program that keeps the line to itself (TIOCEXCL) and ends does not keep it for ever", async () => {
    await using rig = await PtyRig.start();
    await using first = await rig.program({ ordinary: true });
    await first.run("fcntl.ioctl(fd, termios.TIOCEXCL)");
    await first.kill();
    await rig.called("close");
    await using second = await rig.program({ ordinary: true });
    await second.run("os.write(fd, b'x')");
    await vi.waitFor(() => expect(String(rig.tty.sentBytes)).toBe("x"));
  });

  test("the link refuses what it cannot serve", async () => {
    await using rig = await PtyRig.start();
    await expect(rig.link.serve("ttyU0", rig.tty)).rejects.toMatchObject({ code: "LINK_IN_USE" });
    const input = { kind: "input", reportDescriptor: new Uint8Array() } as const;
    const device = { ...input, onReport: () => undefined, setReport: () => Promise.resolve() };
    await expect(rig.link.serve("ums0", device)).rejects.toMatchObject({ code: "LINK_USAGE" });
  });
});

describe("the name", () => {
  test("leads to the terminal; a path that is a folder takes the node's name, any other is the name", async () => {
    await using rig = await PtyRig.start({ where: "FOLDER/gps" });
    expect(rig.path).toBe(join(rig.folder, "gps"));
    expect(await readlink(rig.path)).toMatch(/^\/dev\/pts\/\d+$/);
    await expect(rig.link.serve("ttyU1", new MemoryTty())).rejects.toMatchObject({ code: "LINK_IN_USE" });
    const many = await openLink(parseLink(`pty=${rig.folder}`), linkContext("/nowhere"));
    const nodes = [await many.serve("ttyU0", new MemoryTty()), await many.serve("ttyU1", new MemoryTty())];
    expect(nodes.map(({ path }) => path)).toEqual([join(rig.folder, "ttyU0"), join(rig.folder, "ttyU1")]);
    await many.close();
  });

  test("replaces the name that an ended process has left, and that of one whose number a shell has now", async () => {
    await using rig = await PtyRig.start();
    const path = join(rig.folder, "ttyU1");
    await symlink("/dev/pts/999999", path);
    const node = await rig.link.serve("ttyU1", new MemoryTty());
    expect(await readlink(path)).not.toBe("/dev/pts/999999");
    await node.remove("done");
  });

  test.each([
    ["a file", (path: string) => writeFile(path, "mine")],
    ["a link to something else", (path: string) => symlink("/etc/hostname", path)],
  ])("leaves %s alone", async (_what, make) => {
    await using rig = await PtyRig.start();
    const path = join(rig.folder, "ttyU1");
    await make(path);
    await expect(rig.link.serve("ttyU1", new MemoryTty())).rejects.toMatchObject({ code: "LINK_IN_USE" });
    expect((await lstat(path)).isFile() || (await readlink(path)) === "/etc/hostname").toBe(true);
  });

  test("is refused while another link serves it", async () => {
    await using rig = await PtyRig.start();
    const other = await openLink(parseLink("pty"), linkContext(rig.folder));
    await expect(other.serve("ttyU0", new MemoryTty())).rejects.toMatchObject({ code: "LINK_IN_USE" });
    const nowhere = await openLink(parseLink("pty=/nowhere/ttyU0"), linkContext(rig.folder));
    await expect(nowhere.serve("ttyU0", new MemoryTty())).rejects.toMatchObject({ code: "LINK_USAGE" });
  });

  test.each([
    ["pty", { path: undefined, framing: { dataBits: 8, parity: "none" } }],
    ["pty=/run/gps", { path: "/run/gps", framing: { dataBits: 8, parity: "none" } }],
    ["pty=7o", { path: undefined, framing: { dataBits: 7, parity: "odd" } }],
    ["pty=/run/a,b,8E", { path: "/run/a,b", framing: { dataBits: 8, parity: "even" } }],
    ["pty=/run/a,b", { path: "/run/a,b", framing: { dataBits: 8, parity: "none" } }],
  ])("%s", async (text, where) => {
    expect(parseLink(text)).toEqual({ kind: "pty", where });
  });

  test.each(["pty=gps", "pty=9N", "pty=,7E"])("%s cannot be", async (text) => {
    expect(() => parseLink(text)).toThrow(/absolute/);
  });
});

/** Writes until the line takes no more: byte n is n mod 251. @returns how many bytes were taken */
async function fillUp(program: SerialProgram): Promise<number> {
  const source =
    "taken = 0\\nquiet = 0\\nwhile quiet < 20:\\n try: taken += os.write(fd, bytes((taken + i) % 251 for i in range(1000))); quiet = 0\\n except BlockingIOError: quiet += 1; time.sleep(0.01)";
  await program.run(`exec("${source}", globals())`);
  return Number(await program.run("taken"));
}
