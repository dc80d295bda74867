/** The native half of the zstd library; its public half ignores the level. */
declare module '@mongodb-js/zstd/bindings.js' {
  /** One frame, without content size and checksum. The input must not change before the promise settles. */
  export function compress(data: Buffer, level?: number): Promise<Buffer>;
  /** Expands in one go, however much that is. */
  export function decompress(data: Buffer): Promise<Buffer>;
}
