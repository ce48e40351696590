import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runTool } from "../tools.js";

const example = (name: string): string => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

test("json-events: follows a device from a program", async () => {
  const { exitCode, stdout } = await runTool(process.execPath, [example("json-events.mjs")]);
  expect(stdout.replaceAll(/sd[0-9]+/g, "sdN").split("\n")).toEqual([
    "sdN: disk of 1048576 bytes on sim:flash-drive",
    "sdN: reachable by nbd",
    "sim:flash-drive: detached",
    "exit status 0",
    "",
  ]);
  expect(exitCode).toBe(0);
});

test("json-events: a device that is not there", async () => {
  const { stdout } = await runTool(process.execPath, [example("json-events.mjs"), "ffff:ffff"]);
  expect(stdout).toBe("failed: NO_SUCH_DEVICE\nexit status 3\n");
});
