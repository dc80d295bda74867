/**
 * The names by which a destination says, in VM.receive's reply, which streams it reads beyond plain ones and the zstd pipe, each
 * with its version. A source compresses inside a stream only where the destination has named that form.
 */

/** The compressed forms of one back end's streams. */
export interface StreamFormats {
  /** The memory stream, with a checksum over the whole of it. */
  readonly memory: string;
  /** The memory stream without that checksum, where there is such a form. */
  readonly unchecked?: string;
  /** The streams of virtual GPUs, where there are any. */
  readonly vgpu?: string;
}

/** libxc's stream: wire/stream/page-codec.md and wire/stream/vgpu-codec.md. */
export const libxcFormats: StreamFormats = {
  memory: 'inline-zstd/3',
  unchecked: 'inline-zstd/2',
  vgpu: 'inline-zstd-vgpu/1',
};

/** QEMU's stream in records: wire/stream/qemu-stream. */
export const qemuFormats: StreamFormats = { memory: 'inline-zstd-qemu/1' };
