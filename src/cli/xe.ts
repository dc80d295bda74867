#!/usr/bin/env node
/** The program xe: a command-line client of the XenAPI. */
import { createInterface } from 'node:readline/promises';
import { compileInForeground } from '../base/exit-hang.js';
import { outputFailed } from '../base/output.js';
import { screenOf } from './progress.js';
import { runXe } from './xe-run.js';

compileInForeground();
process.stdout.on('error', (error) => process.exit(outputFailed('xe', error)));

/** The end of standard input is an empty answer. */
async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
  try {
    return await Promise.race([lines.question(question), ended]);
  } finally {
    lines.close();
  }
}

process.exitCode = await runXe(process.argv.slice(2), process.env, {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  screen: screenOf(process),
  ask,
  onInterrupt(listener) {
    process.once('SIGINT', listener);
    return () => void process.off('SIGINT', listener);
  },
});
