/** A process that was told to write nothing keeps to it, whoever asks: here a session that knows nothing of --read-only. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { localRights, localSource } from "../../src/host/local-rights.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import { parseSelector } from "../../src/host/selector.js";
import { startSimulator } from "../../src/host/sources/simulator.js";
import { LocalUnits, sharedUnits } from "../../src/host/units.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { Supervisor } from "../../src/session/supervisor.js";
import { NotedLink } from "../fakes/noted-link.js";

test("its disk is read, and refuses to be written", { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-ro-"));
  const selector = parseSelector("sim:flash-drive,size=1M");
  if (selector.kind !== "sim") throw new Error("no simulated device");
  const simulator = await startSimulator({
    selector,
    key: "sim:flash-drive",
    index: 0,
    runtimeDir: folder,
    clock: realClock,
  });
  const link = new NotedLink("disk");
  const supervisor = new Supervisor({
    clock: realClock,
    rights: localRights(await sharedUnits(folder)),
    driverUnits: new LocalUnits(),
    links: [link],
    readOnly: false,
    emit: () => {},
    graceMs: 0,
  });
  try {
    const rumpScript = fileURLToPath(new URL("../../dist/rump-process.js", import.meta.url));
    const context = { clock: realClock, sandbox: noSandbox, rumpScript, readOnly: true };
    expect(await supervisor.launch(localSource(simulator.source, context)).attached).toBeUndefined();
    const disk = link.served.get("sd0");
    expect(disk?.info).toMatchObject({ readOnly: true, canTrim: false, canWriteZeroes: false });
    expect(await disk?.read(0, 1)).toHaveLength(512);
    await expect(disk?.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: "EROFS" });
  } finally {
    await supervisor.stopAll("the test is over");
    await simulator.end();
    rmSync(folder, { recursive: true });
  }
});
