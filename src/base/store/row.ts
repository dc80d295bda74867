/**
 * How a row stands in the database: a checksum of 4 bytes, little-endian, of its table, its id and its value; then its
 * value as V8 serializes it (node:v8), which keeps any key of a map and any text as they are, and reads what earlier
 * releases have written.
 *
 * The total is a row of its own that every write brings up to date. It tells of rows that are gone, or are there as
 * they were once.
 */
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';

const checksumBytes = 4;

/** File of the rows in a database's directory. */
export const dataFile = 'data.mdb';

/** Rows are sealed from this format on. Before, a row was its value alone, as LMDB's binding encodes it. */
export const sealedFormat = 2;

/** Key of the format. The name of its table is empty, as no other table's is. */
export const formatKey = ['', 'format'];
export const totalKey = ['', 'total'];

/** Sums of all rows but the format and the total itself. */
export interface Total {
  readonly rows: number;
  /** Sum of the rows' checksums, modulo 2^32. */
  readonly sum: number;
}

export const noRows: Total = { rows: 0, sum: 0 };

/** A row that is not as it was sealed; its message names it. */
export class DamagedRow extends Error {}

/**
 * A row with its checksum.
 * @param key the name of the table and the id of the row
 */
export function sealRow(key: readonly string[], row: unknown): Buffer {
  const value = serialize(row);
  const sealed = Buffer.allocUnsafe(checksumBytes + value.length);
  sealed.writeUInt32LE(crc32(value, crc32(JSON.stringify(key))));
  sealed.set(value, checksumBytes);
  return sealed;
}

/** @throws DamagedRow, where it is not as it was sealed under that key */
export function openRow(key: readonly string[], sealed: unknown): unknown {
  checksumOf(key, sealed);
  try {
    return deserialize((sealed as Buffer).subarray(checksumBytes));
  } catch (error) {
    throw new DamagedRow(`${nameOf(key)} cannot be read by Node ${process.version}`, { cause: error });
  }
}

/**
 * The checksum of a row, which is right.
 * @throws DamagedRow, where it is not as it was sealed under that key
 */
export function checksumOf(key: readonly string[], sealed: unknown): number {
  if (!(sealed instanceof Uint8Array) || sealed.length < checksumBytes)
    throw new DamagedRow(`${nameOf(key)} is no row`);
  const checksum = new DataView(sealed.buffer, sealed.byteOffset).getUint32(0, true);
  if (checksum === crc32(sealed.subarray(checksumBytes), crc32(JSON.stringify(key)))) return checksum;
  throw new DamagedRow(`${nameOf(key)} has a wrong checksum`);
}

/** The total when one row has come, with its checksum; or has gone, with undefined for what is not there. */
export function totalAfter(total: Total, before: number | undefined, after: number | undefined): Total {
  return {
    rows: total.rows + Number(after !== undefined) - Number(before !== undefined),
    sum: (total.sum + (after ?? 0) - (before ?? 0)) >>> 0,
  };
}

/** Name a row as errors do. */
export function nameOf([table = '', ...id]: readonly string[]): string {
  return `row ${JSON.stringify(id.join())} of table ${JSON.stringify(table)}`;
}
