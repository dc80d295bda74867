/** zstd in the fastest way that this machine and the running Node have, chosen when it is loaded. */
import { openAddons, openNode } from './addons.js';
import { openFfi } from './ffi.js';
import type { Zstd } from './way.js';

export const zstd: Zstd = (await openFfi()) ?? (await openNode()) ?? (await openAddons());
