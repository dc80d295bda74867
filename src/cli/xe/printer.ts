/** How xe lays out what it prints. */

/** A record to print: labels with values, in order. */
export type Row = readonly (readonly [label: string, value: string])[];

export interface Printer {
  table(rows: readonly Row[]): void;
  /** Values, a line each. */
  list(values: readonly string[]): void;
  /** A line for people; silent in --minimal. */
  message(text: string): void;
  /** Print what --minimal has held back. */
  flush(): void;
}

/**
 * One record: the first label padded on its right, the others on their left, to four more than the longest; each record
 * ends in two empty lines.
 */
function formatRecord(row: Row): string {
  const width = 4 + Math.max(0, ...row.map(([label]) => label.length));
  const lines = row.map(([label, value], i) => `${i === 0 ? label.padEnd(width) : label.padStart(width)}: ${value}`);
  return `${lines.join('\n')}\n\n\n`;
}

/** A value in a list with commas: commas and backslashes are escaped. */
function escapeMinimal(value: string): string {
  return value.replace(/[,\\]/g, '\\$&');
}

/**
 * @param minimal print only values, the first of each record, on one line with commas between them
 */
export function createPrinter(write: (text: string) => void, minimal: boolean): Printer {
  if (!minimal) {
    return {
      table: (rows) => write(rows.map(formatRecord).join('')),
      list: (values) => write(values.map((value) => `${value}\n`).join('')),
      message: (text) => write(`${text}\n`),
      flush: () => undefined,
    };
  }
  const parts: string[] = [];
  const keep = (values: string[]) => parts.push(values.map(escapeMinimal).join(','));
  return {
    table: (rows) => {
      const firsts = rows.flatMap((row) => row.slice(0, 1).map(([, value]) => value));
      if (firsts.length > 0) keep(firsts);
    },
    list: (values) => keep([...values]),
    message: () => undefined,
    flush: () => write(`${parts.join(',')}\n`),
  };
}
