/** Loaded before a daemon: its wall clock is ahead by so many milliseconds as the file CLOCK_STEP_FILE says. */
import { readFileSync } from 'node:fs';

const file = process.env.CLOCK_STEP_FILE as string;
const RealDate = Date;
const now = (): number => RealDate.now() + Number(readFileSync(file, 'utf8'));

class SteppedDate extends RealDate {
  constructor(...given: [] | [number | string | Date]) {
    super(given.length === 0 ? now() : given[0]);
  }
  static override now(): number {
    return now();
  }
}
globalThis.Date = SteppedDate as DateConstructor;
