/**
 * host.evacuate: migrate every VM of a host to others, several at a time. Nothing starts unless every VM has somewhere to go.
 * When some fail the others still end; every VM is accounted for: it has left, it has ended, or the error names it.
 */
import pLimit from 'p-limit';
import type { Ref } from '../../../idl/index.js';
import { toXapiError, XapiError } from '../../base/errors.js';
import type { OpenTask } from '../../model/dispatch-deps.js';
import type { CallContext } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import type { TaskService } from '../events/tasks.js';
import { withEvacuation } from '../hosts/host-allowed-operations.js';
import { isLive } from '../hosts/host-records.js';
import { assertReachesDevices, type PlacementDeps } from '../hosts/placement.js';
import { domainMemory } from '../vm-records/memory-limits.js';
import { refusal } from '../vm-records/vm-allowed-operations.js';
import type { Departures } from './departures.js';
import { urlOn } from './destination.js';
import { planEvacuation, type VmToMove } from './evacuation-plan.js';

type HostRef = Ref<'host'>;
type VmRef = Ref<'VM'>;

export interface EvacuateDeps extends PlacementDeps {
  readonly tasks: TaskService;
  readonly departures: Departures;
  /** How many VMs leave a host at once, where the caller does not say. */
  readonly evacuationBatchSize: () => number;
}

/** What becomes of each VM of a host: the host that it goes to, or why it cannot go. */
type EvacuationPlan = ReadonlyMap<VmRef, HostRef | XapiError>;

/** @throws HANDLE_INVALID */
async function computePlan(deps: PlacementDeps, host: HostRef): Promise<EvacuationPlan> {
  const { db } = deps;
  const targets = await targetsFor(deps, host);
  const plan = new Map<VmRef, HostRef | XapiError>();
  const movable: VmToMove<VmRef, HostRef>[] = [];
  const silence = isLive(db, host) ? undefined : new XapiError('HOST_OFFLINE', [host]);
  for (const vm of residents(deps, host)) {
    const reachable = targets.filter((target) => obstacle(deps, target.host, vm) === undefined);
    const reason = silence ?? refusal(vm, db.get('VM', vm), 'pool_migrate') ?? whyNowhere(deps, targets, reachable, vm);
    if (reason !== undefined) plan.set(vm, reason);
    else movable.push({ vm, memory: domainMemory(db.get('VM', vm)), hosts: reachable.map((each) => each.host) });
  }
  const placed = planEvacuation(movable, targets);
  for (const { vm } of movable) plan.set(vm, placed.get(vm) ?? new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', [vm]));
  return plan;
}

function residents({ db }: PlacementDeps, host: HostRef): VmRef[] {
  return db.get('host', host).resident_VMs.filter((vm) => db.get('VM', vm).is_control_domain === false);
}

/** The other hosts that take VMs, with the memory that they have free. */
async function targetsFor({ db, members }: PlacementDeps, host: HostRef): Promise<{ host: HostRef; free: number }[]> {
  const others = db.all('host').filter(([ref, row]) => ref !== host && row.enabled && isLive(db, ref));
  const states = await Promise.allSettled(others.map(([ref]) => members.state(ref)));
  return others.flatMap(([ref], index) => {
    const state = states[index];
    return state?.status === 'fulfilled' ? [{ host: ref, free: state.value.memoryFree }] : [];
  });
}

function obstacle({ db }: PlacementDeps, host: HostRef, vm: VmRef): XapiError | undefined {
  try {
    assertReachesDevices(db, host, vm);
    return undefined;
  } catch (error) {
    return toXapiError(error);
  }
}

function whyNowhere(
  deps: PlacementDeps,
  targets: readonly { host: HostRef }[],
  reachable: readonly unknown[],
  vm: VmRef,
): XapiError | undefined {
  if (reachable.length > 0) return undefined;
  const [first] = targets;
  return first === undefined ? new XapiError('NO_HOSTS_AVAILABLE', [vm]) : obstacle(deps, first.host, vm);
}

/** The VMs that could not leave, with the error of each. @throws HANDLE_INVALID */
export async function preventers(deps: PlacementDeps, host: HostRef): Promise<Record<VmRef, string[]>> {
  const plan = await computePlan(deps, host);
  const stuck: Record<VmRef, string[]> = {};
  for (const [vm, outcome] of plan) if (outcome instanceof XapiError) stuck[vm] = [outcome.code, ...outcome.params];
  return stuck;
}

/** @throws CANNOT_EVACUATE_HOST [errors, as `code,parameter,...` joined by `|`] */
export async function assertCanEvacuate(deps: PlacementDeps, host: HostRef): Promise<void> {
  const errors = Object.values(await preventers(deps, host));
  if (errors.length > 0) throw cannotEvacuate(errors);
}

function cannotEvacuate(errors: readonly (readonly string[])[]): XapiError {
  return new XapiError('CANNOT_EVACUATE_HOST', [errors.map((error) => error.join(',')).join('|')]);
}

/**
 * @param network over which the memory goes; the null reference for the hosts' own
 * @param batchSize how many VMs leave at once; 0 for what is configured
 * @throws the error of the VM that cannot go where it is one, CANNOT_EVACUATE_HOST where there are more or migrations failed,
 *   HOST_OFFLINE, OTHER_OPERATION_IN_PROGRESS, what `urlOn` throws for the network, TASK_CANCELLED
 */
export async function evacuate(
  deps: EvacuateDeps,
  context: CallContext,
  host: HostRef,
  network: Ref<'network'>,
  batchSize: number,
): Promise<void> {
  const { db, members } = deps;
  const { task } = context;
  await withEvacuation(db, host, task.ref, async () => {
    if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
    const moves = movesOf(await computePlan(deps, host));
    if (network !== nullRef) for (const target of new Set(moves.values())) urlOn(db, members, target, network);
    const options = { live: 'true', ...(network === nullRef ? {} : { network }) };
    const failures = await moveAll(deps, context, host, moves, options, batchSize);
    if (task.signal.aborted) throw new XapiError('TASK_CANCELLED', [task.ref]);
    const newcomers = residents(deps, host).filter((vm) => !moves.has(vm));
    const left = newcomers.map((vm) => ['HOST_IN_USE', host, 'VM', vm]);
    if (failures.length + left.length > 0) throw cannotEvacuate([...failures, ...left]);
  });
}

/** @throws where a VM has nowhere to go */
function movesOf(plan: EvacuationPlan): Map<VmRef, HostRef> {
  const moves = new Map<VmRef, HostRef>();
  const errors: XapiError[] = [];
  for (const [vm, outcome] of plan) {
    if (outcome instanceof XapiError) errors.push(outcome);
    else moves.set(vm, outcome);
  }
  const [first, ...more] = errors;
  if (first === undefined) return moves;
  throw more.length === 0 ? first : cannotEvacuate(errors.map(({ code, params }) => [code, ...params]));
}

/** @returns the error of each VM that has not left, with the VM among its parameters */
async function moveAll(
  deps: EvacuateDeps,
  { task, session }: CallContext,
  host: HostRef,
  moves: ReadonlyMap<VmRef, HostRef>,
  options: Readonly<Record<string, string>>,
  batchSize: number,
): Promise<string[][]> {
  const limit = pLimit(batchSize > 0 ? batchSize : deps.evacuationBatchSize());
  const failures: string[][] = [];
  let ended = 0;
  const moveOne = async (vm: VmRef, target: HostRef): Promise<void> => {
    if (task.signal.aborted) return;
    const subtask = deps.tasks.create('Async.VM.pool_migrate', session);
    deps.db.update('task', subtask.ref, { subtask_of: task.ref });
    const stop = (): void => cancel(deps, subtask);
    task.signal.addEventListener('abort', stop, { once: true });
    try {
      await deps.departures.poolMigrate(subtask, vm, target, options);
      subtask.succeed('<value></value>');
    } catch (error) {
      const failure = toXapiError(error);
      subtask.fail(failure);
      // A VM that ended by itself meanwhile has left too.
      if (deps.db.find('VM', vm)?.resident_on === host) failures.push(naming(failure, vm));
    } finally {
      task.signal.removeEventListener('abort', stop);
      subtask.destroy();
    }
    ended += 1;
    task.setProgress(ended / moves.size);
  };
  task.setCancellable(true);
  await Promise.all([...moves].map(([vm, target]) => limit(() => moveOne(vm, target))));
  task.setCancellable(false);
  return failures;
}

/** One that is past its commit point goes on. */
function cancel({ tasks }: EvacuateDeps, subtask: OpenTask): void {
  // Where it cannot be cancelled it ends by itself.
  tasks.cancel(subtask.ref).catch(() => undefined);
}

function naming({ code, params }: XapiError, vm: VmRef): string[] {
  return params.includes(vm) ? [code, ...params] : [code, vm, ...params];
}
