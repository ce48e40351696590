/** The NBD server for programs of one's own. */
import { listenNbd as listenWith, type NbdServer, type NbdServerOptions } from "../nbd/server.js";
import { LocalRights } from "./local-rights.js";

/** Listens with the rights of this process. @throws LinkSetupError */
export function listenNbd(options: Omit<NbdServerOptions, "rights">): Promise<NbdServer> {
  return listenWith({ ...options, rights: new LocalRights() });
}
