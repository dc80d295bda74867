/** Whether a migration is asked to compress; with which compressor is the source host's own configuration. */
import { booleanOption } from './options.js';

/**
 * Whether a migration is asked to compress.
 * @param options the call's options; `compress` counts where it is true, on, 1, false, off or 0 in any case
 * @param sameHost whether the VM stays on its host
 * @param poolDefault pool.migration_compression
 */
export function compressionAsked(
  options: Readonly<Record<string, string>>,
  sameHost: boolean,
  poolDefault: boolean,
): boolean {
  return booleanOption(options, 'compress') ?? (sameHost ? false : poolDefault);
}
