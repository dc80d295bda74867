/**
 * The first password of root: it stands in a file of the state directory that its owner alone can read, until it is changed. The
 * file goes with the change, or stays with it: all or nothing, also where the daemon is killed or the power lost in between.
 */
import { randomBytes } from 'node:crypto';
import { lstat, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, XapiError } from '../../base/errors.js';
import { readTextFile } from '../../base/named-file.js';
import { replaceFile } from '../../base/store/durable-file.js';

export interface FirstPassword {
  /**
   * What the file holds where an operator put one there, else a random one, written to it.
   * @throws Error that says what is wrong with the file
   */
  provide(): Promise<string>;
  /**
   * End a change that was cut short: the file is there for as long as it holds true.
   * @param matches whether a password is the one of now
   */
  endChange(matches: (password: string) => Promise<boolean>): Promise<void>;
  /**
   * Remove the file, if there is one, as the password changes.
   * @param change writes the new password; where it fails the file is still there
   * @param flushed has that outlive a loss of power; where it fails the next start ends the change
   * @throws INTERNAL_ERROR that names the file where it cannot be removed: nothing was changed
   */
  removeWith(change: () => Promise<void>, flushed: () => Promise<void>): Promise<void>;
}

/** The first password whose file is in a state directory. */
export function firstPasswordIn(stateDir: string): FirstPassword & { readonly file: string } {
  const file = join(stateDir, 'root-password');
  const aside = `${file}.changing`;
  return {
    file,
    async provide() {
      const found = passwordIn(file);
      if (found !== '') return found;
      const password = randomBytes(18).toString('base64url');
      await replaceFile(file, `${password}\n`);
      return password;
    },
    async endChange(matches) {
      if ((await kindAt(aside)) === 'nothing') return;
      await ((await matches(passwordIn(aside))) ? rename(aside, file) : rm(aside, { force: true }));
    },
    async removeWith(change, flushed) {
      if (!(await setAside(file, aside))) return change();
      try {
        await change();
      } catch (error) {
        await rename(aside, file);
        throw error;
      }
      await flushed();
      await rm(aside, { force: true });
    },
  };
}

/**
 * @returns whether there was a file
 */
async function setAside(file: string, aside: string): Promise<boolean> {
  try {
    const kind = await kindAt(file);
    if (kind === 'nothing') return false;
    if (kind === 'directory') throw new Error('it is a directory');
    await rm(aside, { force: true });
    await rename(file, aside);
    return true;
  } catch (error) {
    throw new XapiError('INTERNAL_ERROR', [`${file} cannot be removed: ${messageOf(error)}`], error);
  }
}

async function kindAt(file: string): Promise<'nothing' | 'directory' | 'file'> {
  try {
    return (await lstat(file)).isDirectory() ? 'directory' : 'file';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'nothing';
    throw error;
  }
}

/** Empty where there is no file. */
function passwordIn(file: string): string {
  try {
    return readTextFile(file).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new Error(`the first password of root, ${file}: ${messageOf(error)}`, { cause: error });
  }
}
