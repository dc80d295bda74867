/** The version of the programs, and of what runs them. */
import { readFileSync } from 'node:fs';

/** The version in package.json, which stands three folders above this compiled file. */
export function ownVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** The oldest major version of Node that is advised; older ones work, from 20.19 on. */
const advisedNode = 22;

/**
 * What is to be said of a Node that is older than is advised.
 * @param version as `process.versions.node` has it
 */
export function adviceOnNode(version: string): string | undefined {
  if (Number.parseInt(version, 10) >= advisedNode) return undefined;
  return `Node ${version} gets no security updates any more (Node 20 since April 2026); Node ${advisedNode} or newer is advised`;
}
