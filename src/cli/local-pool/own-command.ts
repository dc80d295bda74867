/** How a reader of what we print gives the commands of xenferry: as programs, or in a checkout by npm. */
import { existsSync } from 'node:fs';

const sources = new URL('../../../../tsconfig.json', import.meta.url);

/** The script of package.json that runs a program in a checkout. */
const scripts = { xe: 'xe', 'xenferry-pool': 'pool' } as const;

/** The beginning of a program's command line. An installation has no sources; a checkout has them above what was compiled. */
export function ownCommand(program: keyof typeof scripts, checkout = existsSync(sources)): string {
  return checkout ? `npm run --silent ${scripts[program]} --` : program;
}
