/** The link kind `rfc2217`: serial lines over telnet, with line settings and modem lines (RFC 2217). */
import { addressForms, type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import type { Link, LinkContext } from "./link.js";
import type { Rfc2217Session } from "./rfc2217/session.js";
import { DEFAULT_SETTINGS, openTtyLink, type TtyLinkKind } from "./serial/tty-link.js";

/** Where the lines go: a socket for each, or one place. */
export interface Rfc2217Where {
  readonly address?: ListenAddress;
}

export const RFC2217_FORMS = `rfc2217, ${addressForms("rfc2217")}`;

const kindWith = (Session: typeof Rfc2217Session): TtyLinkKind => ({
  kind: "rfc2217",
  settings: DEFAULT_SETTINGS,
  exact: false,
  uri: { tcp: (place) => `rfc2217://${place}`, unix: (path) => `rfc2217+unix://${path}` },
  startProtocol: (nodeName, tty) => (conversation) =>
    new Session(conversation, `rumpusb ${nodeName}: ${tty.info.model}`),
});

/** @throws LinkSetupError LINK_USAGE */
export function parseRfc2217Where(text: string | undefined): Rfc2217Where {
  if (text === undefined) return {};
  return { address: parseAddress(text, (why) => usage(text, why)) };
}

/** @throws LinkSetupError */
export async function openRfc2217Link({ address }: Rfc2217Where, context: LinkContext): Promise<Link> {
  const { Rfc2217Session: Session } = await import("./rfc2217/session.js");
  return await openTtyLink(kindWith(Session), address, context);
}

function usage(text: string, why: string): LinkSetupError {
  return new LinkSetupError("LINK_USAGE", `link rfc2217=${text}: ${why}; allowed are ${RFC2217_FORMS}`);
}
