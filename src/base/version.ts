/** The version of the programs. */
import { readFileSync } from 'node:fs';

/** The version in package.json, which stands three folders above this compiled file. */
export function ownVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
