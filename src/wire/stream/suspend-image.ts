/**
 * The suspend image around the memory stream (xapi): a signature, then headers of two little-endian 64-bit integers, type and
 * length. `xenops` is followed by that many bytes of an s-expression that describes the VM, `libxc` by the memory stream,
 * `vgpu` by the state of virtual GPUs, `device-model` by that many bytes of QEMU's state; `end` closes the image. A separate
 * vGPU channel has the same headers and no signature.
 */
import { XapiError } from '../../base/errors.js';
import { formatSExpression, parseSExpression, type SExpression } from './s-expression.js';

/** Precedes the headers of an image; 15 bytes. */
const signature = 'XenSavedDomv2-\n';
export const signatureBytes = signature.length;
export const headerBytes = 16;

const mebibyte = 1 << 20;

/** Each header's type, and the greatest length that it may announce, in bytes. */
const headers = {
  xenops: { type: 0x000f, maxLength: mebibyte },
  libxc: { type: 0x00f0, maxLength: 0 },
  'device-model': { type: 0x0f00, maxLength: mebibyte },
  vgpu: { type: 0x0f10, maxLength: 0 },
  end: { type: 0xffff, maxLength: 0 },
} as const;

export type HeaderType = keyof typeof headers;

export interface ImageHeader {
  readonly type: HeaderType;
  /** Bytes that belong to the header and follow it; 0 for what ends itself. */
  readonly length: number;
}

/** Contents of the Xenops header. */
export interface XenopsRecord {
  /** Time at which the image was saved. */
  readonly time: string;
  readonly wordSize: number;
  /** The VM as its destination needs to know it. */
  readonly vmStr: string;
}

/** The 15 bytes that begin an image. */
export function encodeSignature(): Buffer {
  return Buffer.from(signature, 'latin1');
}

/** @throws INTERNAL_ERROR unless the 15 bytes are the signature */
export function verifySignature(bytes: Buffer): void {
  if (!bytes.equals(encodeSignature()))
    throw damaged(`not a suspend image: it begins with ${JSON.stringify(bytes.toString('latin1'))}`);
}

/** @param length bytes that follow and belong to it; must not be above what the type allows */
export function encodeHeader(type: HeaderType, length = 0): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeBigInt64LE(BigInt(headers[type].type), 0);
  header.writeBigInt64LE(BigInt(checkedLength(type, BigInt(length))), 8);
  return header;
}

/**
 * @param bytes the 16 bytes of a header
 * @throws INTERNAL_ERROR for an unknown type, or a length that the type does not allow
 */
export function decodeHeader(bytes: Buffer): ImageHeader {
  if (bytes.length !== headerBytes) throw damaged(`a header of ${bytes.length} bytes instead of ${headerBytes}`);
  const code = bytes.readBigInt64LE(0);
  const type = (Object.keys(headers) as HeaderType[]).find((name) => BigInt(headers[name].type) === code);
  if (type === undefined) throw damaged(`a header of unknown type 0x${BigInt.asUintN(64, code).toString(16)}`);
  return { type, length: checkedLength(type, bytes.readBigInt64LE(8)) };
}

/**
 * What follows a Xenops header, without the header.
 * @param vmStr the VM as its destination needs to know it
 * @param time when it was saved
 */
export function encodeXenops(vmStr: string, time = new Date()): Buffer {
  const expression = [
    ['time', time.toISOString().replace(/\.\d+Z$/, 'Z')],
    ['word_size', '64'],
    ['vm_str', vmStr],
  ];
  return Buffer.from(formatSExpression(expression), 'latin1');
}

/**
 * @param body what follows a Xenops header
 * @throws INTERNAL_ERROR when a field is missing or malformed
 */
export function decodeXenops(body: Buffer): XenopsRecord {
  const fields = parseSExpression(body);
  const wordSize = Number(field(fields, 'word_size'));
  if (wordSize !== 32 && wordSize !== 64)
    throw damaged(`a word_size of ${field(fields, 'word_size')}; allowed: 32, 64`);
  return { time: field(fields, 'time'), wordSize, vmStr: field(fields, 'vm_str') };
}

function field(fields: SExpression, name: string): string {
  const list = typeof fields === 'string' ? [] : fields;
  const pair = list.find((item) => typeof item !== 'string' && item.length === 2 && item[0] === name);
  const value = pair?.[1];
  if (typeof value !== 'string') throw damaged(`the Xenops record has no ${name}`);
  return value;
}

function checkedLength(type: HeaderType, length: bigint): number {
  const { maxLength } = headers[type];
  if (length >= 0n && length <= BigInt(maxLength)) return Number(length);
  throw damaged(`a ${type} header with length ${length}; allowed: ${maxLength === 0 ? '0' : `0 to ${maxLength}`}`);
}

function damaged(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`suspend image: ${what}`]);
}
