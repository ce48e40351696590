/** The kinds of device models by name, made from options as text: what stands behind `sim:KIND,NAME=VALUE,…`. */
import type { Clock, Speed } from "../rumpuser/rumpuser.js";
import { formatFat } from "./fat.js";
import { parseFaults } from "./fault-text.js";
import { FlashDrive, type FlashDriveOptions } from "./flash-drive.js";
import { checkImageSize, FileStore, type ImageStore, MemoryStore } from "./image.js";
import type { DeviceModel } from "./model.js";
import { OptionError, type ModelOptions, OptionReader } from "./options.js";
import { makeSerial, SERIAL_OPTIONS } from "./serial-kind.js";
import type { UnitOptions } from "./scsi/unit.js";

export { OptionError, type ModelOptions } from "./options.js";

interface KindRow {
  readonly summary: string;
  /** Option names with what they mean, in the order of the help. */
  readonly options: Readonly<Record<string, string>>;
  readonly make: (options: OptionReader, host: ModelHost) => DeviceModel;
}

/** What a model needs from outside. */
export interface ModelHost {
  readonly clock: Clock;
}

const README = `This is a simulated flash drive. Nothing here is real but the bytes.
`;
const DEFAULT_BYTES = 16 << 20;
const SPEEDS = ["full", "high", "super"] as const satisfies readonly Speed[];
const BLOCK_BYTES = ["512", "1024", "2048", "4096"] as const;

const KINDS: Readonly<Record<string, KindRow>> = {
  "flash-drive": {
    summary: "a bulk-only mass-storage device with SCSI units",
    options: {
      image: "file that holds the medium of LUN 0 (default: memory with a FAT file system)",
      size: "bytes of a medium in memory; K, M, G, T (default 16M)",
      blockBytes: "512, 1024, 2048 or 4096 (default 512)",
      luns: "units, 1 to 16; those after the first are in memory (default 1)",
      readOnly: "the medium is write protected",
      removable: "the medium can be ejected",
      medium: "none = the medium is not in the drive before 'insert' (implies removable)",
      cache: "a volatile write cache, switched on",
      startup: "commands that are answered 'becoming ready' first (default 0)",
      attention: "the first command is answered with a unit attention",
      vendor: "at most 8 characters",
      product: "at most 16 characters",
      revision: "at most 4 characters",
      serial: "serial number (default 52554D505553)",
      ids: "idVendor:idProduct, four hexadecimal digits each (default 1209:0001)",
      speed: `${SPEEDS.join(", ")} (default high)`,
      shortIn: "how a data stage that is too short ends: stall, pad or short (default stall)",
      excessOut: "what happens to data that the command does not want: accept or stall (default accept)",
      uas: "speaks USB Attached SCSI, too; only = nothing else",
      fault: "PHASE:ACTION[:NAME=VALUE]…, several joined by ;",
    },
    make: makeFlashDrive,
  },
  serial: {
    summary: "a serial adapter, or a CDC modem",
    options: SERIAL_OPTIONS,
    make: (options, host) => makeSerial(options, host.clock, usbIds(options)),
  },
};

/** The kinds with their options, for help texts. */
export function modelKinds(): {
  readonly kind: string;
  readonly summary: string;
  readonly options: KindRow["options"];
}[] {
  return Object.entries(KINDS).map(([kind, { summary, options }]) => ({ kind, summary, options }));
}

/**
 * Makes a model. The caller closes it.
 * @throws OptionError for an unknown kind, an unknown option or a value that cannot be; ImageError for an image that
 *         cannot be used; FaultTextError.
 */
export function createModel(kind: string, options: ModelOptions, host: ModelHost): DeviceModel {
  const row = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (row === undefined) throw new OptionError(`device kind "${kind}" is none of ${Object.keys(KINDS).join(", ")}`);
  return row.make(new OptionReader(kind, options, Object.keys(row.options)), host);
}

function makeFlashDrive(options: OptionReader, host: ModelHost): DeviceModel {
  const blockBytes = Number(options.choice("blockBytes", BLOCK_BYTES) ?? 512);
  const luns = options.integer("luns", 1, 16) ?? 1;
  const readOnly = options.flag("readOnly");
  const noMedium = options.choice("medium", ["none"] as const) !== undefined;
  const unit: Omit<UnitOptions, "store"> = {
    blockBytes,
    writeProtected: readOnly,
    removable: options.flag("removable") || noMedium,
    writeCache: options.flag("cache"),
    startupCommands: options.integer("startup", 0, 1_000_000) ?? 0,
    powerOnAttention: options.flag("attention"),
  };
  const settings: Omit<FlashDriveOptions, "units"> = {
    clock: host.clock,
    speed: options.choice("speed", SPEEDS) ?? "high",
    identity: options.texts({ vendor: 8, product: 16, revision: 4, serial: 126 }),
    style: {
      shortIn: options.choice("shortIn", ["stall", "pad", "short"] as const) ?? "stall",
      excessOut: options.choice("excessOut", ["accept", "stall"] as const) ?? "accept",
    },
    faults: parseFaults(options.joined("fault", ";")),
    ...uasOptions(options),
    ...usbIds(options),
  };
  const bytes = options.size("size");
  const image = options.text("image");
  if (image !== undefined && bytes !== undefined)
    throw new OptionError(`flash-drive: size= is for a medium in memory; image "${image}" has its own size`);
  const memoryBytes = bytes ?? DEFAULT_BYTES;
  checkImageSize(memoryBytes, blockBytes, `size=${options.text("size") ?? ""}`);
  const stores: ImageStore[] = [];
  try {
    for (let lun = 0; lun < luns; lun++) {
      if (lun === 0 && image !== undefined) stores.push(new FileStore(image, { blockBytes, readOnly }));
      else stores.push(formattedMemory(memoryBytes, blockBytes, lun));
    }
    const drive = new FlashDrive({ ...settings, units: stores.map((store) => ({ ...unit, store })) });
    if (noMedium) stores.forEach((_store, lun) => drive.eject(lun));
    return drive;
  } catch (error) {
    for (const store of stores) store.close();
    throw error;
  }
}

function uasOptions(options: OptionReader): Pick<FlashDriveOptions, "uas"> {
  const only = options.text("uas") === "only";
  return only || options.flag("uas") ? { uas: { only } } : {};
}

function formattedMemory(bytes: number, blockBytes: number, lun: number): ImageStore {
  const store = new MemoryStore(bytes);
  const files = [{ name: "README.TXT", content: Buffer.from(README) }];
  formatFat(store, { sectorBytes: blockBytes, label: lun === 0 ? "RUMPUSB" : `RUMPUSB ${lun}`, files });
  return store;
}

function usbIds(options: OptionReader): { readonly vendorId?: number; readonly productId?: number } {
  const text = options.text("ids");
  if (text === undefined) return {};
  const parts = /^([0-9a-f]{4}):([0-9a-f]{4})$/i.exec(text);
  if (parts === null) throw new OptionError(`ids="${text}" is not idVendor:idProduct (0951:1666)`);
  return { vendorId: Number.parseInt(parts[1] ?? "", 16), productId: Number.parseInt(parts[2] ?? "", 16) };
}
