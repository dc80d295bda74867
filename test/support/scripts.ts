/** Shell scripts as helper programs. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface Script {
  readonly program: readonly [string];
  /** Process id of the program, once it runs. */
  pid(): Promise<number>;
}

/** @returns a maker of scripts in a directory, each under a name of its own */
export function scriptsIn(directory: () => string): (body: string) => Promise<Script> {
  let count = 0;
  return async (body) => {
    count += 1;
    const at = path.join(directory(), `script-${count}`);
    await writeFile(at, `#!/bin/sh\necho $$ > ${at}.pid\n${body}\n`, { mode: 0o755 });
    return {
      program: [at],
      async pid() {
        for (;;) {
          const text = await readFile(`${at}.pid`, 'utf8').catch(() => '');
          if (text.endsWith('\n')) return Number(text);
          await delay(5);
        }
      },
    };
  };
}
