/** The checks of a migration, the same for the call that migrates and the call that only asks; and the plan that they make. */
import type { Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Destination, VmMetadata } from '../../host/service/service.js';
import { encodeMetadata, type Rest } from '../../migrate/metadata.js';
import { xenopsPath } from '../../wire/connection/channel.js';
import { bodyLimit } from '../../wire/connection/rpc-client.js';
import type { Database, RecordView } from '../database/database.js';
import { assertCanTake, hostOf, type PlacementDeps } from '../hosts/placement.js';
import { imageHost } from '../hosts/suspend-image.js';
import { type DomainDeps, vmDomain } from '../vm-records/domain-spec.js';
import { exportVm } from '../vm-records/portable.js';
import { badPowerState } from '../vm-records/vm-allowed-operations.js';
import { mapVifs, poolDestination, readDestination, urlOn } from './destination.js';
import { completeVifMap } from './destination-network.js';
import { booleanOption } from './options.js';

type Strings = Readonly<Record<string, string>>;

export interface MigrationPlan {
  readonly destination: Destination;
  /** The host that sends it. */
  readonly source: Ref<'host'>;
  /** Absent where the VM goes to another pool. */
  readonly host?: Ref<'host'>;
  /** What the destination is told, as the records are now. @throws INVALID_VALUE for what no domain can be or no call can carry */
  metadata(): VmMetadata;
}

export interface PlanDeps extends PlacementDeps, DomainDeps {
  /** The coordinator. */
  readonly thisHost: () => Ref<'host'>;
}

/** The parameters of VM.migrate_send. */
export interface SendCall {
  readonly dest: Strings;
  readonly vdiMap: Strings;
  readonly vifMap: Strings;
  readonly options: Strings;
  readonly vgpuMap: Strings;
}

/** Plan VM.pool_migrate. @throws what stands in the way */
export async function planPoolMigrate(
  deps: PlacementDeps & DomainDeps,
  vm: Ref<'VM'>,
  host: Ref<'host'>,
  options: Strings,
): Promise<MigrationPlan> {
  assertNoCopy(deps.db, vm, options);
  await assertCanTake(deps, host, vm);
  const network = options.network as Ref<'network'> | undefined;
  const way = network === undefined ? undefined : `${urlOn(deps.db, deps.members, host, network)}${xenopsPath}`;
  return {
    destination: poolDestination(deps.db, deps.members, host, way),
    source: hostOf(deps, vm).host,
    host,
    metadata: () => localMetadata(deps, vm),
  };
}

/** Plan VM.migrate_send, within the pool or to another. @throws what stands in the way */
export async function planMigrateSend(deps: PlanDeps, vm: Ref<'VM'>, call: SendCall): Promise<MigrationPlan> {
  const { db } = deps;
  assertNoCopy(db, vm, call.options);
  const { host, foreign } = readDestination(call.dest);
  assertNoDisks(db, vm, call.vdiMap);
  for (const vgpu of Object.keys(call.vgpuMap) as Ref<'VGPU'>[]) {
    if (!db.get('VM', vm).VGPUs.includes(vgpu)) throw new XapiError('HANDLE_INVALID', ['VGPU', vgpu]);
  }
  if (db.find('host', host) === undefined) {
    const networks = mapVifs(db, vm, await completeVifMap(db, vm, call.vifMap, foreign));
    const source = await sourceOf(deps, vm);
    return { destination: foreign, source, metadata: () => foreignMetadata(deps, vm, networks) };
  }
  const record = db.get('VM', vm);
  // Within the pool it is nowhere, and can be started anywhere.
  if (restOf(record) !== undefined) throw badPowerState(vm, record, ['Running', 'Paused']);
  if (Object.keys(call.vifMap).length > 0) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [
      'a VIF map is for migrations to another pool; within a pool networks stay',
    ]);
  }
  await assertCanTake(deps, host, vm);
  const destination = poolDestination(db, deps.members, host, foreign.xenops);
  return { destination, source: hostOf(deps, vm).host, host, metadata: () => localMetadata(deps, vm) };
}

/** The host that sends a VM to another pool. @throws VM_HAS_NO_SUSPEND_VDI, HOST_OFFLINE */
async function sourceOf(deps: PlanDeps, vm: Ref<'VM'>): Promise<Ref<'host'>> {
  const rest = restOf(deps.db.get('VM', vm));
  if (rest === 'suspended') return imageHost(deps, vm);
  return rest === 'halted' ? deps.thisHost() : hostOf(deps, vm).host;
}

/** How a VM is that does not run; undefined for one that does, or is paused. */
function restOf({ power_state }: RecordView<'VM'>): Rest | undefined {
  if (power_state === 'Halted') return 'halted';
  return power_state === 'Suspended' ? 'suspended' : undefined;
}

/** A copy is a migration in name alone. `live` says nothing: a VM that runs goes on running. */
function assertNoCopy(db: Database, ref: Ref<'VM'>, options: Strings): void {
  if (booleanOption(options, 'copy') !== true) return;
  const vm = db.get('VM', ref);
  if (vm.power_state === 'Running' || vm.power_state === 'Paused') {
    throw badPowerState(ref, vm, ['Halted', 'Suspended']);
  }
  throw new XapiError('NOT_IMPLEMENTED', ['VM.migrate_send'], 'not with copy=true');
}

/** Storage does not migrate. What is in a CD drive is ejected on the way to another pool. */
function assertNoDisks(db: Database, vm: Ref<'VM'>, vdiMap: Strings): void {
  for (const vdi of Object.keys(vdiMap) as Ref<'VDI'>[]) db.get('VDI', vdi);
  for (const vbd of db.get('VM', vm).VBDs) {
    const { VDI, type } = db.get('VBD', vbd);
    const vdi = db.find('VDI', VDI);
    if (vdi === undefined || type === 'CD') continue;
    throw new XapiError('SR_DOES_NOT_SUPPORT_MIGRATION', [vdi.SR, 'VDI_MIRROR']);
  }
}

/** @throws INVALID_VALUE [field, size in bytes] for the longest field of records that no call can carry */
function foreignMetadata(deps: DomainDeps, vm: Ref<'VM'>, networks: ReadonlyMap<Ref<'VIF'>, string>): VmMetadata {
  const records = exportVm(deps.db, vm);
  const metadata = { ...localMetadata(deps, vm, networks), records };
  const most = bodyLimit - callOverhead;
  const size = sizeOf(encodeMetadata(metadata));
  if (size <= most) return metadata;
  const { vm: fields, ...others } = records;
  const [[field, bytes] = ['records', size]] = Object.entries({ ...others, ...fields })
    .map(([name, value]) => [name, sizeOf(value)] as const)
    .sort(([, one], [, other]) => other - one);
  throw invalidValue(field, `${bytes} bytes`, `${most} bytes in all for a VM to another pool, of which it has ${size}`);
}

/** For what a call has beside the metadata: its name, session, host and id. */
const callOverhead = 4096;

/** In bytes, as it travels. */
function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/**
 * @param networks each VIF's network at the destination, where that is another pool
 */
function localMetadata(deps: DomainDeps, ref: Ref<'VM'>, networks?: ReadonlyMap<Ref<'VIF'>, string>): VmMetadata {
  const { db } = deps;
  const vm = db.get('VM', ref);
  const rest = restOf(vm);
  return {
    ...(rest === undefined ? { version: 1 } : { version: 2, rest }),
    domain: vmDomain(deps, vm),
    paused: vm.power_state === 'Paused',
    vifs: vm.VIFs.map((vif) => {
      const { uuid, device, MAC, network } = db.get('VIF', vif);
      return { uuid, device, mac: MAC, network: networks?.get(vif) ?? network };
    }),
  };
}
