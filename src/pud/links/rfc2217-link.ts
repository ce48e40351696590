/** The link kind `rfc2217`: serial lines over telnet, with line settings and modem lines (RFC 2217). */
import { type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import type { LinkKind } from "./link.js";
import { Rfc2217Session } from "./rfc2217/session.js";
import { DEFAULT_SETTINGS, openTtyLink, type TtyLinkKind } from "./serial/tty-link.js";

/** Where the lines go: a socket for each, or one place. */
export interface Rfc2217Where {
  readonly address?: ListenAddress;
}

const KIND: TtyLinkKind = {
  kind: "rfc2217",
  settings: DEFAULT_SETTINGS,
  exact: false,
  uri: { tcp: (place) => `rfc2217://${place}`, unix: (path) => `rfc2217+unix://${path}` },
  startProtocol: (nodeName, tty) => (conversation) =>
    new Rfc2217Session(conversation, `rumpusb ${nodeName}: ${tty.info.model}`),
};

export const rfc2217Link: LinkKind<Rfc2217Where> = {
  parseWhere: (text) => (text === undefined ? {} : { address: parseAddress(text, (why) => usage(text, why)) }),
  open: ({ address }, context) => openTtyLink(KIND, address, context),
};

function usage(text: string, why: string): LinkSetupError {
  return new LinkSetupError("LINK_USAGE", `link rfc2217=${text}: ${why}; allowed are ${LINK_FORMS.rfc2217}`);
}
