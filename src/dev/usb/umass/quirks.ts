/**
 * Devices that bend the rules: one row, one fact, one reason.
 *
 * A row names the device (and the revision, where only one is known to be bad), what is different, and who found it
 * out: NetBSD = sys/dev/usb/umass_quirks.c with the numbers of usbdevs or usb.ids; Linux = drivers/usb/storage/unusual_devs.h;
 * lab = seen in a run of lab/.
 */
import type { ScsiQuirks } from "../../scsipi/transport.js";
import type { DeviceIdentity } from "../usbdi.js";
import type { PhaseModeName } from "./phases.js";

/** What is different about the transport itself. */
export interface TransportQuirks {
  /** What it sends for "USBS". */
  readonly cswSignature?: number;
  readonly ignoreTag?: true;
  readonly ignoreResidue?: true;
  /** GET MAX LUN is not asked: one unit. */
  readonly noGetMaxLun?: true;
  /** More bytes in one command make it fail. */
  readonly maxTransferBytes?: number;
  /** How its commands are best sent. */
  readonly phases?: PhaseModeName;
}

export type UmassQuirks = TransportQuirks & ScsiQuirks;

export interface QuirkRow {
  readonly vendor: number;
  readonly product: number;
  /** bcdDevice; absent = every revision. */
  readonly revision?: number;
  readonly quirks: UmassQuirks;
  /** What it does, and where that is known from. */
  readonly reason: string;
}

/** "USBU", what an Olympus C-1 puts where "USBS" belongs. */
const OLYMPUS_SIGNATURE = 0x55425355;
/** 64 sectors of 512 bytes. */
const SECTORS_64 = 64 * 512;

export const QUIRKS: readonly QuirkRow[] = [
  {
    vendor: 0x0525,
    product: 0xa4a5,
    quirks: { phases: "together" },
    reason: "Linux file-backed storage gadget takes its status transfer early (lab PHASES)",
  },
  {
    vendor: 0x1d6b,
    product: 0x0104,
    quirks: { phases: "together" },
    reason: "Linux composite gadget with mass storage takes its status transfer early (lab PHASES)",
  },
  {
    vendor: 0x46f4,
    product: 0x0001,
    quirks: { phases: "overlap" },
    reason: "QEMU's drive goes wrong for good with an early status transfer, whoever asks (lab PHASES)",
  },
  {
    vendor: 0x07b4,
    product: 0x0102,
    quirks: { cswSignature: OLYMPUS_SIGNATURE },
    reason: 'Olympus C-1 sends "USBU" as CSW signature (NetBSD WRONG_CSWSIG)',
  },
  {
    vendor: 0x04ce,
    product: 0x0002,
    quirks: { ignoreTag: true },
    reason: "ScanLogic SL11R-IDE answers with wrong tags (NetBSD WRONG_CSWTAG)",
  },
  {
    vendor: 0x04e6,
    product: 0x0325,
    quirks: { ignoreTag: true },
    reason: "SCM eUSB ORCA reader answers with wrong tags (NetBSD WRONG_CSWTAG)",
  },
  {
    vendor: 0x0603,
    product: 0x8611,
    quirks: { ignoreTag: true },
    reason: "Novatek NTK96550 camera answers with wrong tags (Linux BULK_IGNORE_TAG)",
  },
  {
    vendor: 0x152d,
    product: 0x2329,
    revision: 0x0100,
    quirks: { ignoreResidue: true },
    reason: "JMicron JM20329 bridge reports a residue that is none (Linux IGNORE_RESIDUE)",
  },
  {
    vendor: 0x14cd,
    product: 0x6600,
    revision: 0x0201,
    quirks: { ignoreResidue: true },
    reason: "Super Top M110E bridge reports a residue that is none (Linux IGNORE_RESIDUE)",
  },
  {
    vendor: 0x1fc9,
    product: 0x0117,
    revision: 0x0100,
    quirks: { ignoreResidue: true },
    reason: "NXP PN7462AU reports a residue that is none (Linux IGNORE_RESIDUE)",
  },
  {
    vendor: 0x059b,
    product: 0x0001,
    revision: 0x0100,
    quirks: { noGetMaxLun: true },
    reason: "Iomega ZIP 100 halts its bulk endpoints on GET MAX LUN (Linux SINGLE_LUN)",
  },
  {
    vendor: 0x05e3,
    product: 0x0702,
    quirks: { maxTransferBytes: SECTORS_64 },
    reason: "Genesys GL811E bridge fails on long transfers (Linux MAX_SECTORS_64)",
  },
  {
    vendor: 0x058f,
    product: 0x6387,
    revision: 0x0141,
    quirks: { maxTransferBytes: SECTORS_64 },
    reason: "JetFlash TS1GJF2A fails on long transfers (Linux MAX_SECTORS_64)",
  },
  {
    vendor: 0x0781,
    product: 0x7433,
    quirks: { noSynchronizeCache: true },
    reason: "SanDisk Sansa Clip rejects SYNCHRONIZE CACHE in its own way (NetBSD NOSYNCCACHE)",
  },
  {
    vendor: 0x066f,
    product: 0x8008,
    quirks: { noSynchronizeCache: true, noPreventAllow: true },
    reason: "SigmaTel i-Bead 100 fails on commands it does not know (NetBSD NODOORLOCK, NOSYNCCACHE)",
  },
  {
    vendor: 0x4146,
    product: 0xba01,
    revision: 0x0100,
    quirks: { noPreventAllow: true },
    reason: "Iomega Micro Mini stumbles over PREVENT ALLOW MEDIUM REMOVAL (Linux NOT_LOCKABLE)",
  },
  {
    vendor: 0x04da,
    product: 0x2372,
    quirks: { capacityIsBlockCount: true, noPreventAllow: true },
    reason: "Panasonic DMC-LCx reports one block too many, cannot be locked (Linux FIX_CAPACITY, NOT_LOCKABLE)",
  },
  {
    vendor: 0x066f,
    product: 0x8000,
    revision: 0x0001,
    quirks: { capacityIsBlockCount: true },
    reason: "SigmaTel MSCN player reports one block too many (Linux FIX_CAPACITY)",
  },
];

/** The rows that hold for a device, and what they add up to. */
export function findQuirks(
  ids: Pick<DeviceIdentity, "vendor" | "product" | "revision">,
  table: readonly QuirkRow[] = QUIRKS,
): { readonly quirks: UmassQuirks; readonly rows: readonly QuirkRow[] } {
  const rows = table.filter(
    (row) =>
      row.vendor === ids.vendor &&
      row.product === ids.product &&
      (row.revision === undefined || row.revision === ids.revision),
  );
  return { quirks: Object.assign({}, ...rows.map((row) => row.quirks)) as UmassQuirks, rows };
}
