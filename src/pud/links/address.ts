/** Where a link listens: a Unix socket only its owner can open, or TCP on this machine alone. */
import { isIPv4 } from "node:net";
import { LinkSetupError } from "./errors.js";

export type ListenAddress = { readonly unix: string } | { readonly host: string; readonly port: number };

/** sun_path is 108 bytes with the final 0 (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Reads and checks `unix:/PATH`, `tcp:PORT`, `HOST:PORT` or `[HOST]:PORT`.
 * @param refused  Makes the error of a text that is none of these.
 * @throws LinkSetupError LINK_USAGE
 */
export function parseAddress(text: string, refused: (why: string) => LinkSetupError): ListenAddress {
  const address = readAddress(text, refused);
  checkAddress(address);
  return address;
}

function readAddress(text: string, refused: (why: string) => LinkSetupError): ListenAddress {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (!path.startsWith("/")) throw refused("the path of a Unix socket is absolute");
    return { unix: path };
  }
  const match = /^(?:tcp|\[([0-9a-fA-F:]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) throw refused("an address ends with a port, which is a number");
  const [, ipv6, host, port] = match;
  return { host: ipv6 ?? host ?? "127.0.0.1", port: Number(port) };
}

/** `HOST:PORT` as URIs have it. @param port  The one that was bound, where the address leaves it to the system (0). */
export function hostAndPort({ host }: { readonly host: string }, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/**
 * Checks an address without touching anything.
 * @throws LinkSetupError LINK_USAGE
 */
export function checkAddress(address: ListenAddress): void {
  if ("unix" in address) {
    const bytes = Buffer.byteLength(address.unix);
    if (bytes === 0 || address.unix.includes("\0"))
      throw new LinkSetupError("LINK_USAGE", "socket path: empty or with a 0 byte");
    if (bytes > MAX_SOCKET_PATH_BYTES)
      throw new LinkSetupError(
        "LINK_USAGE",
        `socket path of ${bytes} bytes, at most ${MAX_SOCKET_PATH_BYTES} (unix(7)): ${address.unix}`,
      );
    return;
  }
  const { host, port } = address;
  if (!isLoopback(host))
    throw new LinkSetupError(
      "LINK_USAGE",
      `host ${host}: only loopback (127.0.0.0/8, ::1, localhost), for links have no login`,
    );
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new LinkSetupError("LINK_USAGE", `port ${port}: 0 to 65535`);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}
