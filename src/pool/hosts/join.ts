/**
 * pool.join: this host, the only one of its pool, becomes a member of another. What stands against it is found before anything
 * changes, here and at the other coordinator.
 */
import type { RecordOf, Ref } from '../../../idl/index.js';
import { invalidValue, toXapiError, XapiError } from '../../base/errors.js';
import { serverForms, serverOrigin, whyRefused } from '../../base/server-address.js';
import { nullRef } from '../../model/value.js';
import { createRpcClient, type RpcClient } from '../../wire/connection/rpc-client.js';
import type { Database } from '../database/database.js';
import type { Members } from './members.js';
import type { PoolMembership } from './membership.js';

export interface JoiningDeps {
  readonly db: Database;
  readonly membership: PoolMembership;
  readonly members: Pick<Members, 'url'>;
  readonly thisHost: () => Ref<'host'>;
}

export interface JoinCall {
  /** As serverOrigin takes it; without a port, at that of the host that joins. */
  readonly address: string;
  readonly user: string;
  readonly password: string;
  /** Join a pool whose hosts have other CPUs, too. */
  readonly force: boolean;
}

type Host = Pick<
  RecordOf<'host'>,
  'software_version' | 'API_version_major' | 'API_version_minor' | 'cpu_info' | 'uuid'
>;

const callTimeoutMs = 30_000;

/**
 * @throws what stands against it here: JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS, JOINING_HOST_CANNOT_HAVE_RUNNING_VMS,
 *   JOINING_HOST_CANNOT_HAVE_RUNNING_OR_SUSPENDED_VMS, JOINING_HOST_CANNOT_HAVE_VMS_WITH_CURRENT_OPERATIONS,
 *   JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS; and there: JOINING_HOST_CONNECTION_FAILED, JOINING_HOST_SERVICE_FAILED,
 *   SESSION_AUTHENTICATION_FAILED, HOST_IS_SLAVE, OPERATION_NOT_ALLOWED, POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION,
 *   POOL_JOINING_HOST_MUST_HAVE_SAME_API_VERSION, HOSTS_NOT_HOMOGENEOUS
 */
export async function joinPool(deps: JoiningDeps, call: JoinCall): Promise<void> {
  assertMayLeave(deps.db);
  const url = coordinatorUrl(call.address, deps.members.url(deps.thisHost()));
  const client = createRpcClient(`${url}/jsonrpc`);
  try {
    const ask = asker(client);
    const session = await ask<string>('session.login_with_password', call.user, call.password, '1.0', 'pool.join');
    try {
      await assertFits(deps, call, ask, session);
      const secret = await ask<string>('pool.initial_auth', session);
      // The wait for the other pool was long enough for things to happen here.
      assertMayLeave(deps.db);
      await leaveFor(deps, url, secret);
    } finally {
      await ask('session.logout', session).catch(() => undefined);
    }
  } finally {
    client.close();
  }
}

/** What would be started between this and the change of the role would run without a record. */
async function leaveFor({ db, membership, thisHost }: JoiningDeps, url: string, secret: string): Promise<void> {
  const host = thisHost();
  const { enabled } = db.get('host', host);
  db.update('host', host, { enabled: false });
  try {
    await membership.join(url, [secret]);
  } catch (error) {
    db.update('host', host, { enabled });
    failed(error);
  }
}

function assertMayLeave(db: Database): void {
  if (db.count('host') > 1) throw new XapiError('JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS');
  const vms = db.all('VM').flatMap(([, vm]) => (vm.is_control_domain ? [] : [vm]));
  if (vms.some((vm) => vm.power_state === 'Running' || vm.power_state === 'Paused')) {
    throw new XapiError('JOINING_HOST_CANNOT_HAVE_RUNNING_VMS');
  }
  if (vms.some((vm) => vm.power_state === 'Suspended')) {
    throw new XapiError('JOINING_HOST_CANNOT_HAVE_RUNNING_OR_SUSPENDED_VMS');
  }
  if (vms.some((vm) => Object.keys(vm.current_operations).length > 0)) {
    throw new XapiError('JOINING_HOST_CANNOT_HAVE_VMS_WITH_CURRENT_OPERATIONS');
  }
  if (db.all('SR').some(([, sr]) => sr.shared)) throw new XapiError('JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS');
}

/** An address without a port has that of this host: the hosts of a pool are mostly alike. @throws INVALID_VALUE */
function coordinatorUrl(address: string, ownUrl: string): string {
  try {
    return serverOrigin(address, new URL(ownUrl).port || '80');
  } catch (error) {
    throw invalidValue('master_address', address, `${serverForms}; ${whyRefused(error)}`);
  }
}

type Ask = <T>(method: string, ...params: unknown[]) => Promise<T>;

function asker(client: RpcClient): Ask {
  return <T>(method: string, ...params: unknown[]) => client.call<T>(method, params, callTimeoutMs).catch(failed);
}

/** A failure that only says that the other side did not do it. */
function failed(error: unknown): never {
  const failure = toXapiError(error);
  if (failure.code !== 'INTERNAL_ERROR') throw failure;
  const code = failure.cause === undefined ? 'JOINING_HOST_SERVICE_FAILED' : 'JOINING_HOST_CONNECTION_FAILED';
  throw new XapiError(code, [], error);
}

async function assertFits({ db, thisHost }: JoiningDeps, call: JoinCall, ask: Ask, session: string): Promise<void> {
  const pools = await ask<Record<string, { uuid: string; master: string }>>('pool.get_all_records', session);
  const [theirs] = Object.values(pools);
  const own = db.get('host', thisHost());
  if (theirs === undefined || db.findByUuid('pool', theirs.uuid) !== undefined) {
    throw new XapiError('OPERATION_NOT_ALLOWED', ['this host is in that pool already']);
  }
  const master = await ask<Host>('host.get_record', session, theirs.master ?? nullRef);
  if (master.software_version.product_version !== own.software_version.product_version) {
    throw new XapiError('POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION');
  }
  const [ours, wanted] = [apiVersion(own), apiVersion(master)];
  if (ours !== wanted) throw new XapiError('POOL_JOINING_HOST_MUST_HAVE_SAME_API_VERSION', [ours, wanted]);
  if (call.force) return;
  const backEnds = [own, master].map(({ software_version }) => software_version.backend);
  if (backEnds[0] !== backEnds[1])
    throw new XapiError('HOSTS_NOT_HOMOGENEOUS', [`the back end is ${backEnds[0]} here and ${backEnds[1]} there`]);
  for (const key of ['vendor', 'modelname']) {
    const [here, there] = [own.cpu_info[key] ?? '', master.cpu_info[key] ?? ''];
    if (here === there) continue;
    throw new XapiError('HOSTS_NOT_HOMOGENEOUS', [`the ${key} of the CPUs is ${here} here and ${there} there`]);
  }
}

function apiVersion(host: Host): string {
  return `${host.API_version_major}.${host.API_version_minor}`;
}
