/** host.*: what the coordinator answers of a host, or asks it. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import { surface } from '../../model/surface.js';
import { LocalDate, nullRef, utcOffsetAt } from '../../model/value.js';
import { xenopsPath } from '../../wire/connection/channel.js';
import { forgetLost } from '../hosts/eject.js';
import { isLive, staysDisabledKey } from '../hosts/host-records.js';
import { urlOn } from '../migration/destination.js';
import { assertCanEvacuate, evacuate, preventers } from '../migration/evacuate.js';
import { declareDead } from '../migration/force-settlement.js';
import { callDomainPlugin, domainPlugin } from '../vm-life/domain-plugin.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class host. */
export function hostHandlers(deps: HandlerDeps): ClassHandlers<'host'> {
  const { db, members, migrationSessions, thisHost, now } = deps;
  /** What the clock of a host shows, and its zone; the coordinator's, where its version does not tell. */
  const timeOf = async (host: Ref<'host'>): Promise<{ time: Date; utcOffset: number }> => {
    const { clock, utcOffset } = await members.state(host);
    const time = clock === undefined ? now() : new Date(clock);
    return { time, utcOffset: utcOffset ?? utcOffsetAt(time) };
  };
  return {
    async enable(_context, host) {
      db.removeFromMap('host', host, 'other_config', staysDisabledKey);
      db.update('host', host, { enabled: true });
      await db.saved();
    },
    async disable(_context, host, autoEnable) {
      if (autoEnable) db.removeFromMap('host', host, 'other_config', staysDisabledKey);
      else db.putInMap('host', host, 'other_config', staysDisabledKey, 'true');
      db.update('host', host, { enabled: false });
      await db.saved();
    },
    destroy: (_context, host) => forgetLost(deps, host),
    declare_dead: (context, host) => declareDead(deps, context.task.ref, host),
    evacuate: (context, host, network, batchSize) => evacuate(deps, context, host, network, batchSize),
    assert_can_evacuate: (_context, host) => assertCanEvacuate(deps, host),
    get_vms_which_prevent_evacuation: (_context, host) => preventers(deps, host),
    get_uncooperative_resident_VMs(_context, host) {
      db.get('host', host);
      return [];
    },
    call_plugin(_context, host, plugin, fn, args) {
      db.get('host', host);
      if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
      if (plugin === domainPlugin) return callDomainPlugin(deps, host, fn, args);
      return members.service(host).callPlugin(plugin, fn, args);
    },
    compute_free_memory: async (_context, host) => (await members.state(host)).memoryFree,
    compute_memory_overhead: (_context, host) => db.get('host', host).memory_overhead,
    list_methods: () =>
      [...surface.values()].filter(({ implemented, removed }) => implemented && !removed).map(({ name }) => name),
    get_management_interface: (_context, host) =>
      db.get('host', host).PIFs.find((pif) => db.get('PIF', pif).management) ?? nullRef,
    get_servertime: async (_context, host) => (await timeOf(host)).time,
    async get_server_localtime(_context, host) {
      const { time, utcOffset } = await timeOf(host);
      return new LocalDate(time, utcOffset);
    },
    migrate_receive(_context, host, network) {
      const url = urlOn(db, members, host, network);
      const session = migrationSessions.open(host);
      return {
        SM: `${url}/services/SM?session_id=${session}`,
        host,
        xenops: `${url}${xenopsPath}?session_id=${session}`,
        session_id: session,
        master: new URL(members.url(thisHost())).origin,
      };
    },
  };
}
