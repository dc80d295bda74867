/** Text that compresses like prose and logs. The text is the same in every process. */
import { setImmediate } from 'node:timers/promises';
import { nextRandom, type RandomState, seedRandom } from './random.js';

export interface Text {
  /** A buffer with the text made so far at its front. */
  readonly bytes: Buffer;
  /** Make the text up to this number of bytes. */
  extendTo(bytes: number): Promise<void>;
}

const syllables =
  'the of and to in con ter re pre er ing tion al en an is it at es or us ed ly be for with ment per'.split(' ');
const programs = ['kernel', 'sshd', 'systemd', 'cron', 'nginx', 'postgres'];

/** Begin a text of at most `limit` bytes. */
export function createText(limit: number): Text {
  const bytes = Buffer.alloc(limit);
  const random = seedRandom(0x7e87);
  let words: Buffer[] | undefined;
  let at = 0;
  let line = 0;
  let last = Promise.resolve();

  const writeLine = (): void => {
    words ??= makeWords(random);
    const logged = line % 4 === 0;
    if (logged) {
      const time = new Date(1.7e12 + line * 1733).toISOString();
      const program = programs[nextRandom(random, programs.length)];
      at += bytes.write(`\n${time} ${program}[${nextRandom(random, 32768)}]: `, at, 'latin1');
    }
    for (let left = 6 + nextRandom(random, 10); left > 0; left--) {
      at += (words[nextRandom(random, words.length)] as Buffer).copy(bytes, at);
    }
    at += bytes.write(logged ? '\n' : '. ', at, 'latin1');
    line++;
  };
  const extendTo = async (end: number): Promise<void> => {
    while (at < Math.min(end, limit)) {
      writeLine();
      if (line % 1000 === 0) await setImmediate();
    }
  };
  return {
    bytes,
    extendTo: (end) => {
      last = last.then(() => extendTo(end));
      return last;
    },
  };
}

/** Words to pick from, each with a space behind it. As in any language few are frequent and most are rare. */
function makeWords(random: RandomState): Buffer[] {
  const count = 6000;
  const words = Array.from({ length: count }, (_, rank) => {
    const parts = Array.from({ length: (rank > 60 ? 2 : 1) + nextRandom(random, 2) }, () =>
      nextRandom(random, syllables.length),
    );
    const ending = rank > 300 ? String.fromCharCode(97 + nextRandom(random, 26)) : '';
    return Buffer.from(`${parts.map((part) => syllables[part]).join('')}${ending} `);
  });
  return Array.from({ length: 65536 }, (_, i) => words[Math.floor(count ** (i / 65536)) - 1] as Buffer);
}
