/**
 * Writes a small FAT file system: FAT12, FAT16 or FAT32 by size, with a volume label and files in the root directory.
 *
 * Spec: Microsoft FAT: General Overview of On-Disk Format, version 1.03 ("fatgen"); BPB in its section "Boot Sector and
 * BPB". The same input gives the same bytes. Names are 8.3; there are no long names and no folders.
 */
import { concat, raw, record, u16le, u32le, u8 } from "../bytes.js";
import { ImageError, type ImageStore } from "./image.js";

export interface FatFile {
  /** 8.3, capital letters, digits and `-_~!#$%&'()@^`: "README.TXT". */
  readonly name: string;
  readonly content: Uint8Array;
}

export interface FatOptions {
  /** Bytes of a sector: 512, 1024, 2048 or 4096. */
  readonly sectorBytes: number;
  /** At most 11 characters; default "NO NAME". */
  readonly label?: string;
  readonly files?: readonly FatFile[];
}

type FatBits = 12 | 16 | 32;

/** Where everything lies, in sectors. */
interface Layout {
  readonly bits: FatBits;
  readonly sectorBytes: number;
  readonly totalSectors: number;
  readonly clusterSectors: number;
  readonly reservedSectors: number;
  readonly fatSectors: number;
  /** FAT12 and FAT16 have a fixed root directory; FAT32 keeps it in clusters. */
  readonly rootSectors: number;
  readonly clusterCount: number;
}

interface Kind {
  readonly bits: FatBits;
  /** Clusters that make a volume of this kind (fatgen, "FAT Type Determination"). */
  readonly clusters: readonly [min: number, max: number];
  /** Bytes of a cluster that we make; the smallest that fits is taken. */
  readonly clusterBytes: readonly [min: number, max: number];
  readonly reservedSectors: number;
  readonly rootEntries: number;
}

const KINDS: readonly Kind[] = [
  { bits: 12, clusters: [1, 4084], clusterBytes: [512, 4096], reservedSectors: 1, rootEntries: 512 },
  { bits: 16, clusters: [4085, 65524], clusterBytes: [512, 8192], reservedSectors: 1, rootEntries: 512 },
  { bits: 32, clusters: [65525, 0x0ffffff5], clusterBytes: [4096, 65536], reservedSectors: 32, rootEntries: 0 },
];
const FAT_COUNT = 2;
const MAX_SECTORS = 0xffffffff;
const MAX_BYTES = 8 * 2 ** 40;
const ENTRY_BYTES = 32;
const FIRST_CLUSTER = 2;
const FS_INFO_SECTOR = 1;
const BACKUP_BOOT_SECTOR = 6;
const MEDIA_FIXED = 0xf8;
const ATTRIBUTE = { VOLUME_LABEL: 0x08, ARCHIVE: 0x20 };
/** 1980-01-01, the first date there is. */
const DATE = 0x0021;
const VOLUME_ID = 0x52554d50;

/** BPB up to where FAT32 differs — fatgen, "Boot Sector and BPB Structure". */
const commonBpb = record("BIOS parameter block", "fatgen 1.03", {
  jump: raw(3),
  oemName: raw(8),
  bytesPerSector: u16le,
  sectorsPerCluster: u8,
  reservedSectors: u16le,
  fatCount: u8,
  rootEntries: u16le,
  totalSectors16: u16le,
  media: u8,
  fatSectors16: u16le,
  sectorsPerTrack: u16le,
  heads: u16le,
  hiddenSectors: u32le,
  totalSectors32: u32le,
});
const bpb32 = record("FAT32 BPB", "fatgen 1.03", {
  fatSectors32: u32le,
  flags: u16le,
  version: u16le,
  rootCluster: u32le,
  fsInfoSector: u16le,
  backupBootSector: u16le,
  reserved: raw(12),
});
const bootTail = record("boot sector", "fatgen 1.03", {
  driveNumber: u8,
  reserved: u8,
  bootSignature: u8,
  volumeId: u32le,
  label: raw(11),
  typeName: raw(8),
});
const directoryEntry = record("directory entry", "fatgen 1.03", {
  name: raw(11),
  attributes: u8,
  ntReserved: u8,
  createdTenths: u8,
  createdTime: u16le,
  createdDate: u16le,
  accessedDate: u16le,
  firstClusterHigh: u16le,
  writtenTime: u16le,
  writtenDate: u16le,
  firstClusterLow: u16le,
  fileBytes: u32le,
});

/**
 * Formats a store that is all zeroes; what the file system does not use is not touched, so a sparse file stays sparse.
 * A store beyond 8 TiB is used up to there.
 * @throws ImageError when the store is too small, or a name or the files do not fit.
 */
export function formatFat(store: ImageStore, options: FatOptions): void {
  const layout = layOut(store.bytes, options.sectorBytes);
  const label = labelBytes(options.label ?? "NO NAME");
  const clusterBytes = layout.clusterSectors * layout.sectorBytes;
  const chains: number[] = [];
  if (layout.bits === 32) chains.push(1);
  const entries = [entry({ name: label, attributes: ATTRIBUTE.VOLUME_LABEL, firstCluster: 0, bytes: 0 })];
  let next = FIRST_CLUSTER + chains.length;
  for (const file of options.files ?? []) {
    const clusters = Math.ceil(file.content.length / clusterBytes);
    const firstCluster = clusters === 0 ? 0 : next;
    const name = shortName(file.name);
    entries.push(entry({ name, attributes: ATTRIBUTE.ARCHIVE, firstCluster, bytes: file.content.length }));
    if (next + clusters > layout.clusterCount + FIRST_CLUSTER)
      throw new ImageError(
        `file "${file.name}" (${file.content.length} bytes) does not fit a FAT of ${store.bytes} bytes`,
      );
    if (clusters > 0) {
      store.write(clusterAt(layout, next), file.content);
      chains.push(clusters);
    }
    next += clusters;
  }
  writeRoot(store, layout, concat(entries));
  writeFats(store, layout, chains);
  writeBoot(store, layout, label, next);
}

function layOut(bytes: number, sectorBytes: number): Layout {
  const totalSectors = Math.min(Math.floor(Math.min(bytes, MAX_BYTES) / sectorBytes), MAX_SECTORS);
  for (const kind of KINDS) {
    const [minBytes, maxBytes] = kind.clusterBytes;
    for (let clusterBytes = Math.max(minBytes, sectorBytes); clusterBytes <= maxBytes; clusterBytes *= 2) {
      const clusterSectors = clusterBytes / sectorBytes;
      const rootSectors = Math.ceil((kind.rootEntries * ENTRY_BYTES) / sectorBytes);
      const fixed = kind.reservedSectors + rootSectors;
      // Each pass gives the FATs what the clusters of the pass before need; it grows and stops.
      let fatSectors = 0;
      let clusterCount = 0;
      for (let wanted = 1; wanted > fatSectors; ) {
        fatSectors = wanted;
        clusterCount = Math.floor((totalSectors - fixed - FAT_COUNT * fatSectors) / clusterSectors);
        wanted = Math.ceil(((clusterCount + FIRST_CLUSTER) * kind.bits) / 8 / sectorBytes);
      }
      if (clusterCount < kind.clusters[0] || clusterCount > kind.clusters[1]) continue;
      const { bits, reservedSectors } = kind;
      return {
        bits,
        sectorBytes,
        totalSectors,
        clusterSectors,
        reservedSectors,
        fatSectors,
        rootSectors,
        clusterCount,
      };
    }
  }
  throw new ImageError(`${bytes} bytes in sectors of ${sectorBytes} are too few for a FAT file system`);
}

function rootAt(layout: Layout): number {
  return (layout.reservedSectors + FAT_COUNT * layout.fatSectors) * layout.sectorBytes;
}

function clusterAt(layout: Layout, cluster: number): number {
  const sector = layout.rootSectors + (cluster - FIRST_CLUSTER) * layout.clusterSectors;
  return rootAt(layout) + sector * layout.sectorBytes;
}

function writeRoot(store: ImageStore, layout: Layout, entries: Uint8Array): void {
  const room = (layout.rootSectors || layout.clusterSectors) * layout.sectorBytes;
  if (entries.length > room)
    throw new ImageError(`${entries.length / ENTRY_BYTES} root entries; this FAT has room for ${room / ENTRY_BYTES}`);
  store.write(rootAt(layout), entries);
}

/** Both FATs: the two reserved entries, then each chain as neighbouring clusters. */
function writeFats(store: ImageStore, layout: Layout, chains: readonly number[]): void {
  const endOfChain = layout.bits === 32 ? 0x0fffffff : 2 ** layout.bits - 1;
  const values = [endOfChain - 0xff + MEDIA_FIXED, endOfChain];
  for (const clusters of chains) {
    for (let left = clusters; left > 1; left--) values.push(values.length + 1);
    values.push(endOfChain);
  }
  const table = packFat(values, layout.bits);
  for (let copy = 0; copy < FAT_COUNT; copy++) {
    store.write((layout.reservedSectors + copy * layout.fatSectors) * layout.sectorBytes, table);
  }
}

/** FAT12 entries are 12 bits, low bits first; the others are little-endian words. */
function packFat(values: readonly number[], bits: FatBits): Uint8Array {
  const table = new Uint8Array(Math.ceil((values.length * bits) / 8));
  values.forEach((value, index) => {
    for (let bit = 0; bit < bits; bit += 4) {
      const nibble = (value >>> bit) & 0xf;
      const at = index * bits + bit;
      table[at >> 3] = (table[at >> 3] ?? 0) | (nibble << (at & 7));
    }
  });
  return table;
}

function writeBoot(store: ImageStore, layout: Layout, label: Uint8Array, nextFree: number): void {
  const { bits, sectorBytes, totalSectors, fatSectors } = layout;
  const is32 = bits === 32;
  const common = commonBpb.encode({
    jump: Uint8Array.of(0xeb, is32 ? 0x58 : 0x3c, 0x90),
    oemName: ascii("RUMPUSB "),
    bytesPerSector: sectorBytes,
    sectorsPerCluster: layout.clusterSectors,
    reservedSectors: layout.reservedSectors,
    fatCount: FAT_COUNT,
    rootEntries: (layout.rootSectors * sectorBytes) / ENTRY_BYTES,
    totalSectors16: !is32 && totalSectors < 0x10000 ? totalSectors : 0,
    media: MEDIA_FIXED,
    fatSectors16: is32 ? 0 : fatSectors,
    sectorsPerTrack: 63,
    heads: 255,
    hiddenSectors: 0,
    totalSectors32: is32 || totalSectors >= 0x10000 ? totalSectors : 0,
  });
  const only32 = bpb32.encode({
    fatSectors32: fatSectors,
    flags: 0,
    version: 0,
    rootCluster: FIRST_CLUSTER,
    fsInfoSector: FS_INFO_SECTOR,
    backupBootSector: BACKUP_BOOT_SECTOR,
    reserved: new Uint8Array(12),
  });
  const tail = bootTail.encode({
    driveNumber: 0x80,
    reserved: 0,
    bootSignature: 0x29,
    volumeId: VOLUME_ID,
    label,
    typeName: ascii(`FAT${bits}`.padEnd(8)),
  });
  const boot = new Uint8Array(sectorBytes);
  boot.set(concat(is32 ? [common, only32, tail] : [common, tail]));
  boot.set([0x55, 0xaa], 510);
  store.write(0, boot);
  if (!is32) return;
  const info = fsInfo(layout, nextFree);
  store.write(FS_INFO_SECTOR * sectorBytes, info);
  store.write(BACKUP_BOOT_SECTOR * sectorBytes, boot);
  store.write((BACKUP_BOOT_SECTOR + FS_INFO_SECTOR) * sectorBytes, info);
}

/** fatgen, "FAT32 FSInfo Sector Structure". */
function fsInfo(layout: Layout, nextFree: number): Uint8Array {
  const sector = new Uint8Array(layout.sectorBytes);
  const view = new DataView(sector.buffer);
  view.setUint32(0, 0x41615252, true);
  view.setUint32(484, 0x61417272, true);
  view.setUint32(488, layout.clusterCount - (nextFree - FIRST_CLUSTER), true);
  view.setUint32(492, nextFree, true);
  view.setUint32(508, 0xaa550000, true);
  return sector;
}

function entry(of: { name: Uint8Array; attributes: number; firstCluster: number; bytes: number }): Uint8Array {
  return directoryEntry.encode({
    name: of.name,
    attributes: of.attributes,
    ntReserved: 0,
    createdTenths: 0,
    createdTime: 0,
    createdDate: DATE,
    accessedDate: DATE,
    firstClusterHigh: of.firstCluster >>> 16,
    writtenTime: 0,
    writtenDate: DATE,
    firstClusterLow: of.firstCluster & 0xffff,
    fileBytes: of.bytes,
  });
}

const NAME_CHARACTERS = "[A-Z0-9!#$%&'()@^_`{}~-]";
const SHORT_NAME = new RegExp(`^(${NAME_CHARACTERS}{1,8})(?:\\.(${NAME_CHARACTERS}{1,3}))?$`);

function shortName(name: string): Uint8Array {
  const parts = SHORT_NAME.exec(name);
  if (parts === null)
    throw new ImageError(`file name "${name}": not an 8.3 name in capital letters (fatgen, "Short names")`);
  return ascii(`${(parts[1] ?? "").padEnd(8)}${(parts[2] ?? "").padEnd(3)}`);
}

function labelBytes(label: string): Uint8Array {
  if (!/^[A-Z0-9 _-]{1,11}$/.test(label))
    throw new ImageError(`volume label "${label}": 1 to 11 capital letters, digits, spaces, "_" or "-"`);
  return ascii(label.padEnd(11));
}

function ascii(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}
