/**
 * The jobs of a host: one for each call of the coordinator that changes a domain, under an id that the coordinator gives. A job is
 * listed from before it waits for its VM's lane until it is done, and its end is remembered for a while. A coordinator that does not
 * know what became of a call asks by the id; from then on the job does not begin any more, though its call may still be on its way.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { toXapiError, XapiError } from '../../base/errors.js';
import { parse } from '../../base/schema.js';
import { toWireError, type WireError } from '../../migrate/request.js';

/** A call of the coordinator. */
export interface Job {
  /** Random, one for each call. */
  readonly id: string;
  /** The task's reference. */
  readonly task: string;
  /** The operation's name in the XenAPI. */
  readonly operation: string;
}

/** A job that is under way. */
export interface BusyJob extends Job {
  /** The VM's uuid. */
  readonly vm: string;
}

/** `open`: the job is under way, and its end comes as an event. `refused`: the job is not known, and will never begin. */
export type JobFate =
  | { readonly state: 'open' | 'done' | 'refused' }
  | { readonly state: 'failed'; readonly error: WireError };

export interface Jobs {
  /**
   * Do a job. The same id again is the same job.
   * @param job absent from a coordinator of an earlier version
   * @throws OPERATION_NOT_ALLOWED for one that was refused; what the work throws
   */
  run<T>(job: Job | undefined, about: Pick<BusyJob, 'vm' | 'operation'>, work: () => Promise<T>): Promise<T>;
  /** What became of a job; one that is not known is refused from then on. */
  refuse(id: string): JobFate;
  /** The jobs under way, the oldest first. */
  list(): BusyJob[];
}

/**
 * How many ends are remembered, and how many refusals: calls that may still come are in connections of this daemon, which are
 * fewer.
 */
const kept = 10_000;

/** Begin without jobs. @param onEnded called when a job has ended after somebody asked what became of it */
export function createJobs(onEnded: (id: string) => void): Jobs {
  const underWay = new Map<string, { readonly job: BusyJob; readonly work: Promise<unknown> }>();
  const fates = new Map<string, JobFate>();
  const asked = new Set<string>();
  const remember = (id: string, fate: JobFate): void => {
    fates.set(id, fate);
    for (const [oldest] of fates) if (fates.size > kept) fates.delete(oldest);
  };
  const end = (id: string, fate: JobFate): void => {
    underWay.delete(id);
    remember(id, fate);
    if (asked.delete(id)) onEnded(id);
  };
  return {
    async run<T>(given: Job | undefined, about: Parameters<Jobs['run']>[1], work: () => Promise<T>): Promise<T> {
      const job = { task: '', ...(given ?? { id: randomUUID() }), ...about, ...(given ?? {}) };
      const same = underWay.get(job.id);
      if (same !== undefined) return same.work as Promise<T>;
      if (fates.has(job.id))
        throw new XapiError('OPERATION_NOT_ALLOWED', [`${job.operation} of job ${job.id} is over`]);
      const begun = Promise.resolve().then(work);
      underWay.set(job.id, { job, work: begun });
      begun.then(
        () => end(job.id, { state: 'done' }),
        (error: unknown) => end(job.id, { state: 'failed', error: toWireError(toXapiError(error)) }),
      );
      return begun;
    },
    refuse(id) {
      if (underWay.has(id)) {
        asked.add(id);
        return { state: 'open' };
      }
      const fate = fates.get(id) ?? { state: 'refused' };
      remember(id, fate);
      return fate;
    },
    list: () => [...underWay.values()].map(({ job }) => job),
  };
}

const text = z.string().min(1).max(200);

/** Check a job that came over the wire. @throws INVALID_VALUE that names the part that is wrong and what is allowed */
export function checkJob(value: unknown): Job | undefined {
  if (value === undefined || value === null) return undefined;
  return parse(z.object({ id: text, task: text, operation: text }), 'job', value);
}
