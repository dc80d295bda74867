/**
 * What a migration does with compression: the dispatcher's table, pure.
 *
 * | asked for | `migration-compressor` on the source | zstd pipe, cookie `compress=zstd` | `-compress true` for emu-manager |
 * |---|---|---|---|
 * | no | any | no | no |
 * | yes | `stream` | on memory and vGPU channels; the cookie on every channel | no |
 * | yes | `xenguest` | no | yes |
 *
 * The two are never stacked, and nothing new is passed to emu-manager by default. `-compress true` is for the memory and the vGPU
 * streams. Where the destination accepts no compressed vGPU streams they stay plain: emu-manager gets `-compress_vgpu false` as
 * well, if it knows that; and `-compress_format 2`, where the destination does not know the checksum of the whole stream. The
 * destination obeys the cookie and the stream, never its own configuration.
 */
import type { StreamCompression } from '../backend/save-helper.js';
import { defined } from '../base/defined.js';
import type { CompressionLevel, EmuFeature } from '../base/protocol/emu-protocol.js';
import type { StreamFormats } from '../base/protocol/stream-formats.js';

/** What `migration-compressor` may be set to. */
export type ConfiguredCompressor = 'stream' | 'xenguest';
export type Compressor = 'none' | ConfiguredCompressor;

/** The compressor that was asked for: what the call asked, as the source's configuration reads it when it is queued. */
export function chooseCompressor(asked: boolean, configured: ConfiguredCompressor): Compressor {
  return asked ? configured : 'none';
}

/** What each side can do that is not a matter of course. */
export interface Abilities {
  /** What the source's back end calls its compressed streams. */
  readonly formats: StreamFormats;
  /** The formats in VM.receive's reply. */
  readonly destinationAccepts: readonly string[];
  /** What the source's emu-manager answers to `-supports`; asked only if it matters. */
  readonly emuSupports: (feature: EmuFeature) => Promise<boolean>;
}

/** What compression comes to. */
export interface Effect extends StreamCompression {
  readonly used: Compressor;
  /** The reason why not all that was chosen is done. */
  readonly fallback?: string;
}

/** What a migration wants. */
export interface Wanted {
  readonly compressor: Compressor;
  readonly level: CompressionLevel;
  readonly hasVgpus: boolean;
}

/** The compressor that is used. Where `xenguest` lacks either side's support it falls back to `stream`, never to a refusal. */
export async function effectiveCompressor(
  { compressor, level, hasVgpus }: Wanted,
  { formats, destinationAccepts, emuSupports }: Abilities,
): Promise<Effect> {
  if (compressor !== 'xenguest') return { used: compressor };
  const accepts = (format: string | undefined) => format !== undefined && destinationAccepts.includes(format);
  const isChecked = accepts(formats.memory);
  if (!isChecked && !accepts(formats.unchecked)) {
    return { used: 'stream', fallback: 'the destination does not accept compression inside the memory stream' };
  }
  if (!(await emuSupports('compress'))) {
    return { used: 'stream', fallback: 'the emu-manager of the source does not support -compress' };
  }
  const hasLevel = level !== 'auto' && (await emuSupports('compress_level'));
  // An emu-manager that does not know -compress_format makes no checksum; one that does not know -compress_vgpu leaves vGPUs plain.
  const unchecked = !isChecked && (await emuSupports('compress_format'));
  const plainVgpus = hasVgpus && !accepts(formats.vgpu) && (await emuSupports('compress_vgpu'));
  const fallbacks = [
    ...(level !== 'auto' && !hasLevel ? ['the emu-manager of the source does not support -compress_level'] : []),
    ...(unchecked ? ['the destination knows no checksum of the memory stream: the pages alone have one'] : []),
    ...(plainVgpus ? ['the destination does not accept compression inside the vGPU stream: it stays plain'] : []),
  ];
  return {
    used: 'xenguest',
    ...(hasLevel ? { level } : {}),
    ...(unchecked ? { unchecked } : {}),
    ...(plainVgpus ? { plainVgpus } : {}),
    ...(fallbacks.length > 0 ? { fallback: fallbacks.join('; ') } : {}),
  };
}

/** A row of the table: what the compressor means for the channels, and inside the streams. */
export function compressionPlan({ used, level, plainVgpus, unchecked }: Effect): {
  readonly zstdPipe: boolean;
  readonly cookies: Readonly<Record<string, string>>;
  readonly compression?: StreamCompression;
} {
  if (used === 'xenguest') {
    return { zstdPipe: false, cookies: {}, compression: defined({ level, plainVgpus, unchecked }) };
  }
  return { zstdPipe: used === 'stream', cookies: used === 'stream' ? { compress: 'zstd' } : {} };
}
