/**
 * The pud process: every request of a host program until a driver has answered it, and the links over which those come. It has no
 * rights; what it needs of the machine it asks the host process for (pud-process/protocol.ts).
 *
 * | descriptor | what                                                                              |
 * | 1, 2       | log pipes                                                                         |
 * | 3          | the conversation with the host process                                            |
 * | 4          | the way by which descriptors come: channels of rump processes, memory, listeners  |
 *
 * Its one argument is a PudProcessConfig in JSON. Code is loaded first, all that may be needed; then the process locks itself and
 * says so with one byte on descriptor 4; only then it hears of anything.
 */
import { writeSync } from "node:fs";
import createDebug from "debug";
import { defaultLinks, loadLinks } from "./pud/links/links.js";
import { PUD_CONFIG_VERSION, type PudProcessConfig } from "./pud-process/protocol.js";
import { servePudSessions } from "./pud-process/sessions.js";
import { streamOfFd } from "./rumpuser/real/byte-stream.js";
import { forgoIdleTime } from "./rumpuser/real/event-loop.js";
import { lockProcess } from "./rumpuser/real/lock.js";
import { dieWithParent, receiveFd } from "./rumpuser/real/locked-calls.js";
import { collectYoungAlone } from "./rumpuser/real/v8.js";
import { loadTtyLine } from "./session/session.js";

const HOST_FD = 3;
const PASS_FD = 4;

async function main(argument: string | undefined): Promise<void> {
  collectYoungAlone();
  forgoIdleTime();
  const config = readConfig(argument);
  if (config.debug !== undefined) createDebug.enable(config.debug);
  await loadLinks(config.links?.map(({ kind }) => kind) ?? defaultLinks());
  await loadTtyLine();
  const channel = streamOfFd(HOST_FD);
  if (config.lock !== undefined) await lockProcess({ purpose: "serve", profile: config.lock, passFd: PASS_FD });
  else dieWithParent(); // with a lock the launcher has seen to it
  writeSync(PASS_FD, new Uint8Array(1));
  servePudSessions({
    config,
    channel,
    takeDescriptor: () => receiveFd(PASS_FD, -1),
    ended: () => process.exit(0), // the host process has gone: it will not be missed
  });
}

function readConfig(argument: string | undefined): PudProcessConfig {
  const config = JSON.parse(argument ?? "null") as PudProcessConfig | null;
  if (config?.version !== PUD_CONFIG_VERSION)
    throw new Error(`started without a configuration of version ${PUD_CONFIG_VERSION}; this program is run by rumpusb`);
  return config;
}

void main(process.argv[2]); // what it throws ends the process, with the reason
