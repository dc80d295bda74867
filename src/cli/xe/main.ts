#!/usr/bin/env node
import { tolerateOutput } from '../../base/output.js';
/** The program xe: a command-line client of the XenAPI. */
import { compileInForeground } from '../../base/process/exit-hang.js';
import { ask } from '../client/ask.js';
import { screenOf } from '../client/progress.js';
import { runXe } from './run.js';

compileInForeground();
const ended = tolerateOutput('xe');
const status = await runXe(process.argv.slice(2), process.env, {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  screen: screenOf(process),
  ask,
  onInterrupt(listener) {
    process.once('SIGINT', listener);
    return () => void process.off('SIGINT', listener);
  },
});
process.exitCode = await ended(status);
