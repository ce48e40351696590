/**
 * Record tables: the layout of a wire structure written once, as data.
 *
 * A record is a list of fields in wire order; offsets and the size follow from it. `decode` checks the length before
 * it reads and ignores bytes beyond what it knows (a descriptor may grow, USB 2.0 §9.5). `encode` wants every field.
 */

/** Bytes that do not hold what a record needs. `spec` names the section that says so. */
export class RecordError extends Error {
  readonly code = "RECORD";
  readonly record: string;
  readonly spec: string;

  constructor(record: string, spec: string, message: string) {
    super(`${record}: ${message} (${spec})`);
    this.name = "RecordError";
    this.record = record;
    this.spec = spec;
  }
}

/**
 * One field type: its width in bytes and how it is read and written. Both are called with a range that lies within the bytes. No
 * DataView: one for each small structure is dearer than the bytes, and moves a small array out of V8's own memory.
 */
export interface Field<T> {
  readonly bytes: number;
  read(bytes: Uint8Array, at: number): T;
  write(bytes: Uint8Array, at: number, value: T): void;
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

export const u8: Field<number> = {
  bytes: 1,
  read: byteAt,
  write: (b, at, n) => {
    b[at] = n;
  },
};
export const u16le: Field<number> = {
  bytes: 2,
  read: (b, at) => byteAt(b, at) | (byteAt(b, at + 1) << 8),
  write: (b, at, n) => {
    b[at] = n;
    b[at + 1] = n >>> 8;
  },
};
export const u32le: Field<number> = {
  bytes: 4,
  read: (b, at) => (u16le.read(b, at) | (u16le.read(b, at + 2) << 16)) >>> 0,
  write: (b, at, n) => {
    u16le.write(b, at, n);
    u16le.write(b, at + 2, n >>> 16);
  },
};
export const u16be: Field<number> = {
  bytes: 2,
  read: (b, at) => (byteAt(b, at) << 8) | byteAt(b, at + 1),
  write: (b, at, n) => {
    b[at] = n >>> 8;
    b[at + 1] = n;
  },
};
export const u32be: Field<number> = {
  bytes: 4,
  read: (b, at) => ((u16be.read(b, at) << 16) | u16be.read(b, at + 2)) >>> 0,
  write: (b, at, n) => {
    u16be.write(b, at, n >>> 16);
    u16be.write(b, at + 2, n);
  },
};
export const u64be: Field<bigint> = {
  bytes: 8,
  read: (b, at) => (BigInt(u32be.read(b, at)) << 32n) | BigInt(u32be.read(b, at + 4)),
  write: (b, at, n) => {
    u32be.write(b, at, Number(BigInt.asUintN(32, n >> 32n)));
    u32be.write(b, at + 4, Number(BigInt.asUintN(32, n)));
  },
};

/** `count` bytes as they are. Reading copies; writing pads a shorter value with zeroes and refuses a longer one. */
export function raw(count: number): Field<Uint8Array> {
  return {
    bytes: count,
    // Not slice(): of a Buffer that is a view.
    read: (b, at) => Uint8Array.prototype.slice.call(b, at, at + count),
    write: (b, at, value) => {
      if (value.length > count) throw new RangeError(`${value.length} bytes do not fit a field of ${count}`);
      b.fill(0, at + value.length, at + count);
      b.set(value, at);
    },
  };
}

type Fields = Record<string, Field<number> | Field<bigint> | Field<Uint8Array>>;
type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** A wire structure. */
export interface RecordTable<F extends Fields> {
  readonly name: string;
  readonly spec: string;
  /** Bytes on the wire. */
  readonly size: number;
  /** @throws RecordError when fewer than `size` bytes stand at `at`. */
  decode(bytes: Uint8Array, at?: number): Values<F>;
  /** A fresh array of `size` bytes, the caller's. */
  encode(values: Values<F>): Uint8Array;
  /** Writes `size` bytes into memory that the caller owns. */
  encodeInto(target: Uint8Array, at: number, values: Values<F>): void;
}

/** Makes a record from its fields in wire order. `spec` is the section that defines it. */
export function record<F extends Fields>(name: string, spec: string, fields: F): RecordTable<F> {
  const layout: { key: string; field: Field<unknown>; at: number }[] = [];
  let size = 0;
  for (const [key, field] of Object.entries(fields)) {
    layout.push({ key, field: field as Field<unknown>, at: size });
    size += field.bytes;
  }
  const encodeInto = (target: Uint8Array, at: number, values: Values<F>): void => {
    if (target.length - at < size)
      throw new RecordError(name, spec, `${target.length - at} bytes of room, ${size} needed`);
    for (const { key, field, at: offset } of layout) field.write(target, at + offset, values[key as keyof F]);
  };
  return {
    name,
    spec,
    size,
    decode(bytes, at = 0) {
      if (bytes.length - at < size)
        throw new RecordError(name, spec, `${Math.max(0, bytes.length - at)} bytes, ${size} needed`);
      const values: Record<string, unknown> = {};
      for (const { key, field, at: offset } of layout) values[key] = field.read(bytes, at + offset);
      return values as Values<F>;
    },
    encode(values) {
      const bytes = new Uint8Array(size);
      encodeInto(bytes, 0, values);
      return bytes;
    },
    encodeInto,
  };
}

/** A DataView of just these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes as two-digit hex, for messages; long runs are cut. */
export function hex(bytes: Uint8Array, maxBytes = 32): string {
  const shown = Array.from(bytes.subarray(0, maxBytes), (b) => b.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > maxBytes ? `${shown} … (${bytes.length} bytes)` : shown;
}

/** A 16-bit id as USB tools print it: four hex digits. */
export function hex16(value: number): string {
  return value.toString(16).padStart(4, "0");
}

/** One array holding all parts in order. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
