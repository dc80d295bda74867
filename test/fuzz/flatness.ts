/** Whether what a process uses stays what it is: the middle of the last fifth of the time against that of the second. */

export interface Sample {
  readonly descriptors: number;
  /** MiB that it has in memory. */
  readonly resident: number;
  /** Milliseconds that a plain call took, which waits for the event loop. */
  readonly latency: number;
}

/**
 * What each may be more, as a part of it and in all. The first fifth is for what fills once, such as caches and the heap. A
 * leak of 200 bytes a request is more than is allowed after ten minutes at 1000 requests a second.
 */
const allowed: Readonly<Record<keyof Sample, { readonly part: number; readonly more: number }>> = {
  descriptors: { part: 0, more: 16 },
  resident: { part: 0.25, more: 64 },
  latency: { part: 1, more: 250 },
};

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The middle of one fifth of the samples, the first is 0. */
export function fifthOf(samples: readonly Sample[], index: number): Sample {
  const fifth = samples.slice((samples.length * index) / 5, (samples.length * (index + 1)) / 5);
  const middle = (key: keyof Sample) => medianOf(fifth.map((sample) => sample[key]));
  return { descriptors: middle('descriptors'), resident: middle('resident'), latency: middle('latency') };
}

/** @returns what has grown, in words; nothing where all is flat */
export function grown(samples: readonly Sample[]): string[] {
  const [early, late] = [fifthOf(samples, 1), fifthOf(samples, 4)];
  return (
    (Object.keys(allowed) as (keyof Sample)[])
      // What was not measured is not flat either.
      .filter((key) => !(late[key] <= early[key] * (1 + allowed[key].part) + allowed[key].more))
      .map((key) => `${key} grew from ${early[key].toFixed(1)} to ${late[key].toFixed(1)}`)
  );
}
