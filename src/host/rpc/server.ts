/**
 * The server of the host-level calls, which hosts make on each other and the coordinator on its members: JSON-RPC on a path of its
 * own. The first parameter is the pool's secret, for VM.receive what proves that the caller has the secret, or the migration_id
 * with its token behind it. A result is JSON in a string, as these calls have no types in the XenAPI's data model.
 */
import { defined } from '../../base/defined.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import { shownValue } from '../../base/schema.js';
import { sameSecret } from '../../base/secret.js';
import type { MigrationDestination } from '../../migrate/destination/migrations.js';
import { checkDomain, checkMetadata, decodeMetadata, encodeReply } from '../../migrate/metadata.js';
import type { RunsWhere } from '../../migrate/protocol.js';
import { checkRequest } from '../../migrate/request.js';
import type { Migrations } from '../../migrate/source/migrations.js';
import {
  assertNoForeignPage,
  type Call,
  type Dispatch,
  type FailedCall,
  type TypedResult,
} from '../../model/dispatch.js';
import { checkJob } from '../service/jobs.js';
import { receiveProof, type Secrets } from '../service/secrets.js';
import type { HostService, HostState } from '../service/service.js';
import { checkHostState } from '../service/state.js';
import type { MemberControl } from './client.js';

export interface HostRpcDeps {
  readonly service: HostService;
  readonly destination: MigrationDestination;
  readonly source: Pick<Migrations, 'mayRun'>;
  readonly secrets: Secrets;
  /** The uuid of this host. */
  readonly hostUuid: string;
  /** Log a failed call whose error has more to say than its caller hears. */
  readonly logFailure: (call: FailedCall, error: XapiError) => void;
  /** Take a member that reports itself; on the coordinator alone. */
  readonly join?: (state: HostState, again: boolean) => Promise<unknown>;
  /** Do what the coordinator asks of this host as a member; on a member alone. */
  readonly control?: MemberControl;
}

type HostCall = (...params: never[]) => Promise<unknown>;
type HostCalls = Readonly<Record<string, HostCall>>;

/** The longest wait for an event, in seconds. */
const longestPoll = 3600;

/**
 * Make what answers the host-level calls.
 *
 * @returns a dispatcher that throws SESSION_AUTHENTICATION_FAILED for an unknown secret, SESSION_INVALID for a wrong token,
 * MESSAGE_METHOD_UNKNOWN [name], INVALID_VALUE for a parameter, and what the call throws
 */
export function createHostRpc(deps: HostRpcDeps): Dispatch {
  const withSecret: HostCalls = { ...serviceCalls(deps.service), ...storageCalls(deps.service), ...poolCalls(deps) };
  const withToken = tokenCalls(deps);
  return async (call) => {
    try {
      return await perform(deps, withSecret, withToken, call);
    } catch (error) {
      // The caller hears the code and its parameters alone.
      if (error instanceof XapiError && typeof error.cause === 'string') {
        const isKnown =
          call.name === 'VM.receive' || [withSecret, withToken].some((calls) => Object.hasOwn(calls, call.name));
        deps.logFailure({ name: isKnown ? call.name : undefined, params: call.params }, error);
      }
      throw error;
    }
  };
}

/** Authenticate a call and answer it. */
async function perform(
  deps: HostRpcDeps,
  withSecret: HostCalls,
  withToken: HostCalls,
  { name, params, origin }: Call,
): Promise<TypedResult> {
  assertNoForeignPage(origin);
  if (Object.hasOwn(withToken, name)) return answer(withToken[name], [params[0] ?? '', params[1] ?? ''].map(String));
  if (name === 'VM.receive') return receive(deps, params);
  if (!Object.hasOwn(withSecret, name)) throw new XapiError('MESSAGE_METHOD_UNKNOWN', [name]);
  const [shown, ...args] = params;
  assertKnown(deps.secrets, shown, (secret) => [secret]);
  return answer(withSecret[name], args);
}

async function answer(call: HostCall | undefined, args: readonly unknown[]): Promise<TypedResult> {
  const result: unknown = await call?.(...(args as never[]));
  return { type: { kind: 'string' }, value: JSON.stringify(result ?? null) };
}

/** VM.receive as another host of the pool calls it. */
async function receive({ service, secrets, hostUuid }: HostRpcDeps, params: readonly unknown[]): Promise<TypedResult> {
  const [proof, ...asked] = params;
  const [migrationId = '', metadata = ''] = asked.map(String);
  // A source of an earlier version shows the secret itself.
  assertKnown(secrets, proof, (secret) => [receiveProof(secret, hostUuid, migrationId, metadata), secret]);
  return answer(
    async () => encodeReply(await service.receive({ migrationId, metadata: decodeMetadata(metadata) })),
    [],
  );
}

/** @throws SESSION_AUTHENTICATION_FAILED for what none of the pool's secrets comes to */
function assertKnown(secrets: Secrets, shown: unknown, expected: (secret: string) => string[]): void {
  const known = secrets().flatMap(expected);
  if (typeof shown === 'string' && known.some((each) => sameSecret(shown, each))) return;
  throw new XapiError('SESSION_AUTHENTICATION_FAILED', ['host', 'this is not the secret of the pool']);
}

/** The calls that carry a migration's token, which the migration checks itself. */
function tokenCalls({ destination, source }: HostRpcDeps): HostCalls {
  return {
    settle: destination.settle,
    acknowledge: destination.acknowledge,
    expects: destination.expects,
    digest: destination.digest,
    mayRun: source.mayRun,
  };
}

/** The methods of HostService, each with its parameters checked: what was JSON may be anything. */
function serviceCalls(service: HostService): HostCalls {
  return {
    state: service.state,
    start: (spec: unknown, paused: unknown, job: unknown) =>
      service.start(checkDomain(spec), paused === true, checkJob(job)),
    pause: (uuid: unknown, job: unknown) => service.pause(textOf('uuid', uuid), checkJob(job)),
    unpause: (uuid: unknown, job: unknown) => service.unpause(textOf('uuid', uuid), checkJob(job)),
    shutdown: (uuid: unknown, clean: unknown, job: unknown) =>
      service.shutdown(textOf('uuid', uuid), clean === true, checkJob(job)),
    reboot: (spec: unknown, clean: unknown, job: unknown) =>
      service.reboot(checkDomain(spec), clean === true, checkJob(job)),
    suspend: (uuid: unknown, job: unknown) => service.suspend(textOf('uuid', uuid), checkJob(job)),
    resume: (uuid: unknown, paused: unknown, job: unknown) =>
      service.resume(textOf('uuid', uuid), paused === true, checkJob(job)),
    refuseJob: (id: unknown) => service.refuseJob(textOf('job', id)),
    migrate: (request: unknown) => service.migrate(checkRequest(request)),
    cancel: (id: unknown) => service.cancel(textOf('migration_id', id)),
    outcome: (id: unknown) => service.outcome(textOf('migration_id', id)),
    doubt: (uuid: unknown, reason: unknown) => service.doubt(textOf('uuid', uuid), String(reason).slice(0, 4096)),
    forceSettlement: (uuid: unknown, runs: unknown) => service.forceSettlement(textOf('uuid', uuid), runsOf(runs)),
    assertTurn: (id: unknown, uuid: unknown) => service.assertTurn(textOf('migration_id', id), textOf('uuid', uuid)),
    receive: (request: { migrationId: string; metadata: unknown } | null) =>
      service.receive({ migrationId: request?.migrationId ?? '', metadata: checkMetadata(request?.metadata) }),
    noted: (id: unknown) => service.noted(textOf('migration_id', id)),
    received: (id: unknown) => service.received(textOf('migration_id', id)),
    refuseUnknown: (id: unknown, uuid: unknown) =>
      service.refuseUnknown(textOf('migration_id', id), textOf('uuid', uuid)),
    callPlugin: (plugin: unknown, fn: unknown, args: unknown) =>
      service.callPlugin(textOf('plugin', plugin), textOf('fn', fn), textsOf('args', args)),
    events: (since: unknown, seconds: unknown) =>
      service.events(numberOf('since', since, Number.MAX_SAFE_INTEGER), numberOf('timeout', seconds, longestPoll)),
  };
}

/** The methods of HostStorage, which checks its own parameters. */
function storageCalls({ storage }: HostService): HostCalls {
  return Object.fromEntries(Object.entries(storage).map(([name, call]) => [`storage.${name}`, call as HostCall]));
}

/** What hosts say to each other as hosts of a pool, where this host takes part in that. */
function poolCalls({ join, control }: HostRpcDeps): HostCalls {
  return defined({
    join: join && ((state: unknown, again: unknown) => join(checkHostState(state), again === true)),
    takeSecrets: control && ((taken: unknown) => control.takeSecrets(checkSecrets(taken))),
    leave: control?.leave,
  }) as HostCalls;
}

function textOf(name: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && value.length <= 200) return value;
  throw invalidValue(name, shownValue(value), 'a text of 1 to 200 characters');
}

function runsOf(value: unknown): RunsWhere {
  if (value === 'here' || value === 'elsewhere') return value;
  throw invalidValue('runs', shownValue(value), 'here, elsewhere');
}

function textsOf(name: string, value: unknown): Record<string, string> {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (isMap && Object.values(value).every((each) => typeof each === 'string')) return value as Record<string, string>;
  throw invalidValue(name, shownValue(value), 'a map of texts');
}

function numberOf(name: string, value: unknown, most: number): number {
  if (typeof value === 'number' && value >= 0 && value <= most) return value;
  throw invalidValue(name, shownValue(value), `a number from 0 to ${most}`);
}

function checkSecrets(value: unknown): string[] {
  const isSecret = (each: unknown) => typeof each === 'string' && each.length >= 16;
  if (Array.isArray(value) && value.length > 0 && value.every(isSecret)) return value;
  throw invalidValue('secrets', '***', 'a list of one or more texts of 16 characters or more');
}
