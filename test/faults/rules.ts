/** The plugin `fault` of a host, as a client of the XenAPI calls it. */
import { XapiError } from '../../src/base/errors.js';
import type { Place } from './cases.js';
import type { Pair, PairHost, PairVm } from './pair.js';
import { until } from './processes.js';

export type RuleId = number;

/** How long a migration may take to come to a step. */
const reachMs = 15_000;
/** The last steps of a side may come after the other has told the end. */
const afterwardsMs = 1000;

/** Add a rule at a step, for one VM, once. */
export async function addRule(
  pair: Pair,
  host: PairHost,
  { side, step }: Place,
  vm: PairVm,
  action: Readonly<Record<string, string>>,
): Promise<RuleId> {
  const args = { side, step, vm: vm.uuid, ...action };
  return JSON.parse(await call(pair, host, 'add', args)) as RuleId;
}

/** Wait until a rule has acted. @returns false where the migration has ended and that has not come about */
export async function fired(pair: Pair, host: PairHost, rule: RuleId, task: string): Promise<boolean> {
  let endedAt = Number.POSITIVE_INFINITY;
  return until(`rule ${rule} at ${host.name}`, reachMs, async () => {
    const status = await pair.call<string>('task.get_status', task);
    if (status !== 'pending') endedAt = Math.min(endedAt, Date.now());
    const all = JSON.parse(await call(pair, host, 'list', {})) as readonly { id: RuleId; fired: number }[];
    if (all.some(({ id, fired: times }) => id === rule && times > 0)) return true;
    return Date.now() > endedAt + afterwardsMs ? false : undefined;
  });
}

/**
 * Forget all rules of a host that runs; what they held up goes on. A coordinator whose disk is full has done so as well
 * where it does not answer, as something else that changed meanwhile cannot be written.
 */
export async function clearRules(pair: Pair, host: PairHost): Promise<void> {
  if (!host.runs() || !pair.hosts[0].runs()) return;
  await call(pair, host, 'clear', {}).catch((error: unknown) => {
    if (!(error instanceof XapiError && error.code === 'OUT_OF_SPACE')) throw error;
  });
}

/** A host that was started anew may be taken for offline for a moment. */
function call(pair: Pair, host: PairHost, fn: string, args: Readonly<Record<string, string>>): Promise<string> {
  return until(`${host.name} answers`, reachMs, () =>
    pair.call<string>('host.call_plugin', host.ref, 'fault', fn, args).catch((error: unknown) => {
      if (error instanceof XapiError && error.code === 'HOST_OFFLINE') return undefined;
      throw error;
    }),
  );
}
