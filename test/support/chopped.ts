/** Bytes that arrive in small pieces, for decoders that must not care. */

/** The bytes, `size` at a time. */
export function* chop(bytes: Uint8Array, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield Buffer.from(bytes.subarray(at, at + size));
}

/** Reads exactly, from bytes that arrive `size` at a time. `left` is what nobody has read. */
export function choppedReader(bytes: Uint8Array, size = 2) {
  const pieces = chop(bytes, size);
  let pending = Buffer.alloc(0);
  let taken = 0;
  const read = async (count: number): Promise<Buffer> => {
    while (pending.length < count) {
      const next = pieces.next();
      if (next.done === true) throw new Error('the stream ended early');
      pending = Buffer.concat([pending, next.value]);
    }
    const result = pending.subarray(0, count);
    pending = pending.subarray(count);
    taken += count;
    return result;
  };
  return Object.assign(read, { left: () => bytes.length - taken });
}
