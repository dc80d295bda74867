/**
 * Fuzzes the door of a real daemon: whatever comes, it lives, answers, says of nothing that it is its own error, and uses no more
 * descriptors, memory and time for a call than before.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { type ClassModel, classes } from '../../idl/index.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { type Daemon, openSite, type Site } from '../daemon/daemon.js';
import { exchange } from './connection.js';
import { fifthOf, grown, type Sample } from './flatness.js';
import { anyRequest, type FuzzRequest } from './requests.js';

export interface FuzzInit {
  readonly seconds: number;
  readonly seed: number;
  /** Told how it goes. */
  readonly say?: (line: string) => void;
}

export interface FuzzReport {
  readonly requests: number;
  readonly answers: number;
  readonly first: Sample;
  readonly last: Sample;
  /** What was wrong, in words, with the requests before it. */
  readonly problems: readonly string[];
}

const connections = 8;
const batch = 100;
const keptRequests = 2 * connections;
const sampleMs = 100;
/** A daemon that has not answered a plain call by then has stopped answering. */
const patience = { connectMs: 10_000, silenceMs: 30_000 };
/** Objects of each class that are left to name, and to break, when the rest is put away. */
const keptObjects = 5;
const putAwayMs = 1_000;

interface Fuzz {
  readonly site: Site;
  readonly daemon: Daemon;
  readonly port: number;
  readonly init: FuzzInit;
  readonly over: AbortController;
  readonly recent: FuzzRequest[];
  readonly problems: string[];
  readonly samples: Sample[];
  readonly logIn: () => Promise<XapiSession>;
  readonly known: { session: string; refs: ReadonlyMap<string, readonly string[]> };
  requests: number;
  answers: number;
}

/** Fuzz a daemon of its own for a while, or until something is wrong. */
export async function fuzz(init: FuzzInit): Promise<FuzzReport> {
  const site = openSite();
  try {
    const daemon = await site.start();
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    const run: Fuzz = {
      ...{ site, daemon, port: Number(new URL(daemon.url).port), init, over: new AbortController() },
      ...{ recent: [], problems: [], samples: [], known: { session: '', refs: new Map() }, requests: 0, answers: 0 },
      logIn: () => login({ url: daemon.url, username: 'root', password }, 'fuzz', patience),
    };
    await survey(run, await run.logIn());
    const requests = requestsOf(run);
    const timer = setTimeout(() => run.over.abort(), init.seconds * 1000);
    await Promise.all([watch(run), putAway(run), ...Array.from({ length: connections }, () => send(run, requests))]);
    clearTimeout(timer);
    if (run.problems.length === 0) run.problems.push(...grown(run.samples));
    return {
      ...{ requests: run.requests, answers: run.answers, problems: run.problems },
      ...{ first: fifthOf(run.samples, 1), last: fifthOf(run.samples, 4) },
    };
  } finally {
    await site.close();
  }
}

function* requestsOf({ init, known }: Fuzz): Generator<FuzzRequest, never> {
  const request = anyRequest(() => known);
  for (let seed = init.seed; ; seed += 1) yield* fc.sample(request, { seed, numRuns: batch });
}

async function send(run: Fuzz, requests: Generator<FuzzRequest, never>): Promise<void> {
  while (!run.over.signal.aborted) {
    const request = requests.next().value;
    run.requests += 1;
    run.recent.push(request);
    if (run.recent.length > keptRequests) run.recent.shift();
    try {
      const answer = await exchange(run.port, request);
      if (answer !== '') run.answers += 1;
    } catch (error) {
      fail(run, `no connection: ${error}`);
    }
  }
}

/** Note what is wrong, with what was sent before it, and stop. */
function fail(run: Fuzz, what: string): void {
  if (run.over.signal.aborted) return;
  const sent = run.recent.map(({ bytes, pieces, finish }) => {
    const text = JSON.stringify(bytes.subarray(0, 4_000).toString('latin1'));
    return `  ${text} (${bytes.length} bytes, ${pieces} at a time, then ${finish})`;
  });
  const log = run.site.log().trimEnd().split('\n').slice(-10);
  run.problems.push([what, 'the last requests:', ...sent, 'the log:', ...log].join('\n'));
  run.over.abort();
}

/** Look at the daemon from outside. */
async function watch(run: Fuzz): Promise<void> {
  const started = performance.now();
  const session = await run.logIn();
  let told = 0;
  while (!run.over.signal.aborted) {
    try {
      const sample = await sampleOf(run.daemon.pid, session);
      run.samples.push(sample);
      const minute = Math.floor((performance.now() - started) / 60_000);
      if (minute > told) run.init.say?.(`${minute} min: ${run.requests} requests; ${inWords(sample)}`);
      told = minute;
    } catch (error) {
      fail(run, `the daemon does not answer: ${error}`);
    }
    await delay(sampleMs);
  }
  await session.logout();
}

async function sampleOf(pid: number, session: XapiSession): Promise<Sample> {
  const before = performance.now();
  await session.call('pool.get_all');
  const latency = performance.now() - before;
  const resident = Number(/^VmRSS:\s*(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  return { descriptors: fs.readdirSync(`/proc/${pid}/fd`).length, resident, latency };
}

/** A sample in words. */
export function inWords({ descriptors, resident, latency }: Sample): string {
  return `${descriptors} descriptors, ${resident.toFixed(0)} MiB resident, ${latency.toFixed(1)} ms a call`;
}

/** Put away what right calls have made, so that what grows is none of it. The session may have been ended by such a call. */
async function putAway(run: Fuzz): Promise<void> {
  while (!run.over.signal.aborted) {
    const session = await run.logIn();
    await survey(run, session).catch((error: unknown) => fail(run, `the daemon cannot be surveyed: ${error}`));
    const own = /^\S+ error .*$/m.exec(run.site.log())?.[0];
    if (own !== undefined) fail(run, `the daemon has an error of its own: ${own}`);
    await delay(putAwayMs, undefined, { signal: run.over.signal }).catch(() => undefined);
    await session.logout();
  }
}

const listed = Object.values<ClassModel>(classes).filter(
  ({ inDatabase, generic }) => inDatabase && generic.includes('get_all'),
);

async function survey(run: Fuzz, session: XapiSession): Promise<void> {
  const refs = new Map<string, string[]>();
  for (const cls of listed) {
    const all = await session.call<string[]>(`${cls.name}.get_all`).catch(() => []);
    if (all.length > 0) refs.set(cls.name, all);
  }
  run.known.session = session.ref;
  run.known.refs = refs;
  for (const cls of ['message', 'task', 'VGPU', 'VIF', 'VBD', 'VDI', 'VM', 'network', 'SR']) {
    for (const ref of (refs.get(cls) ?? []).slice(keptObjects)) {
      // A VM that runs, for one, is destroyed at a later time or not at all.
      if (cls === 'VM') await session.call('VM.hard_shutdown', ref).catch(() => undefined);
      await session.call(`${cls}.destroy`, ref).catch(() => undefined);
    }
  }
}
