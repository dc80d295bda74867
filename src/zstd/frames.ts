/**
 * The outside of a zstd stream (RFC 8878): where frames, blocks and checksums begin and end, so that a stream that is cut short
 * or has something behind its end is found out, and so that no piece given to the library expands to more than a bound.
 */
const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const CHECKSUM_FLAG = 0x04;
const BLOCK_MAX = 128 * 1024;
const BLOCKS_A_PIECE = 8;

type Phase =
  | 'magic number'
  | 'frame header'
  | 'rest of the frame header'
  | 'block header'
  | 'block'
  | 'checksum'
  | 'size of a skippable frame'
  | 'skippable frame';

/** Where the walk stands: the phase, the bytes it still lacks, and the field that is being gathered, if it is one. */
interface Walk {
  phase: Phase;
  missing: number;
  readonly field: Buffer;
  gathered: number;
  hasChecksum: boolean;
  lastBlock: boolean;
  frames: number;
}

/**
 * Passes a zstd stream (RFC 8878) on in pieces that each end at most 8 blocks, so that no piece expands to more than
 * 1 MiB: the decompressor returns all of a piece's output at once, and 1 MiB of input can expand to 32 GiB.
 * It checks the outer structure too, because the decompressor does not report an input that ends early.
 *
 * @param source the stream, cut anywhere
 * @throws Error when the input is empty, ends inside a frame, or holds something else than frames
 */
export function* framePieces(source: Iterable<Buffer>): Generator<Buffer> {
  const walk: Walk = {
    phase: 'magic number',
    missing: 4,
    field: Buffer.alloc(4),
    gathered: 0,
    hasChecksum: false,
    lastBlock: false,
    frames: 0,
  };
  for (const chunk of source) yield* chunkPieces(walk, chunk);
  if (walk.phase !== 'magic number' || walk.gathered > 0) {
    throw new Error(`the input ends early: in a ${walk.phase}, ${walk.missing} bytes are missing`);
  }
  if (walk.frames === 0) throw new Error('the input is empty: a zstd frame was expected');
}

function* chunkPieces(walk: Walk, chunk: Buffer): Generator<Buffer> {
  let start = 0;
  let at = 0;
  let blocks = 0;
  while (at < chunk.length) {
    const end = Math.min(at + walk.missing, chunk.length);
    if (isField(walk.phase)) walk.gathered += chunk.copy(walk.field, walk.gathered, at, end);
    walk.missing -= end - at;
    at = end;
    while (walk.missing === 0) {
      if (walk.phase === 'block') blocks += 1;
      [walk.phase, walk.missing] = nextPhase(walk);
      walk.gathered = 0;
    }
    if (blocks >= BLOCKS_A_PIECE) {
      yield chunk.subarray(start, at);
      start = at;
      blocks = 0;
    }
  }
  if (start < chunk.length) yield chunk.subarray(start);
}

function isField(phase: Phase): boolean {
  return (
    phase === 'magic number' ||
    phase === 'frame header' ||
    phase === 'block header' ||
    phase === 'size of a skippable frame'
  );
}

/** What comes next in the stream, and how many bytes it has. */
function nextPhase(walk: Walk): [phase: Phase, length: number] {
  switch (walk.phase) {
    case 'magic number':
      return afterMagic(walk);
    case 'frame header': {
      const descriptor = walk.field.readUInt8(0);
      walk.hasChecksum = (descriptor & CHECKSUM_FLAG) !== 0;
      return ['rest of the frame header', restOfHeader(descriptor)];
    }
    case 'rest of the frame header':
      return ['block header', 3];
    case 'block header':
      return afterBlockHeader(walk);
    case 'block':
      if (!walk.lastBlock) return ['block header', 3];
      return walk.hasChecksum ? ['checksum', 4] : afterFrame(walk);
    case 'size of a skippable frame':
      return ['skippable frame', walk.field.readUInt32LE(0)];
    case 'checksum':
    case 'skippable frame':
      return afterFrame(walk);
  }
}

function afterMagic(walk: Walk): [Phase, number] {
  const magic = walk.field.readUInt32LE(0);
  if (magic === FRAME_MAGIC) return ['frame header', 1];
  if ((magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC) return ['size of a skippable frame', 4];
  const found = walk.field.toString('hex');
  throw new Error(`not a zstd frame: the ${walk.frames === 0 ? 'input' : 'data after a frame'} starts with ${found}`);
}

function afterFrame(walk: Walk): [Phase, number] {
  walk.frames += 1;
  return ['magic number', 4];
}

function afterBlockHeader(walk: Walk): [Phase, number] {
  const header = walk.field.readUIntLE(0, 3);
  const type = (header >>> 1) & 3;
  const size = header >>> 3;
  if (type === 3) throw new Error('the input is corrupt: a block has the reserved type 3');
  if (size > BLOCK_MAX) {
    throw new Error(`the input is corrupt: a block of ${size} bytes, at most ${BLOCK_MAX} are allowed`);
  }
  walk.lastBlock = (header & 1) !== 0;
  return ['block', type === 1 ? 1 : size];
}

/** How many bytes of window, dictionary and content size follow a frame header descriptor. */
function restOfHeader(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return (singleSegment ? 0 : 1) + dictionary + contentSize;
}

/**
 * Turns a frame without a content checksum into the same frame with one, in place.
 *
 * @param start the start of the frame, at least 5 bytes; {@link checksumField} has to follow the frame
 */
export function announceChecksum(start: Buffer): void {
  start.writeUInt8(start.readUInt8(4) | CHECKSUM_FLAG, 4);
}

/** The last field of a frame with a content checksum, for a checksum of 32 bits unsigned. */
export function checksumField(checksum: number): Buffer {
  const field = Buffer.alloc(4);
  field.writeUInt32LE(checksum);
  return field;
}
