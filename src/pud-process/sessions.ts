/** The sessions and links of the pud process, as the host process has them begin and end (protocol.ts). */
import { closeSync } from "node:fs";
import type { EmitEvent } from "../host/events.js";
import { LocalUnits } from "../host/units.js";
import type { Link } from "../pud/links/links.js";
import { dropCode } from "../rumpuser/real/locked-calls.js";
import { realClock } from "../rumpuser/real/clock.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";
import { linkLog } from "../session/link-log.js";
import { closeLinks, openLinks } from "../session/open-links.js";
import { type Launched, Supervisor } from "../session/supervisor.js";
import { askedLinkRights } from "./asked-links.js";
import { AskedRights } from "./asked-rights.js";
import { Messenger, wireError } from "./messenger.js";
import type { PudProcessConfig, ToldEnd, ToldExit, ToldLaunch, ToldLock, ToldSource } from "./protocol.js";

export interface PudSessionsOptions {
  readonly config: PudProcessConfig;
  readonly channel: ByteStream;
  /** The next descriptor that the host process has sent. @throws SystemCallError */
  readonly takeDescriptor: () => number;
  /** The host process says nothing any more. */
  readonly ended: (reason: string) => void;
}

/** Listens to the host process from now on. */
export function servePudSessions({ config, channel, takeDescriptor, ended }: PudSessionsOptions): void {
  const { readOnly, latencyMs, graceMs, mode, sharesMemory, shares } = config;
  const sessions = new Map<number, Launched>();
  const links: Link[] = [];
  const messenger: Messenger = new Messenger(channel, {
    takeDescriptor,
    closeDescriptor: closeSync,
    ended,
    calls: {
      beat: () => undefined,
      openLinks: async () => {
        const context = { runtimeDir: config.runtimeDir, log: linkLog(emit), rights: askedLinkRights(messenger) };
        links.push(...(await openLinks(config.links, context, emit)));
      },
      replugged: (told) => {
        const { session, ...source } = told as ToldLaunch;
        return sessions.get(session)?.session.replugged(rights.source(source)) ?? false;
      },
      stopAll: async (told) => {
        await supervisor.stopAll((told as { readonly reason: string }).reason);
        await closeLinks(links, emit);
      },
    },
    notices: {
      launch: (told) => launch(told as ToldLaunch),
      lost: (told) => {
        const { session, reason } = told as { readonly session: number; readonly reason: string };
        sessions.get(session)?.session.lost(reason);
      },
      unplugged: (told) => sessions.get((told as { readonly session: number }).session)?.session.unplugged(),
      resume: () => supervisor.resumeAll(),
      locked: (told) => rights.locked(told as ToldLock),
      exited: (told) => rights.exited(told as ToldExit),
    },
  });
  const emit: EmitEvent = (event) => messenger.notify("event", event);
  const rights = new AskedRights(messenger);
  const supervisor = new Supervisor({
    clock: realClock,
    rights,
    driverUnits: new LocalUnits(),
    links,
    readOnly,
    latencyMs,
    emit,
    graceMs,
    mode,
    sharesMemory,
    shares,
  });
  const launch = ({ session, ...source }: ToldLaunch): void => {
    const launched = supervisor.launch(rights.source(source satisfies ToldSource));
    sessions.set(session, launched);
    void launched.attached.then((error) => {
      if (error !== undefined) return;
      messenger.notify("attached", { session });
      dropCode(); // what starts does so once
    });
    void launched.ended.then((error) => {
      sessions.delete(session);
      const end: ToldEnd = { session, ...(error === undefined ? {} : { error: wireError(error) }) };
      messenger.notify("ended", end);
    });
  };
}
