/** Asking whoever is at the terminal. */
import { createInterface } from 'node:readline/promises';

/**
 * Ask on the standard error.
 * @returns the line that is answered; empty at the end of standard input
 */
export async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
  try {
    return await Promise.race([lines.question(question), ended]);
  } finally {
    lines.close();
  }
}
