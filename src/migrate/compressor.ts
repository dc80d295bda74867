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
 * well, if it knows that. The destination obeys the cookie and the stream, never its own configuration.
 */
import { compressedFormat } from '../wire/page-codec.js';
import { compressedVgpuFormat } from '../wire/vgpu-codec.js';

/** What `migration-compressor` may be set to. */
export type ConfiguredCompressor = 'stream' | 'xenguest';
export type Compressor = 'none' | ConfiguredCompressor;

/** The compressor that was asked for: what the call asked, as the source's configuration reads it when it is queued. */
export function chooseCompressor(asked: boolean, configured: ConfiguredCompressor): Compressor {
  return asked ? configured : 'none';
}

/** What each side can do that is not a matter of course. */
export interface Abilities {
  /** The formats in VM.receive's reply. */
  readonly destinationAccepts: readonly string[];
  /** What the source's emu-manager answers to `-supports`; asked only if it matters. */
  readonly emuSupports: (feature: 'compress' | 'compress_vgpu') => Promise<boolean>;
}

/** What compression comes to. */
export interface Effect {
  readonly used: Compressor;
  /** Why it is not what was chosen, or not all of it. */
  readonly fallback?: string;
  /** emu-manager has to be told that vGPU streams stay plain. */
  readonly plainVgpus?: true;
}

/**
 * The compressor that is used. Where `xenguest` lacks either side's support it falls back to `stream`, never to a refusal.
 *
 * @param hasVgpus whether there are vGPU streams
 */
export async function effectiveCompressor(
  chosen: Compressor,
  hasVgpus: boolean,
  { destinationAccepts, emuSupports }: Abilities,
): Promise<Effect> {
  if (chosen !== 'xenguest') return { used: chosen };
  if (!destinationAccepts.includes(compressedFormat)) {
    return { used: 'stream', fallback: 'the destination does not accept compression inside the memory stream' };
  }
  if (!(await emuSupports('compress'))) {
    return { used: 'stream', fallback: 'the emu-manager of the source does not support -compress' };
  }
  if (!hasVgpus || destinationAccepts.includes(compressedVgpuFormat)) return { used: 'xenguest' };
  // One that does not know the argument does not compress them in our form either.
  if (!(await emuSupports('compress_vgpu'))) return { used: 'xenguest' };
  const fallback = 'the destination does not accept compression inside the vGPU stream: it stays plain';
  return { used: 'xenguest', plainVgpus: true, fallback };
}

/** A row of the table: what the compressor means for the channels and for emu-manager. */
export function compressionPlan({ used, plainVgpus }: Effect): {
  readonly zstdPipe: boolean;
  readonly cookies: Readonly<Record<string, string>>;
  readonly emuFlags: readonly string[];
} {
  return {
    zstdPipe: used === 'stream',
    cookies: used === 'stream' ? { compress: 'zstd' } : {},
    emuFlags: [
      ...(used === 'xenguest' ? ['-compress', 'true'] : []),
      ...(plainVgpus === true ? ['-compress_vgpu', 'false'] : []),
    ],
  };
}
