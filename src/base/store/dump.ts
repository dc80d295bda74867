/** The database as one file, for whoever is to keep a copy elsewhere. */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { dataFile } from './row.js';
import type { Store } from './store.js';

/**
 * Copy what is in the store now.
 * @param beside the path of the database: the copy is made in its directory, and has no name there any more when this returns
 * @returns the copy, open for reading, which is what the database keeps its rows in; whoever gets it closes it
 * @throws XapiError INTERNAL_ERROR where it cannot be made
 */
export async function dumpStore(store: Store, beside: string): Promise<FileHandle> {
  const directory = await mkdtemp(`${beside}.dump-`);
  try {
    await store.copy(directory);
    return await open(join(directory, dataFile));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
