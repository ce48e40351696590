import { describe, expect, test, type TestContext } from "vitest";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { requireTool, runTool } from "../../../tools.js";
import { serveOnTcp, until, type LinkRig } from "../serial/rig.js";

/** Runs lines of Python with `port` open on the line. What they print is returned. */
async function pyserial(
  context: TestContext,
  { port }: LinkRig,
  lines: readonly string[],
  open = "timeout=5",
): Promise<string> {
  const python = await pythonWithPyserial(context);
  const script = [
    "import serial, time",
    `port = serial.serial_for_url('rfc2217://127.0.0.1:${port}', ${open})`,
    ...lines,
    "port.close()",
  ];
  const { exitCode, stdout, stderr } = await runTool(python, ["-W", "ignore", "-c", script.join("\n")]);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  return stdout;
}

/** The first Python that has pyserial: a distribution's package is for the distribution's own Python. */
async function pythonWithPyserial(context: TestContext): Promise<string> {
  for (const python of ["/usr/bin/python3", requireTool("python3", context)]) {
    const { exitCode } = await runTool(python, ["-c", "import serial"]).catch(() => ({ exitCode: 1 }));
    if (exitCode === 0) return python;
  }
  if (process.env["CI"] === "true") throw new Error("pyserial is not installed, and in CI it must be");
  return context.skip("pyserial is not installed");
}

describe("pyserial", () => {
  test("opens the line with its settings, and closes it", async (context) => {
    await using rig = await serveOnTcp("rfc2217=tcp:0");
    const open = "baudrate=57600, bytesize=7, parity='E', stopbits=2, rtscts=True";
    await pyserial(context, rig, [], open);
    await until(() => rig.tty.port === undefined);
    expect(rig.tty.calls).toEqual([
      "open 115200",
      "configure 57600 8 none 1 none",
      "configure 57600 7 none 1 none",
      "configure 57600 7 even 1 none",
      "configure 57600 7 even 2 none",
      "configure 57600 7 even 2 rtsCts",
      "outputs dtr=true rts=true",
      "flush in",
      "flush out",
      "drain",
      "close",
    ]);
    expect(rig.log.entries.filter((entry) => !entry.startsWith("debug"))).toEqual([]);
  });

  test("every byte there and back", async (context) => {
    const tty = new MemoryTty();
    tty.loopback = true;
    await using rig = await serveOnTcp("rfc2217=tcp:0", tty);
    const stdout = await pyserial(context, rig, [
      "data = bytes(range(256)) * 64",
      "port.write(data)",
      "print(port.read(len(data)) == data)",
    ]);
    expect(stdout).toBe("True\n");
    expect(tty.sentBytes).toEqual(Buffer.concat(Array.from({ length: 64 }, () => Buffer.from([...Array(256).keys()]))));
  });

  test("reads the modem lines, and is told of changes", async (context) => {
    const tty = new MemoryTty();
    tty.setLines({ cts: true, dcd: true });
    await using rig = await serveOnTcp("rfc2217=tcp:0", tty);
    const print = "print(port.cts, port.dsr, port.ri, port.cd, flush=True)";
    const running = pyserial(context, rig, [
      print,
      "port.dtr = False",
      "while port.cts: time.sleep(0.01)",
      print,
      "port.rts = False",
    ]);
    await until(() => tty.calls.includes("outputs dtr=false rts=true"));
    tty.setLines({ cts: false, dsr: true, ri: true });
    expect(await running).toBe("True False False True\nFalse True True True\n");
    expect(tty.calls).toContain("outputs dtr=false rts=false");
  });

  test("changes settings, sends a break, purges", async (context) => {
    await using rig = await serveOnTcp("rfc2217=tcp:0");
    await pyserial(context, rig, [
      "port.baudrate = 230400",
      "port.xonxoff = True",
      "port.send_break(0.05)",
      "port.reset_output_buffer()",
    ]);
    const calls = rig.tty.calls.slice(rig.tty.calls.indexOf("flush out"));
    expect(calls.filter((call) => !call.startsWith("configure"))).toEqual([
      "flush out",
      "break on",
      "break off",
      "flush out",
      "drain",
      "close",
    ]);
    expect(calls).toContain("configure 230400 8 none 1 none");
    expect(calls).toContain("configure 230400 8 none 1 xonXoff");
  });

  test("is told that the device cannot make a rate", async (context) => {
    await using rig = await serveOnTcp("rfc2217=tcp:0");
    const stdout = await pyserial(context, rig, [
      "try:",
      "    port.baudrate = 4000000",
      "except ValueError as refused:",
      "    print(refused)",
    ]);
    expect(stdout).toMatch(/rejected value/);
  });

  test("a second client is refused", async (context) => {
    await using rig = await serveOnTcp("rfc2217=tcp:0");
    const stdout = await pyserial(context, rig, [
      "try:",
      `    serial.serial_for_url('rfc2217://127.0.0.1:${rig.port}?timeout=1')`,
      "except OSError:",
      "    print('refused')",
    ]);
    expect(stdout).toBe("refused\n");
    expect(rig.log.entries).toContain("warn rfc2217: client refused: ttyU0 is in use");
  });
});
