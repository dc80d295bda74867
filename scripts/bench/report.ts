/** What the benchmark makes of its samples: medians, ratios within a round, noise; as JSON and as a table. */
import os from 'node:os';

/** Sample: one run of one case; times in seconds. A figure that a case does not have is absent. */
export interface Sample {
  readonly seconds: number;
  /** CPU seconds of the whole process trees of both sides. */
  readonly cpuSeconds: number;
  readonly wireBytes?: number;
  readonly downtimeMs?: number;
  /** Seconds that the migration took, as its task says. */
  readonly taskSeconds?: number;
  /** Compression levels, as the task says. */
  readonly level?: string;
  readonly helperPeakBytes?: number;
  readonly daemonCoreShare?: number;
}

/** Samples by case, one a round. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/** Figures that are printed of a case. `vs_` are medians of the ratios to another case in the same round. */
export interface CaseResult {
  readonly case: string;
  readonly gib_per_s: number | null;
  readonly cpu_s_per_gib: number | null;
  /** Bytes of the guest's memory to a byte on the wire. */
  readonly ratio: number | null;
  readonly downtime_ms: number | null;
  /** Throughput to that of the bare pipeline. */
  readonly vs_pipe: number | null;
  /** CPU-seconds to those of the bare pipeline. */
  readonly vs_pipe_cpu: number | null;
  /** Throughput to that of the bare raw copy. */
  readonly vs_cat: number | null;
  /** Throughput to that of the best: of the automatic level to the best fixed one, of a limit to the best limit. */
  readonly vs_best: number | null;
  readonly best: string | null;
  /** The median deviation of gib_per_s from its median, as a share of it; then the lowest and the highest. */
  readonly noise: number;
  readonly gib_per_s_min: number;
  readonly gib_per_s_max: number;
  readonly rounds: number;
  readonly memory_bytes: number;
  readonly wire_bytes: number | null;
  readonly seconds: number | null;
  readonly task_seconds: number | null;
  readonly level: string | null;
  readonly helper_peak_mib: number | null;
  /** CPU of the busier daemon's process alone, as a share of one core. */
  readonly daemon_core_share: number | null;
}

const GiB = 2 ** 30;
const MiB = 2 ** 20;

/** The middle one of an odd number of values, the mean of the middle two of an even one; undefined of none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return undefined;
  return ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2;
}

/** The median distance of values from their median, as a share of it; 0 for fewer than two. */
export function deviation(values: readonly number[]): number {
  const middle = median(values);
  if (middle === undefined || middle === 0) return 0;
  return (median(values.map((value) => Math.abs(value - middle))) as number) / middle;
}

/** The order in which a round runs the cases: each round begins with the next one. */
export function rotated<T>(cases: readonly T[], round: number): T[] {
  const first = cases.length === 0 ? 0 : round % cases.length;
  return [...cases.slice(first), ...cases.slice(0, first)];
}

export const automatic = 'xenguest-auto';

/** @param memory bytes of all guests, which every sample moved once */
export function summarize(samples: Samples, memory: number): CaseResult[] {
  return [...samples.keys()].map((name) => summary(name, samples, memory, rivalOf(name, samples)));
}

/** The best of the cases that a case is compared with. */
function rivalOf(name: string, samples: Samples): string | undefined {
  const rivals = name === automatic ? 'xenguest:' : 'scale:';
  if (name !== automatic && !name.startsWith(rivals)) return undefined;
  const runs = [...samples].filter(([other]) => other.startsWith(rivals));
  const times = runs.map(([other, each]) => ({ other, seconds: median(each.map(({ seconds }) => seconds)) ?? 0 }));
  return times.sort((one, two) => one.seconds - two.seconds)[0]?.other;
}

function summary(name: string, samples: Samples, memory: number, best: string | undefined): CaseResult {
  const runs = samples.get(name) as readonly Sample[];
  const middle = (value: (run: Sample) => number | undefined) =>
    rounded(median(runs.map(value).filter((v) => v !== undefined)));
  const against = (other: string | undefined, ratio: (run: Sample, to: Sample) => number) => {
    const others = samples.get(other ?? '') ?? [];
    const pairs = runs.flatMap((run, i) => (others[i] === undefined ? [] : [ratio(run, others[i])]));
    return rounded(median(pairs));
  };
  const faster = (run: Sample, to: Sample) => to.seconds / run.seconds;
  const speeds = runs.map(({ seconds }) => memory / GiB / seconds);
  return {
    case: name,
    gib_per_s: rounded(median(speeds)),
    cpu_s_per_gib: middle((run) => run.cpuSeconds / (memory / GiB)),
    ratio: middle((run) => run.wireBytes && memory / run.wireBytes),
    downtime_ms: middle((run) => run.downtimeMs),
    vs_pipe: against('pipe', faster),
    vs_pipe_cpu: against('pipe', (run, to) => run.cpuSeconds / to.cpuSeconds),
    vs_cat: against('cat', faster),
    vs_best: against(best, faster),
    best: best ?? null,
    noise: rounded(deviation(speeds)) as number,
    gib_per_s_min: rounded(Math.min(...speeds)) as number,
    gib_per_s_max: rounded(Math.max(...speeds)) as number,
    rounds: runs.length,
    memory_bytes: memory,
    wire_bytes: middle((run) => run.wireBytes),
    seconds: middle((run) => run.seconds),
    task_seconds: middle((run) => run.taskSeconds),
    level: runs.at(-1)?.level ?? null,
    helper_peak_mib: rounded(median(runs.flatMap(({ helperPeakBytes: peak }) => (peak ? [peak / MiB] : [])))),
    daemon_core_share: middle((run) => run.daemonCoreShare),
  };
}

/** Four significant digits, and all of those before the point. */
function rounded(value: number | undefined): number | null {
  if (value === undefined || !Number.isFinite(value)) return null;
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4));
}

type Column = readonly [title: string, value: (result: CaseResult) => string];

const shown = (value: number | null, digits: number, unit = 1) =>
  value === null ? '' : (value * unit).toFixed(digits);

const columns: readonly Column[] = [
  ['case', (result) => result.case],
  ['GiB/s', (result) => shown(result.gib_per_s, 3)],
  ['± %', (result) => shown(result.noise, 1, 100)],
  ['CPU-s/GiB', (result) => shown(result.cpu_s_per_gib, 2)],
  ['ratio', (result) => shown(result.ratio, 2)],
  ['level', (result) => result.level ?? ''],
  ['wire MiB', (result) => shown(result.wire_bytes, 1, 1 / MiB)],
  ['downtime ms', (result) => shown(result.downtime_ms, 0)],
  ['vs pipe', (result) => shown(result.vs_pipe, 2)],
  ['vs pipe CPU', (result) => shown(result.vs_pipe_cpu, 2)],
  ['vs best', (result) => shown(result.vs_best, 3)],
  ['vs cat', (result) => shown(result.vs_cat, 2)],
  ['helper MiB', (result) => shown(result.helper_peak_mib, 0)],
  ['daemon, % of a core', (result) => shown(result.daemon_core_share, 1, 100)],
];

/** A table in Markdown that is lined up for a terminal too; columns in which nothing stands are left out. */
export function formatTable(results: readonly CaseResult[]): string {
  const used = columns.filter(([, value]) => results.some((result) => value(result) !== ''));
  const rows = [used.map(([title]) => title), ...results.map((result) => used.map(([, value]) => value(result)))];
  const widths = used.map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(rows[0] as string[]), rule, ...rows.slice(1).map(line)].join('\n');
}

export interface RunInit {
  /** Bytes of each guest. */
  readonly memory: number;
  readonly vms: number;
  readonly rounds: number;
  readonly link: string | undefined;
  /** QEMU's version, where it was measured. */
  readonly qemu: string | undefined;
}

/** The machine, the date and what was measured, in words. */
export function describeRun({ memory, vms, rounds, link, qemu }: RunInit): string {
  const cpus = os.cpus();
  const model = cpus[0]?.model.trim() ?? 'unknown processor';
  const room = `${Math.round(os.totalmem() / GiB)} GiB`;
  const programs = `Node ${process.version}${qemu === undefined ? '' : `, QEMU ${qemu}`}`;
  const guests = vms === 1 ? 'An idle guest' : `${vms} idle guests, all at once, each`;
  return [
    `${new Date().toISOString().slice(0, 10)}, ${cpus.length} × ${model}, ${room}, ${os.type()} ${os.release()}, ${programs}.`,
    `${guests} of ${memory / MiB} MiB: 35% zero, 33% program, 22% text, 10% random, in extents of 64 KiB.`,
    `Medians of ${rounds} round${rounds === 1 ? '' : 's'}, ${link === undefined ? 'over loopback' : `over a link of ${link}`}; ± is the median deviation; vs is the median of the ratios within a round.`,
  ].join('\n');
}
