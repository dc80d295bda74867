/** Hosts whose clock differs from the coordinator's: VMs that move between them see time jump. */
import type { Ref } from '../../../idl/index.js';
import type { Log } from '../../base/log.js';
import type { HostState } from '../../host/service/service.js';
import { type MessageDeps, tellOfHost } from '../events/messages.js';

/** From what difference on a clock is told of, in milliseconds; as in xapi. */
const largestSkewMs = 5 * 60_000;

/**
 * @returns looks at the clock in a host's state as it comes: told of once, and again once it was under half of that in between
 */
export function createClockWatch(
  deps: MessageDeps & { readonly log: Log },
): (host: Ref<'host'>, state: Pick<HostState, 'name' | 'clock'>) => void {
  const told = new Set<Ref<'host'>>();
  return (host, { name, clock }) => {
    if (clock === undefined) return;
    const ahead = clock - deps.now().getTime();
    const skew = Math.abs(ahead);
    if (skew < largestSkewMs / 2) told.delete(host);
    if (skew <= largestSkewMs || told.has(host)) return;
    told.add(host);
    const what = `${Math.round(skew / 1000)} s ${ahead > 0 ? 'ahead of' : 'behind'} the coordinator's`;
    deps.log.warn(`the clock of host ${name} is ${what}`);
    tellOfHost(deps, 'HOST_CLOCK_SKEW_DETECTED', host, `has a clock that is ${what}: synchronise them`);
  };
}
