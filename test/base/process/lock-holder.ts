/**
 * A program that takes the lock of its first argument's kind on its second one's directory, says whether it got it, and
 * waits.
 */
import { takeLock } from '../../../src/base/process/lock.js';

const [kind = '', directory = ''] = process.argv.slice(2);
process.stdout.write(`${takeLock(kind, directory) !== undefined}\n`);
process.stdin.resume();
