/** The link kind `raw`: serial lines as bytes on a socket, with settings that the command line fixes. */
import { DATA_BITS, FLOW_CONTROLS, type LineSettings, PARITIES, STOP_BITS } from "../../rump/devsw.js";
import { type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import type { Link, LinkContext, LinkKind } from "./link.js";
import type { StartProtocol } from "./serial/connection.js";
import { DEFAULT_SETTINGS, openTtyLink } from "./serial/tty-link.js";

/** Where the lines go, a socket for each or one place, and how they are opened. */
export interface RawWhere {
  readonly address?: ListenAddress;
  readonly settings: LineSettings;
}

export const rawLink: LinkKind<RawWhere> = { parseWhere: parseRawWhere, open: openRawLink };

/** What a word of the settings may be: rates are whatever the device can make. */
const SETTINGS: Readonly<
  Record<string, { readonly key: keyof LineSettings; readonly of: readonly (string | number)[] }>
> = {
  data: { key: "dataBits", of: DATA_BITS },
  parity: { key: "parity", of: PARITIES },
  stop: { key: "stopBits", of: STOP_BITS },
  flow: { key: "flowControl", of: FLOW_CONTROLS },
};

/**
 * Reads `[ADDRESS][,NAME=VALUE…]`.
 * @throws LinkSetupError LINK_USAGE
 */
function parseRawWhere(text: string | undefined): RawWhere {
  const words = text === undefined ? [] : text.split(",");
  const refused = (why: string): LinkSetupError =>
    new LinkSetupError("LINK_USAGE", `link raw=${text}: ${why}; allowed are ${LINK_FORMS.raw}`);
  const firstSetting = words.findIndex((word) => /^[a-z]+=/.test(word));
  const place = firstSetting === -1 ? words : words.slice(0, firstSetting);
  const settings = words.slice(place.length).reduce((all, word) => ({ ...all, ...readSetting(word, refused) }), {
    ...DEFAULT_SETTINGS,
  });
  if (place.length === 0) return { settings };
  return { address: parseAddress(place.join(","), refused), settings };
}

function readSetting(word: string, refused: (why: string) => LinkSetupError): Partial<LineSettings> {
  const equals = word.indexOf("=");
  const name = word.slice(0, equals);
  const value = word.slice(equals + 1);
  if (name === "baud") {
    if (!/^[1-9][0-9]{0,8}$/.test(value)) throw refused(`baud "${value}" is no rate`);
    return { baud: Number(value) };
  }
  const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
  if (setting === undefined) throw refused(`no setting "${word}"`);
  const found = setting.of.find((one) => String(one) === value);
  if (found === undefined) throw refused(`${name} "${value}" is none of ${setting.of.join(", ")}`);
  return { [setting.key]: found };
}

function openRawLink({ address, settings }: RawWhere, context: LinkContext): Promise<Link> {
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
