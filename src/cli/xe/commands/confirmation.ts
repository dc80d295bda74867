/** Asking before what cannot be undone. */

import type { Context } from '../command.js';
import { boolParam } from '../command-line.js';

/**
 * Say what is about to happen, and go on only with `yes` or `force=true`.
 * @param lines what is about to happen
 * @throws an Error where the answer is another
 */
export async function assertConfirmed({ params, printer, terminal }: Context, lines: readonly string[]): Promise<void> {
  for (const line of lines) printer.message(line);
  if (boolParam(params, 'force')) return;
  const answer = await terminal.ask("Type 'yes' to continue: ");
  if (answer.trim() !== 'yes') throw new Error('Nothing was done; answer yes, or give force=true');
}
