/** Names for what the tests of storage make, and where the storage has it. */
import { join } from 'node:path';

export const sr = '11111111-1111-4111-8111-111111111111';
export const otherSr = '22222222-2222-4222-8222-222222222222';
export const a = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';
export const b = 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb';
export const c = 'cccccccc-cccc-4ccc-8ccc-cccccccccccc';
export const mib = 2 ** 20;

/** The file of a volume in the storage at `root`. */
export function fileOf(root: string, volume: string, of = sr): string {
  return join(root, of, `${volume}.raw`);
}
