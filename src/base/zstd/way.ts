/** A way to call zstd (RFC 8878), one whole frame at a time. */
export interface Zstd {
  /** Description in words, for the log. */
  readonly way: string;
  /**
   * One frame, made in this thread.
   * @param level zstd's
   * @param room where a way that can puts the frame: frameRoom(data.length) bytes or more; made where absent
   * @returns the frame, in `room` or in a buffer of its own
   */
  compressSync(data: Buffer, level: number, room?: Buffer): Buffer;
  /** The same in another thread. Neither buffer must change, or be used, before it settles. */
  compress(data: Buffer, level: number, room?: Buffer): Promise<Buffer>;
  /**
   * The content of one frame, expanded in this thread.
   * @param frame nothing but one whole frame, as assertFrameBounded finds it
   * @param room as long as the content has to be; a way that can puts it there
   * @returns the content, in `room` or in a buffer of its own; it may be shorter than `room`
   * @throws Error for a frame that is damaged or whose content is longer, of which no more than a block beyond `room` is made
   */
  expandSync(frame: Buffer, room: Buffer): Buffer;
  /** The same in another thread. Neither buffer must change, or be used, before it settles. */
  expand(frame: Buffer, room: Buffer): Promise<Buffer>;
  /**
   * To be awaited before the program ends: other threads do not survive that its memory goes. Calls in other threads
   * that come later never settle.
   */
  close(): Promise<void>;
}

/** The longest that a frame of so many bytes of content can be, in bytes. */
export function frameRoom(bytes: number): number {
  return bytes + (bytes >>> 8) + 64;
}
