/**
 * emu-manager programs for tests: a script around the real one that notes its arguments, or that answers as an old one
 * does.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const real = fileURLToPath(new URL('../../src/emu-manager/main.js', import.meta.url));

export interface EmuWrapper {
  readonly path: string;
  /** The arguments of each run so far, without the questions whether something is supported. */
  runs(): Promise<string[][]>;
}

/**
 * @param supports the one feature to which it answers true; all that the real one does where absent, nothing where
 * empty
 */
export async function writeEmuWrapper(directory: string, supports?: string): Promise<EmuWrapper> {
  const program = path.join(directory, 'emu-manager');
  const notes = path.join(directory, 'emu-manager.runs');
  await writeFile(notes, '');
  const script = `#!/bin/sh
case "$1" in
-supports) ${supports === undefined ? '' : `test "$2" = '${supports}' && echo true || echo false; exit 0`} ;;
*) echo "$*" >> '${notes}' ;;
esac
exec '${process.execPath}' '${real}' "$@"
`;
  await writeFile(program, script, { mode: 0o755 });
  return {
    path: program,
    async runs() {
      const text = await readFile(notes, 'utf8');
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split(' '));
    },
  };
}
