/** Serial adapters from options as text: `sim:serial,chip=ftdi`. */
import type { Clock } from "../rumpuser/rumpuser.js";
import type { DeviceModel } from "./model.js";
import { OptionError, type OptionReader } from "./options.js";
import { ACM_SHAPES, AcmModel } from "./serial-acm.js";
import { CH_KINDS, Ch34xModel } from "./serial-ch34x.js";
import { CP_KINDS, Cp210xModel } from "./serial-cp210x.js";
import { parseSerialFaults } from "./serial-faults.js";
import { FTDI_KINDS, FtdiModel } from "./serial-ftdi.js";
import type { SerialModel, SerialOptions } from "./serial-model.js";
import { PL_KINDS, Pl2303Model } from "./serial-pl2303.js";

/** The common names of the families stand for the chip that most have. */
const ALIASES: Readonly<Record<string, string>> = { ftdi: "ft232r", cp210x: "cp2102", pl2303: "pl2303-hx" };
const CHIPS = ["acm", ...FTDI_KINDS, ...CP_KINDS, ...CH_KINDS, ...PL_KINDS] as const;
const WIRINGS = ["loopback", "null-modem", "listener", "talker", "open"] as const;
const MAX_PORTS = 4;

export const SERIAL_OPTIONS: Readonly<Record<string, string>> = {
  chip: `${CHIPS.join(", ")}; ftdi, cp210x, pl2303 for the usual one (default ftdi)`,
  wiring:
    "loopback, null-modem (ports 0 and 1 of one adapter), listener (at the far end, takes everything; with paced), talker (also sends without a pause) or open (default loopback)",
  paced: "bytes take the time of the rate",
  shape: `acm: ${ACM_SHAPES.join(", ")} (default union)`,
  ports: `acm: 1 to ${MAX_PORTS} (default 1)`,
  ids: "idVendor:idProduct, four hexadecimal digits each (default the chip's)",
  fault: "framing, parity, overrun, break, zlp, shortStatus or notify [:count=N|:every] [:after=BYTES], joined by ;",
};

/** @throws OptionError */
export function makeSerial(
  options: OptionReader,
  clock: Clock,
  ids: { readonly vendorId?: number; readonly productId?: number },
): DeviceModel {
  const text = options.text("chip") ?? "ftdi";
  const name = (Object.hasOwn(ALIASES, text) ? ALIASES[text] : undefined) ?? text;
  const settings: SerialOptions = {
    clock,
    paced: options.flag("paced"),
    wiring: options.choice("wiring", WIRINGS) ?? "loopback",
    faults: parseSerialFaults(options.joined("fault", ";")),
    ...ids,
  };
  const shape = options.choice("shape", ACM_SHAPES);
  const ports = options.integer("ports", 1, MAX_PORTS);
  if (name !== "acm" && (shape !== undefined || ports !== undefined))
    throw new OptionError("serial: shape= and ports= belong to chip=acm");
  try {
    if (name === "acm") return new AcmModel({ ...settings, shape: shape ?? "union", ports: ports ?? 1 });
    return makeChip(name, settings);
  } catch (error) {
    if (error instanceof RangeError) throw new OptionError(`serial: chip=${text}: ${error.message}`);
    throw error;
  }
}

function makeChip(name: string, options: SerialOptions): SerialModel {
  const ftdi = FTDI_KINDS.find((one) => one === name);
  if (ftdi !== undefined) return new FtdiModel(ftdi, options);
  const cp = CP_KINDS.find((one) => one === name);
  if (cp !== undefined) return new Cp210xModel(cp, options);
  const ch = CH_KINDS.find((one) => one === name);
  if (ch !== undefined) return new Ch34xModel(ch, options);
  const pl = PL_KINDS.find((one) => one === name);
  if (pl !== undefined) return new Pl2303Model(pl, options);
  throw new OptionError(`serial: chip="${name}": it is one of ${CHIPS.join(", ")}`);
}
