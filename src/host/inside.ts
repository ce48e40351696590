/** Sessions in this process: for programs that serve their devices themselves. */
import { LocalRights } from "../pud/links/rights/local-rights.js";
import { linkLog } from "../session/link-log.js";
import { closeLinks, openLinks } from "../session/open-links.js";
import { Supervisor } from "../session/supervisor.js";
import { localRights, localSource } from "./local-rights.js";
import type { Sessions, SessionsOptions } from "./sessions.js";
import { LocalUnits } from "./units.js";

/** Opens the links. @throws HostError LINK; nothing is left behind. */
export async function openInside(options: SessionsOptions): Promise<Sessions> {
  const { clock, emit, runtimeDir, takeUnit, readOnly, latencyMs, graceMs, mode, sharesMemory, group } = options;
  const rights = new LocalRights();
  const context = { runtimeDir, log: linkLog(emit), rights };
  const links = [...(await openLinks(options.links, context, emit)), ...options.ownLinks];
  const supervisor = new Supervisor({
    clock,
    rights: localRights(takeUnit),
    driverUnits: new LocalUnits(),
    links,
    readOnly,
    latencyMs,
    emit,
    graceMs,
    mode,
    sharesMemory,
    shares: group !== undefined,
  });
  return {
    launch: (source) => {
      const { session, ...ends } = supervisor.launch(localSource(source, options));
      return {
        ...ends,
        session: {
          lost: (reason) => session.lost(reason),
          unplugged: () => session.unplugged(),
          replugged: (back) => Promise.resolve(session.replugged(localSource(back, options))),
        },
      };
    },
    stopAll: async (reason) => {
      await supervisor.stopAll(reason);
      await closeLinks(links, emit);
      return undefined;
    },
    resumeAll: () => supervisor.resumeAll(),
    killAll: async () => {
      supervisor.killAll();
      await rights.releaseAll().catch(() => undefined); // nobody is told any more
    },
  };
}
