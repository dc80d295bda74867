/** What dispatch needs of the pool, in memory, with everything that was done to it written down. */
import type { ClassName, Ref } from '../../idl/index.js';
import { createDispatch } from '../../src/api/dispatch.js';
import { XapiError } from '../../src/base/errors.js';
import { logTo } from '../../src/base/log.js';
import type { TypedResult } from '../../src/model/dispatch.js';
import type { DispatchDeps, OpenTask, Rows, SessionIdentity } from '../../src/model/dispatch-deps.js';
import type { CallContext, Handlers } from '../../src/model/handlers.js';
import { recordWithDefaults } from '../../src/model/value.js';

type AnyHandler = (context: CallContext, ...params: never[]) => unknown;

export interface FakeInit {
  readonly handlers?: Record<string, Record<string, AnyHandler>>;
  readonly member?: string;
}

export const vmRef = 'OpaqueRef:11111111-0000-4000-8000-000000000001' as Ref<'VM'>;
export const rootSession = 'OpaqueRef:root' as Ref<'session'>;
export const operatorSession = 'OpaqueRef:operator' as Ref<'session'>;
/** May do two things. */
export const limitedSession = 'OpaqueRef:limited' as Ref<'session'>;
export const nobodySession = 'OpaqueRef:nobody' as Ref<'session'>;

export interface FakeDeps extends DispatchDeps {
  /** What happened to tasks, in order. */
  readonly taskLog: string[];
  /** What was logged, in order. */
  readonly lines: string[];
}

export function fakeDeps(init: FakeInit = {}): FakeDeps {
  const taskLog: string[] = [];
  const lines: string[] = [];
  const log = logTo({
    enabled: (level) => level !== 'debug',
    write: ({ level, message, fields }) => {
      const { error, ...rest } = fields;
      const cause = error instanceof Error && error.cause instanceof Error ? ` ${error.cause.stack}` : '';
      lines.push(`${level} ${message} ${JSON.stringify(rest)}${cause}`);
    },
  });
  const sessions: Record<string, SessionIdentity> = {
    [rootSession]: { ref: rootSession, isLocalSuperuser: true, roles: [] },
    [operatorSession]: { ref: operatorSession, isLocalSuperuser: false, roles: ['vm-operator'] },
    [limitedSession]: {
      ref: limitedSession,
      isLocalSuperuser: false,
      roles: [],
      permissions: new Set(['vm.receive', 'vm.get_all']),
    },
    [nobodySession]: { ref: nobodySession, isLocalSuperuser: false, roles: [] },
  };
  return {
    taskLog,
    lines,
    rows: fakeRows(),
    sessions: { use: (ref) => (Object.hasOwn(sessions, ref) ? sessions[ref] : undefined) },
    tasks: {
      create: (label, session) => fakeTask(taskLog, label, session),
      end: (ref, error) => void taskLog.push(`end ${ref}: ${error?.message ?? 'done'}`),
    },
    handlers: (init.handlers ?? {}) as unknown as Handlers,
    log,
    coordinatorAddress: () => init.member,
    isHostLevel: (message) => message === 'VM.receive',
  };
}

function fakeTask(taskLog: string[], label: string, session: string | undefined): OpenTask {
  const say = (what: string) => taskLog.push(what);
  say(`create ${label} ${session ?? 'none'}`);
  return {
    ref: 'OpaqueRef:task' as Ref<'task'>,
    signal: new AbortController().signal,
    setProgress: (progress) => say(`progress ${progress}`),
    putOtherConfig: (entries) => say(JSON.stringify(entries)),
    setCancellable: (cancellable) => say(`cancellable ${cancellable}`),
    answerCancel: () => undefined,
    succeed: (result) => say(`succeed ${result}`),
    fail: (error) => say(`fail ${error.message}`),
    destroy: () => say('destroy'),
  };
}

function fakeRows(): Rows {
  const vm: Record<string, unknown> = { ...recordWithDefaults('VM'), uuid: 'vm-uuid', name_label: 'one', tags: ['a'] };
  const tables: Partial<Record<ClassName, Map<string, Record<string, unknown>>>> = { VM: new Map([[vmRef, vm]]) };
  const table = (cls: ClassName) => tables[cls] ?? new Map<string, Record<string, unknown>>();
  const record = (cls: ClassName, ref: string) => {
    const row = table(cls).get(ref);
    if (row === undefined) throw new XapiError('HANDLE_INVALID', [cls, ref]);
    return row;
  };
  const refsBy = (cls: ClassName, field: string, value: string) =>
    [...table(cls)].filter(([, row]) => row[field] === value).map(([ref]) => ref as Ref);
  const map = (cls: ClassName, ref: string, field: string) => record(cls, ref)[field] as Record<string, unknown>;
  return {
    record,
    byUuid: (cls, uuid) => {
      const [ref] = refsBy(cls, 'uuid', uuid);
      if (ref === undefined) throw new XapiError('UUID_INVALID', [cls, uuid]);
      return ref;
    },
    byNameLabel: (cls, label) => refsBy(cls, 'name_label', label),
    all: (cls) => [...table(cls)].map(([ref, row]) => [ref as Ref, row] as const),
    set: (cls, ref, field, value) => {
      record(cls, ref)[field] = value;
    },
    addToMap: (cls, ref, field, key, value) => {
      if (Object.hasOwn(map(cls, ref, field), key)) throw new XapiError('MAP_DUPLICATE_KEY', [cls, field, ref, key]);
      map(cls, ref, field)[key] = value;
    },
    removeFromMap: (cls, ref, field, key) => {
      delete map(cls, ref, field)[key];
    },
    addToSet: (cls, ref, field, value) => {
      const row = record(cls, ref);
      row[field] = [...new Set([...(row[field] as unknown[]), value])];
    },
    removeFromSet: (cls, ref, field, value) => {
      const row = record(cls, ref);
      row[field] = (row[field] as unknown[]).filter((each) => each !== value);
    },
  };
}

/** A caller that stays. */
export const origin = { address: '127.0.0.1', userAgent: 'test', closed: new AbortController().signal };

/** One call by a dispatcher of its own. */
export function call(deps: FakeDeps, name: string, params: unknown[], validUtf8 = true): Promise<TypedResult> {
  return createDispatch(deps)({ name, params, validUtf8, origin });
}

/** The error of a call, as its code and parameters; empty where it succeeds. */
export async function errorOf(deps: FakeDeps, name: string, params: unknown[], validUtf8 = true): Promise<unknown[]> {
  try {
    await call(deps, name, params, validUtf8);
  } catch (error) {
    if (error instanceof XapiError) return [error.code, ...error.params];
    throw error;
  }
  return [];
}

/** The XenAPI error that an action throws, as one text. */
export function failureOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof XapiError) return error.message;
    throw error;
  }
  return 'no failure';
}
