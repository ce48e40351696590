/** The link kind `rfc2217`: serial lines over telnet, with line settings and modem lines (RFC 2217). */
import { addressForms, type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import type { Link, LinkContext } from "./link.js";
import { Rfc2217Session } from "./rfc2217/session.js";
import { DEFAULT_SETTINGS, openTtyLink, type TtyLinkKind } from "./serial/tty-link.js";

/** Where the lines go: a socket for each, or one place. */
export interface Rfc2217Where {
  readonly address?: ListenAddress;
}

export const RFC2217_FORMS = `rfc2217, ${addressForms("rfc2217")}`;

const RFC2217: TtyLinkKind = {
  kind: "rfc2217",
  settings: DEFAULT_SETTINGS,
  uri: { tcp: (place) => `rfc2217://${place}`, unix: (path) => `rfc2217+unix://${path}` },
  startProtocol: (nodeName, tty) => (conversation) =>
    new Rfc2217Session(conversation, `rumpusb ${nodeName}: ${tty.info.model}`),
};

/** @throws LinkSetupError LINK_USAGE */
export function parseRfc2217Where(text: string | undefined): Rfc2217Where {
  if (text === undefined) return {};
  return { address: parseAddress(text, (why) => usage(text, why)) };
}

/** @throws LinkSetupError */
export function openRfc2217Link({ address }: Rfc2217Where, context: LinkContext): Promise<Link> {
  return openTtyLink(RFC2217, address, context);
}

function usage(text: string, why: string): LinkSetupError {
  return new LinkSetupError("LINK_USAGE", `link rfc2217=${text}: ${why}; allowed are ${RFC2217_FORMS}`);
}
