/**
 * A serial adapter of the test, served by a link: the model in this process, behind USB/IP as a device that is plugged in here,
 * the host in this process, and rump processes.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { HostEvent } from "../../src/host/events.js";
import { localRights, localSource } from "../../src/host/local-rights.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import { usbipSource } from "../../src/host/sources/usbip.js";
import { Supervisor } from "../../src/session/supervisor.js";
import { LocalUnits, sharedUnits } from "../../src/host/units.js";
import { openLink, parseLink } from "../../src/pud/links/links.js";
import type { Link } from "../../src/pud/links/link.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { type ModelServer, serveModels } from "../../src/vdev/server.js";
import type { SerialModel } from "../../src/vdev/serial-model.js";
import { linkContext } from "./link-context.js";

const BUS_ID = "1-1";

interface Parts {
  readonly supervisor: Supervisor;
  readonly link: Link;
  readonly server: ModelServer;
  readonly model: SerialModel;
}

export class ServedLine {
  /** The runtime directory. */
  readonly folder: string;
  readonly events: HostEvent[];
  readonly #parts: Parts;

  private constructor(folder: string, events: HostEvent[], parts: Parts) {
    this.folder = folder;
    this.events = events;
    this.#parts = parts;
  }

  /** @param word  Of `--link`: `pty`. */
  static async start(model: SerialModel, word: string): Promise<ServedLine> {
    const folder = mkdtempSync(join(tmpdir(), "rumpusb-line-"));
    const address = { unix: join(folder, "model.sock") };
    const server = await serveModels({ listen: address, exports: [{ busId: BUS_ID, model }], keepState: true });
    const link = await openLink(parseLink(word), linkContext(folder));
    const events: HostEvent[] = [];
    const supervisor = new Supervisor({
      clock: realClock,
      rights: localRights(await sharedUnits(folder)),
      driverUnits: new LocalUnits(),
      links: [link],
      readOnly: false,
      emit: (event) => events.push(event),
      graceMs: 5_000,
    });
    const line = new ServedLine(folder, events, { supervisor, link, server, model });
    const source = usbipSource({ key: "line", address, busId: BUS_ID, clock: realClock, unplugIsTold: true });
    const failure = await supervisor.launch(
      localSource(source, {
        clock: realClock,
        sandbox: noSandbox,
        rumpScript: fileURLToPath(new URL("../../dist/rump-process.js", import.meta.url)),
      }),
    ).attached;
    if (failure === undefined) return line;
    await line[Symbol.asyncDispose]();
    throw failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { supervisor, link, server, model } = this.#parts;
    await supervisor.stopAll("the test is over");
    await link.close();
    await server.close();
    await model.close();
    rmSync(this.folder, { recursive: true });
  }
}
