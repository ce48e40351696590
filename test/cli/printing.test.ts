import { describe, expect, test } from "vitest";
import { formatBytes, humanPrinter, jsonPrinter, quote } from "../../src/cli/event-printer.js";
import { reportFailure } from "../../src/cli/output.js";
import { table } from "../../src/cli/table.js";
import { HostError, type HostErrorCode } from "../../src/host/errors.js";
import type { HostEvent } from "../../src/host/events.js";
import { CollectedOutput } from "./collected-output.js";

const URI = "nbd+unix:///sd0?socket=/run/user/7/rumpusb/sd0.nbd.sock";
const EVENTS: readonly HostEvent[] = [
  {
    event: "device",
    device: "1-1",
    vendor: "0951",
    product: "1666",
    driver: "umass0",
    pid: 42,
    mode: "overlap (default)",
  },
  { event: "node", node: "sd0", kind: "disk", device: "1-1", size: 16 << 20, blockBytes: 512, readOnly: true },
  { event: "link", node: "sd0", link: "nbd", uri: URI },
  { event: "ready", nodes: ["sd0"] },
  { event: "demotion", device: "1-1", mode: "sequence", reason: "CSW: tag 9, sent 8" },
  { event: "log", level: "warn", source: "1-1 umass0", message: "slow" },
  { event: "error", code: "DRIVER", message: "1-1: bad", device: "1-1" },
  { event: "node-gone", node: "sd0", device: "1-1", reason: "unplugged" },
  { event: "detach", device: "1-1" },
];

describe("events", () => {
  test("for programs: one object a line, exactly as documented; talk and errors also on stderr", () => {
    const output = new CollectedOutput();
    EVENTS.forEach(jsonPrinter(output));
    expect(output.lines).toEqual([
      '{"event":"device","device":"1-1","vendor":"0951","product":"1666","driver":"umass0","pid":42,"mode":"overlap (default)"}',
      '{"event":"node","node":"sd0","kind":"disk","device":"1-1","size":16777216,"blockBytes":512,"readOnly":true}',
      `{"event":"link","node":"sd0","link":"nbd","uri":"${URI}"}`,
      '{"event":"ready","nodes":["sd0"]}',
      '{"event":"demotion","device":"1-1","mode":"sequence","reason":"CSW: tag 9, sent 8"}',
      '{"event":"error","code":"DRIVER","message":"1-1: bad","device":"1-1"}',
      '{"event":"node-gone","node":"sd0","device":"1-1","reason":"unplugged"}',
      '{"event":"detach","device":"1-1"}',
    ]);
    expect(output.spoken).toEqual(["1-1 umass0: slow", "rumpusb: 1-1: bad"]);
  });

  test("commands are for a shell, whatever a path has in it; what an address hides is printable", () => {
    const output = new CollectedOutput();
    const uri = "nbd+unix:///sd0?socket=/tmp/%1b%5b2J%0areboot.sock";
    humanPrinter(output)({ event: "link", node: "sd0", link: "nbd", uri });
    humanPrinter(output)({ event: "link", node: "sd0", link: "nbd", uri, path: "/dev/nbd0; reboot" });
    expect(output.lines.slice(-3)).toEqual([
      "  kernel      sudo nbd-client -unix '/tmp/?[2J?reboot.sock' /dev/nbd0 -name sd0 && sudo mount /dev/nbd0 /mnt",
      "sd0: nbd /dev/nbd0; reboot",
      "  mount it    sudo mount '/dev/nbd0; reboot' /mnt",
    ]);
  });

  test("for people: what there is, and the commands to look at it", () => {
    const output = new CollectedOutput();
    EVENTS.forEach(humanPrinter(output));
    expect(output.lines).toEqual([
      "1-1: 0951:1666, driver umass0 in process 42, overlap (default)",
      "sd0: disk of 16.0 MiB, blocks of 512 bytes, read-only on 1-1",
      `sd0: nbd ${URI}`,
      `  look at it  nbdinfo '${URI}'`,
      `  copy it     nbdcopy '${URI}' sd0.img`,
      "  kernel      sudo nbd-client -unix /run/user/7/rumpusb/sd0.nbd.sock /dev/nbd0 -name sd0 && sudo mount /dev/nbd0 /mnt",
      "Ready. Ctrl-C ends it.",
      "1-1: mode sequence from now on (CSW: tag 9, sent 8)",
      "sd0: gone (unplugged)",
      "1-1: detached",
    ]);
    expect(output.spoken).toEqual(["1-1 umass0: slow", "rumpusb: 1-1: bad"]);
  });

  test("a kernel device is mounted by its path; nothing there yet is waited for", () => {
    const output = new CollectedOutput();
    const print = humanPrinter(output);
    print({ event: "link", node: "sd0", link: "nbd", uri: URI, path: "/dev/nbd0" });
    print({ event: "ready", nodes: [] });
    expect(output.lines).toEqual([
      "sd0: nbd /dev/nbd0",
      "  mount it    sudo mount /dev/nbd0 /mnt",
      "Waiting for a device, or a medium in it. Ctrl-C ends it.",
    ]);
  });
});

describe("failures", () => {
  test.each([
    ["USAGE", 2],
    ["NO_SUCH_DEVICE", 3],
    ["NOT_PERMITTED", 4],
    ["SANDBOX_UNAVAILABLE", 5],
    ["DEVICE_BUSY", 1],
    ["NO_RESOURCES", 1],
    ["FAILED", 1],
  ] as const)("%s exits with %i", (code: HostErrorCode, status) => {
    const output = new CollectedOutput();
    expect(reportFailure(new HostError(code, "what and why"), false, output)).toBe(status);
    expect(output).toMatchObject({ lines: [], spoken: ["rumpusb: what and why"] });
  });

  test("with --json as an event, and for people on stderr", () => {
    const output = new CollectedOutput();
    reportFailure(new HostError("USAGE", "what"), true, output);
    expect(output).toMatchObject({
      lines: ['{"event":"error","code":"USAGE","message":"what"}'],
      spoken: ["rumpusb: what"],
    });
  });

  test("a system error is told plainly, a bug with its stack", () => {
    const output = new CollectedOutput();
    reportFailure(Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" }), false, output);
    reportFailure(new Error("impossible"), false, output);
    expect(output.spoken[0]).toBe("rumpusb: EMFILE: too many open files");
    expect(output.spoken[1]).toMatch(/^rumpusb: internal error: Error: impossible\n +at /);
  });
});

test("words for a shell", () => {
  expect(quote("/a/b.sock")).toBe("/a/b.sock");
  expect(quote("it's $HOME")).toBe(`'it'\\''s $HOME'`);
});

test("sizes", () => {
  expect([0, 512, 1024, 1536 * 1024, 3 * 2 ** 40].map(formatBytes)).toEqual([
    "0 bytes",
    "512 bytes",
    "1.0 KiB",
    "1.5 MiB",
    "3.0 TiB",
  ]);
});

test("columns are as wide as their widest cell, without blanks at the end", () => {
  expect(
    table([
      ["A", "B"],
      ["long", "x"],
      ["s", ""],
    ]),
  ).toEqual(["A     B", "long  x", "s"]);
});
