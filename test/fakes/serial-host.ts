/** A simulated serial adapter served by real processes, and the line that a link would get. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { HostEvent } from "../../src/host/events.js";
import { localRights, localSource } from "../../src/host/local-rights.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import { parseSelector } from "../../src/host/selector.js";
import { type Simulator, startSimulator } from "../../src/host/sources/simulator.js";
import { type Launched, Supervisor } from "../../src/session/supervisor.js";
import { LocalUnits, sharedUnits } from "../../src/host/units.js";
import type { Tty } from "../../src/rump/devsw.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { NotedLink } from "./noted-link.js";

export interface SerialHost {
  readonly events: HostEvent[];
  readonly simulator: Simulator;
  readonly launched: Launched;
  tty(name?: string): Tty;
  /** Of the process that serves the device now. */
  rumpPid(): number;
  stop(): Promise<void>;
}

/** @param selector  `sim:serial,chip=ftdi` */
export async function startSerialHost(selector: string, graceMs = 2_000): Promise<SerialHost> {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-tty-"));
  const parsed = parseSelector(selector);
  if (parsed.kind !== "sim") throw new Error(`${selector} is no simulated device`);
  const events: HostEvent[] = [];
  const link = new NotedLink("tty");
  const supervisor = new Supervisor({
    clock: realClock,
    rights: localRights(await sharedUnits(folder)),
    driverUnits: new LocalUnits(),
    links: [link],
    readOnly: false,
    emit: (event) => events.push(event),
    graceMs,
  });
  const simulator = await startSimulator({
    selector: parsed,
    key: "sim:serial",
    index: 0,
    runtimeDir: folder,
    clock: realClock,
  });
  const launched = supervisor.launch(
    localSource(simulator.source, {
      clock: realClock,
      sandbox: noSandbox,
      rumpScript: fileURLToPath(new URL("../../dist/rump-process.js", import.meta.url)),
    }),
  );
  const failure = await launched.attached;
  const stop = async (): Promise<void> => {
    await supervisor.stopAll("the test is over");
    await simulator.end();
    rmSync(folder, { recursive: true });
  };
  if (failure !== undefined) {
    await stop();
    throw failure;
  }
  return {
    events,
    simulator,
    launched,
    tty: (name = "ttyU0") => {
      const tty = link.served.get(name);
      if (tty === undefined) throw new Error(`no ${name}; ${JSON.stringify(events)}`);
      return tty;
    },
    rumpPid: () => {
      const last = events.findLast((event) => event.event === "device" || event.event === "restart");
      if (last === undefined || !("pid" in last)) throw new Error("no process");
      return last.pid;
    },
    stop,
  };
}
