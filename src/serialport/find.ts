/** What a `path` of a serial port may be here, and the line that it stands for. */
import { readdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { openTty, type OpenTtyOptions } from "../host/open-tty.js";
import { defaultRuntimeDir } from "../host/runtime-dir.js";
import type { ListenAddress } from "../pud/links/address.js";
import { rfc2217Tty } from "../pud/links/rfc2217/client.js";
import type { Tty } from "../rump/devsw.js";

/** A line that was found, and what is to be ended with its port. */
export interface FoundTty {
  readonly tty: Tty;
  readonly close: () => Promise<void>;
}

const SOCKET_SUFFIX = ".rfc2217.sock";
const NODE_NAME = /^tty[A-Za-z0-9]+$/;
const URI = /^rfc2217:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^/:?#]+)):([0-9]{1,5})\/?$/;

/**
 * | path                                         | line                                                       |
 * | `ttyU0`                                      | node of a `rumpusb run --link rfc2217` of this user        |
 * | `/run/x.sock`, `rfc2217+unix:///run/x.sock`  | RFC 2217 on a Unix socket                                  |
 * | `rfc2217://HOST:PORT`                        | an RFC 2217 server, rumpusb or another                     |
 * | `1-1.2`, `0403:6001`, `@SERIAL`, `sim:…` …   | a device, driven for as long as the port is open           |
 *
 * @throws HostError, for a device
 */
export async function findTty(path: string, options: OpenTtyOptions): Promise<FoundTty> {
  const address = addressOf(path, options);
  if (address === undefined) {
    const { tty, close } = await openTty(path, options);
    return { tty, close };
  }
  return { tty: rfc2217Tty(address, path), close: () => Promise.resolve() };
}

function addressOf(path: string, options: OpenTtyOptions): ListenAddress | undefined {
  if (NODE_NAME.test(path)) return { unix: join(runtimeDirOf(options), path + SOCKET_SUFFIX) };
  if (isAbsolute(path)) return { unix: path };
  if (path.startsWith("rfc2217+unix://")) return { unix: path.slice("rfc2217+unix://".length) };
  const [, ipv6, host, port] = URI.exec(path) ?? [];
  return port === undefined ? undefined : { host: ipv6 ?? host ?? "", port: Number(port) };
}

/** The nodes that somebody serves by `--link rfc2217`. */
export async function listNodes(options: OpenTtyOptions): Promise<string[]> {
  const names = await readdir(runtimeDirOf(options)).catch(() => []);
  return names
    .filter((name) => name.endsWith(SOCKET_SUFFIX))
    .map((name) => name.slice(0, -SOCKET_SUFFIX.length))
    .sort();
}

function runtimeDirOf({ runtimeDir }: OpenTtyOptions): string {
  return runtimeDir ?? defaultRuntimeDir(process.env, process.getuid?.() ?? 0);
}
