/** What every kind of link is: the host's side of a device node. */
import type { Device } from "../../rump/devsw.js";
import type { LinkRights } from "./link-rights.js";

/** The event log as links see it; any LogSink of the hypercalls will do. */
export interface LinkLog {
  write(entry: { level: "debug" | "info" | "warn" | "error"; source: string; message: string }): void;
}

export interface LinkContext {
  /** Where sockets go by default; private to the user (0700). */
  readonly runtimeDir: string;
  readonly log: LinkLog;
  readonly rights: LinkRights;
}

/** One link, open for any number of nodes. */
export interface Link {
  /** The word of `--link`: `nbd`. */
  readonly kind: string;
  /**
   * Makes a node reachable. The device stays the caller's.
   * @throws LinkSetupError  also when the link does not serve this kind of device.
   */
  serve(nodeName: string, device: Device): Promise<LinkedNode>;
  /** Takes every node back and removes what was made on the host. */
  close(): Promise<void>;
}

/** A node that other programs can reach. */
export interface LinkedNode {
  readonly uri: string;
  /** The device file of the host, where the link makes one. */
  readonly path?: string;
  /** Its users are told and dropped; nothing of it is left afterwards. Later calls do nothing. */
  remove(reason: string): Promise<void>;
}
