/** The link kind `rfc2217`: serial lines over telnet, with line settings and modem lines (RFC 2217). */
import type { Link, LinkContext } from "./link.js";
import { Rfc2217Session } from "./rfc2217/session.js";
import { openTtyLink, type TtyLinkKind } from "./serial/tty-link.js";
import { DEFAULT_SETTINGS, type Rfc2217Where } from "./wheres.js";

const KIND: TtyLinkKind = {
  kind: "rfc2217",
  settings: DEFAULT_SETTINGS,
  exact: false,
  uri: { tcp: (place) => `rfc2217://${place}`, unix: (path) => `rfc2217+unix://${path}` },
  startProtocol: (nodeName, tty) => (conversation) =>
    new Rfc2217Session(conversation, `rumpusb ${nodeName}: ${tty.info.model}`),
};

/** @throws LinkSetupError */
export function openRfc2217Link({ address }: Rfc2217Where, context: LinkContext): Promise<Link> {
  return openTtyLink(KIND, address, context);
}
