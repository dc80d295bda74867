/** zstd in the fastest way that this machine and the running Node have. */
import { openAddons, openNode } from './addons.js';
import { openFfi } from './ffi.js';
import type { Zstd } from './way.js';

let opened: Promise<Zstd> | undefined;

/** Load it where that was not done yet: it takes a quarter of the start of a program that may not need it. */
export function openZstd(): Promise<Zstd> {
  opened ??= openFastest();
  return opened;
}

/** Close it where it was opened; to be awaited before the program ends, see way.ts. */
export async function closeZstd(): Promise<void> {
  await (await opened)?.close();
}

async function openFastest(): Promise<Zstd> {
  return (await openFfi()) ?? (await openNode()) ?? (await openAddons());
}
