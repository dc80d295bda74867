/**
 * What a zstd frame can expand to, told from its frame header and block headers alone (RFC 8878), so that a hostile frame is
 * refused before a library expands it in one go.
 */
import { XapiError } from '../errors.js';

const magic = 0xfd2fb528;
/** The most that a block can hold, in bytes. */
const largestBlock = 128 * 1024;
/** No frame of ours needs a window beyond this; what the format recommends decoders to support. */
const largestWindow = 8 << 20;
const blockKinds = { raw: 0, runLength: 1, compressed: 2 } as const;

/**
 * @param frame the whole of one frame and nothing behind it
 * @param rawLength bytes that it is said to expand to
 * @returns whether the frame says its content size; what its blocks could hold does not matter then, as decoders make
 *   room for that size and never write beyond
 * @throws INTERNAL_ERROR when it is not one frame, needs a dictionary or a window beyond 8 MiB, says another content
 *   size, or says none and its blocks could hold a full block more than `rawLength`
 */
export function assertFrameBounded(frame: Buffer, rawLength: number): boolean {
  const { at: start, blockMax, isSized } = frameHeader(frame, rawLength);
  let at = start;
  let bound = 0;
  for (let last = false; !last; ) {
    if (at + 3 > frame.length) throw refused('it ends within its blocks');
    const header = frame.readUIntLE(at, 3);
    last = (header & 1) === 1;
    const kind = (header >> 1) & 3;
    const size = header >> 3;
    if (kind > blockKinds.compressed) throw refused('a block of reserved type');
    if (size > blockMax) throw refused(`a block of ${size} bytes; allowed: ${blockMax}`);
    bound += kind === blockKinds.compressed ? blockMax : size;
    if (!isSized && bound >= rawLength + blockMax) {
      throw refused(`its blocks could hold more than the ${rawLength} bytes announced`);
    }
    at += 3 + (kind === blockKinds.runLength ? 1 : size);
  }
  if ((frame[4] as number) & 0x04) at += 4;
  if (at !== frame.length) throw refused(`${frame.length} bytes where the frame has ${at}`);
  return isSized;
}

function frameHeader(frame: Buffer, rawLength: number): { at: number; blockMax: number; isSized: boolean } {
  if (frame.length < 6 || frame.readUInt32LE(0) !== magic) throw refused('no zstd frame');
  const descriptor = frame[4] as number;
  if ((descriptor & 0x08) !== 0) throw refused('a reserved bit is set');
  if ((descriptor & 0x03) !== 0) throw refused('it needs a dictionary');
  const single = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? Number(single) : 1 << sizeFlag;
  const sizeAt = single ? 5 : 6;
  if (sizeAt + sizeBytes > frame.length) throw refused('it ends within its header');
  const contentSize = readContentSize(frame, sizeAt, sizeBytes);
  if (contentSize !== undefined && contentSize !== BigInt(rawLength)) {
    throw refused(`a content size of ${contentSize} where ${rawLength} bytes were announced`);
  }
  const window = single ? rawLength : windowSize(frame[5] as number);
  if (window > largestWindow) throw refused(`a window of ${window} bytes; allowed: ${largestWindow}`);
  return {
    at: sizeAt + sizeBytes,
    blockMax: Math.min(window, largestBlock),
    isSized: contentSize !== undefined,
  };
}

function readContentSize(frame: Buffer, at: number, bytes: number): bigint | undefined {
  if (bytes === 0) return undefined;
  if (bytes === 8) return frame.readBigUInt64LE(at);
  return BigInt(frame.readUIntLE(at, bytes) + (bytes === 2 ? 256 : 0));
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function refused(why: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`zstd frame refused: ${why}`]);
}
