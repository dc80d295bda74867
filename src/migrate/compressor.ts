/**
 * What a migration does with compression: the dispatcher's table, pure.
 *
 * | asked for | `migration-compressor` on the source | zstd pipe, cookie `compress=zstd` | `-compress true` for emu-manager |
 * |---|---|---|---|
 * | no | any | no | no |
 * | yes | `stream` | on memory and vGPU channels; the cookie on every channel | no |
 * | yes | `xenguest` | no | yes |
 *
 * The two are never stacked, and nothing new is passed to emu-manager by default. The destination obeys the cookie and the
 * stream, never its own configuration.
 */
import { acceptedFormats } from './protocol.js';

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
  /** Whether the source's emu-manager answered `-supports compress` with true; asked only if it matters. */
  readonly emuSupportsCompress: () => Promise<boolean>;
}

/**
 * The compressor that is used. Where `xenguest` lacks either side's support it falls back to `stream`, never to a refusal.
 *
 * @returns it, and why it is not the chosen one
 */
export async function effectiveCompressor(
  chosen: Compressor,
  abilities: Abilities,
): Promise<{ readonly used: Compressor; readonly fallback?: string }> {
  if (chosen !== 'xenguest') return { used: chosen };
  if (!acceptedFormats.some((format) => abilities.destinationAccepts.includes(format))) {
    return { used: 'stream', fallback: 'the destination does not accept compression inside the memory stream' };
  }
  if (!(await abilities.emuSupportsCompress())) {
    return { used: 'stream', fallback: 'the emu-manager of the source does not support -compress' };
  }
  return { used: 'xenguest' };
}

/** A row of the table: what the compressor means for the channels and for emu-manager. */
export function compressionPlan(compressor: Compressor): {
  readonly zstdPipe: boolean;
  readonly cookies: Readonly<Record<string, string>>;
  readonly emuFlags: readonly string[];
} {
  return {
    zstdPipe: compressor === 'stream',
    cookies: compressor === 'stream' ? { compress: 'zstd' } : {},
    emuFlags: compressor === 'xenguest' ? ['-compress', 'true'] : [],
  };
}
