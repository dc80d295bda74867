/**
 * The host's side of the plugin `domains`: what there is of VMs here, by what it was made of, and an end for what no pool knows of.
 * What a migration may still need is left alone. Functions, all of them for the coordinator:
 *
 *   list              JSON, an array of Found
 *   destroy(uuid)     destroys the domain and the suspend image
 */
import type { Backend } from '../../backend/backend.js';
import { defined } from '../../base/defined.js';
import type { DomainInfo, DomainSpec } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { MigrationDestination } from '../../migrate/destination/migrations.js';
import { decodeDoubt } from '../../migrate/in-doubt.js';
import type { Migrations } from '../../migrate/source/migrations.js';
import { findDomain } from '../../xenops/perform.js';
import type { Queue } from '../../xenops/queue.js';
import type { Suspended } from '../../xenops/suspended.js';

/** A domain, or a suspend image. */
export interface Found {
  readonly uuid: string;
  /** Absent from a suspend image. */
  readonly domid?: number;
  readonly state: 'running' | 'paused' | 'shutdown' | 'suspended';
  readonly spec: DomainSpec;
  /** Why it does not run, and cannot be taken over. */
  readonly inDoubt?: string;
  /** Why it is left alone. */
  readonly held?: string;
}

export interface HostDomainsDeps {
  readonly backend: Backend;
  readonly queue: Queue;
  readonly suspended: Pick<Suspended, 'list' | 'specOf' | 'discard'>;
  readonly migrations: Pick<Migrations, 'concern'>;
  readonly destination: Pick<MigrationDestination, 'arriving'>;
  readonly log: Log;
  /** Whether a uuid is one that a domain has only while it migrates. */
  readonly isPassing: (uuid: string) => boolean;
}

export interface HostDomains {
  /**
   * @throws XENAPI_PLUGIN_FAILURE for another function, INVALID_VALUE [uuid, value], what `destroy` refuses:
   *   OPERATION_NOT_ALLOWED
   */
  call(fn: string, args: Readonly<Record<string, string>>): Promise<string>;
}

export function createHostDomains(deps: HostDomainsDeps): HostDomains {
  const { backend, queue, suspended, log } = deps;
  const heldBy = (uuid: string, domain: DomainInfo | undefined): string | undefined => {
    if (deps.migrations.concern(uuid) || deps.destination.arriving().includes(uuid)) return 'it migrates';
    const { inDoubt } = domain ?? {};
    return inDoubt !== undefined && decodeDoubt(inDoubt).by === 'migration' ? inDoubt : undefined;
  };

  const list = async (): Promise<Found[]> => {
    const domains = (await backend.list()).filter(({ uuid }) => !deps.isPassing(uuid));
    const images = suspended.list().filter((uuid) => !domains.some((domain) => domain.uuid === uuid));
    const found: Found[] = images.flatMap((uuid) => {
      const spec = suspended.specOf(uuid);
      return spec === undefined
        ? []
        : [{ uuid, state: 'suspended', spec, ...defined({ held: heldBy(uuid, undefined) }) }];
    });
    for (const domain of domains) {
      const { uuid, handle, state } = domain;
      // One that goes meanwhile has no spec any more.
      const spec = await backend.specOf(handle).catch(() => undefined);
      if (state === 'building' || spec === undefined) continue;
      const why = defined({ inDoubt: domain.inDoubt, held: heldBy(uuid, domain) });
      found.push({ uuid, domid: handle.domid, state, spec, ...why });
    }
    return found;
  };
  const destroy = async (uuid: string): Promise<void> => {
    const look = async (): Promise<DomainInfo | undefined> => {
      const domain = await findDomain(backend, uuid);
      const held = deps.isPassing(uuid) ? 'it migrates' : heldBy(uuid, domain);
      if (held !== undefined) throw new XapiError('OPERATION_NOT_ALLOWED', [`domain ${uuid} is left alone: ${held}`]);
      return domain;
    };
    // At once, and again when nothing else is done with it.
    await look();
    await queue.run(uuid, async () => {
      const domain = await look();
      log.warn('destroyed by an operator: no pool knows of it', { vm: uuid, state: domain?.state ?? 'suspended' });
      if (domain !== undefined) await backend.destroy(domain.handle);
      await suspended.discard(uuid);
    });
  };
  return {
    async call(fn, args) {
      if (fn === 'list') return JSON.stringify(await list());
      if (fn !== 'destroy')
        throw new XapiError('XENAPI_PLUGIN_FAILURE', ['unknown function', '', `domains has no ${fn}`]);
      if (args.uuid === undefined) throw new XapiError('INVALID_VALUE', ['uuid', '']);
      await destroy(args.uuid);
      return '';
    },
  };
}
