/** The link kind `raw`: serial lines as bytes on a socket, with settings that the command line fixes. */
import type { Link, LinkContext } from "./link.js";
import type { StartProtocol } from "./serial/connection.js";
import { openTtyLink } from "./serial/tty-link.js";
import type { RawWhere } from "./wheres.js";

/** @throws LinkSetupError */
export function openRawLink({ address, settings }: RawWhere, context: LinkContext): Promise<Link> {
  const uri = { tcp: (place: string) => `tcp://${place}`, unix: (path: string) => `unix://${path}` };
  return openTtyLink({ kind: "raw", settings, exact: true, uri, startProtocol: () => speakRaw }, address, context);
}

const speakRaw: StartProtocol = ({ line }) => ({
  start: () => undefined,
  receive: (chunk) => line.write(chunk),
  encode: (data) => new Uint8Array(data),
  changed: () => undefined,
  busy: false,
});
