/** The table of a sweep: a row for each step, a column for each fault, one for each compressor. */
import { type Case, compressors, type Fault, faults, type Place, places } from './cases.js';

/** How a case went: `ok`, `FAIL`; `-` where there is none; `n/r` where it was not run. */
export type Verdict = 'ok' | 'FAIL' | 'not run';

/**
 * @param all the whole matrix: what is not in it cannot exist
 * @param verdicts by the case's id; compressors, steps and faults of which there is none are left out
 */
export function table(all: readonly Case[], verdicts: ReadonlyMap<string, Verdict>): string {
  const known = all.filter(({ id }) => verdicts.has(id));
  const columns = faults.filter((fault) => known.some((one) => one.fault === fault));
  const head = ['', ...columns.map(numberOf)];
  const parts = compressors.flatMap((compressor) => {
    const own = known.filter((one) => one.compressor === compressor);
    const rows = places.filter((place) => own.some((one) => isAt(one, place)));
    const cell = (place: Place, fault: Fault) => {
      const one = all.find((each) => each.compressor === compressor && isAt(each, place) && each.fault === fault);
      return one === undefined ? '-' : shown(verdicts.get(one.id));
    };
    const lines = rows.map((place) => [`${place.side} ${place.step}`, ...columns.map((fault) => cell(place, fault))]);
    return own.length === 0 ? [] : [`${compressor}\n${[head, ...lines].map(line).join('\n')}`];
  });
  const legend = columns.map((fault) => `${numberOf(fault).padStart(3)}  ${fault.name}`);
  return [...parts, legend.join('\n')].join('\n\n');
}

function isAt(one: Case, { side, step }: Place): boolean {
  return one.side === side && one.step === step;
}

function numberOf(fault: Fault): string {
  return String(faults.indexOf(fault) + 1);
}

function shown(verdict: Verdict | undefined): string {
  if (verdict === 'ok' || verdict === 'FAIL') return verdict;
  return verdict === undefined ? '' : 'n/r';
}

const widest = Math.max(...places.map(({ side, step }) => `${side} ${step}`.length));

function line(cells: readonly string[]): string {
  const [name = '', ...rest] = cells;
  return [name.padEnd(widest), ...rest.map((cell) => cell.padStart(4))].join(' ').trimEnd();
}
