/**
 * One call of the XenAPI, whatever it came in by. The order of checks: UTF-8, name, arity, parameter types, session (or the
 * web page, of a message without one), role.
 *
 * What an `Async.` call could still fail with after the session is in its task: the caller has the reference by then. A session
 * with a purpose of its own makes no such task, and is refused before.
 */

import type { Ref } from '../../idl/index.js';
import { defined } from '../base/defined.js';
import { toXapiError, XapiError } from '../base/errors.js';
import { assertNoForeignPage, type Call, type Dispatch, type FailedCall, type TypedResult } from '../model/dispatch.js';
import type { DispatchDeps, OpenTask, SessionIdentity } from '../model/dispatch-deps.js';
import type { CallContext, CallOrigin, CallTask } from '../model/handlers.js';
import { type Message, surface } from '../model/surface.js';
import { nullRef, type Type } from '../model/value.js';
import { logFailure } from './failure-log.js';
import { answerGeneric } from './generic-messages.js';
import { assertText, bindParams, resolveName } from './parameters.js';
import { encodeXml } from './xml-value.js';

const stringSet: Type = { kind: 'set', element: { kind: 'string' } };
const taskRef: Type = { kind: 'ref', cls: 'task' };

/** The dispatcher of one host. */
export function createDispatch(deps: DispatchDeps): Dispatch {
  return async (call) => {
    try {
      return await dispatch(deps, call);
    } catch (error) {
      const failure = toXapiError(error);
      logFailure(deps.log, failedCall(call), failure);
      throw failure;
    }
  };
}

async function dispatch(deps: DispatchDeps, call: Call): Promise<TypedResult> {
  assertText(call);
  if (call.name === 'system.listMethods') return { type: stringSet, value: [...surface.keys()] };
  const { message, prefix, bare } = resolveName(call.name);
  if (message === undefined) throw unknownMethod(deps, call);
  const args = bindParams(message, bare, call.params);
  const session = identify(deps, message, call);
  if (session?.permissions !== undefined) assertPermitted(message, session, prefix);
  if (message.removed) throw new XapiError('MESSAGE_REMOVED');
  if (prefix !== '' && !message.async) {
    throw new XapiError('Fault', [`No async mode for this operation (rpc: ${message.name})`]);
  }
  const work: Work = { deps, call, message, args, session };
  if (prefix !== '') return startAsync(work);
  if (message.async && message.cls !== 'task' && message.cls !== 'event') return runInTask(work);
  return { type: message.result, value: await perform(work, detachedTask(), call.origin) };
}

/** A call that has passed the checks up to its session. */
interface Work {
  readonly deps: DispatchDeps;
  readonly call: Call;
  readonly message: Message;
  readonly args: readonly unknown[];
  readonly session: SessionIdentity | undefined;
}

/** A name that the model lacks; a bad session in the first parameter comes first. */
function unknownMethod(deps: DispatchDeps, call: Call): XapiError {
  const [first] = call.params;
  const isMember = deps.coordinatorAddress() !== undefined;
  if (typeof first === 'string' && !isMember && deps.sessions.use(first) === undefined) {
    return new XapiError('SESSION_INVALID', [first]);
  }
  return new XapiError('MESSAGE_METHOD_UNKNOWN', [call.name]);
}

function identify(deps: DispatchDeps, message: Message, call: Call): SessionIdentity | undefined {
  const coordinator = deps.coordinatorAddress();
  if (coordinator !== undefined && !deps.isHostLevel(message.name)) throw new XapiError('HOST_IS_SLAVE', [coordinator]);
  if (!message.session) {
    assertNoForeignPage(call.origin);
    return undefined;
  }
  const first = call.params[0];
  const session = deps.sessions.use(String(first));
  if (session === undefined) throw new XapiError('SESSION_INVALID', [String(first)]);
  return session;
}

/** @throws RBAC_PERMISSION_DENIED [message in lower case, what roles may send it] */
function assertPermitted(message: Message, session: SessionIdentity | undefined, prefix = ''): void {
  if (session === undefined || session.isLocalSuperuser) return;
  const { roles, permissions } = session;
  if (permissions === undefined && message.roles.some((role) => roles.includes(role))) return;
  if (prefix === '' && permissions?.has(message.name.toLowerCase()) === true) return;
  const holders = message.roles.join(', ');
  throw new XapiError('RBAC_PERMISSION_DENIED', [
    message.name.toLowerCase(),
    `No permission in user session. (Roles with this permission: ${holders})`,
  ]);
}

async function perform(work: Work, task: CallTask, origin: CallOrigin): Promise<unknown> {
  const { deps, call, message, args, session } = work;
  assertPermitted(message, session);
  if (!message.implemented) throw new XapiError('NOT_IMPLEMENTED', [message.name]);
  if (message.action.kind !== 'custom') return answerGeneric(deps.rows, message, args);
  const handlers = deps.handlers as unknown as Record<string, Record<string, AnyHandler>>;
  const handler = handlers[message.cls]?.[message.method];
  if (handler === undefined) throw new Error(`${message.name} has no handler`);
  const log = deps.log.child({ call: call.name, ...defined({ task: task.ref === nullRef ? undefined : task.ref }) });
  const context: CallContext = { ...defined({ session: session?.ref }), task, log, origin };
  return handler(context, ...args);
}

type AnyHandler = (context: CallContext, ...args: readonly unknown[]) => unknown;

/** A synchronous call of a message that could be asynchronous: its task lives as long as the call. */
async function runInTask(work: Work): Promise<TypedResult> {
  const { deps, call, message, session } = work;
  const task = deps.tasks.create(call.name, session?.ref);
  try {
    return { type: message.result, value: await settle(message, task, perform(work, task, call.origin)) };
  } finally {
    task.destroy();
  }
}

function startAsync(work: Work): TypedResult {
  const { deps, call, message, session } = work;
  const task = deps.tasks.create(call.name, session?.ref);
  // The caller does not wait, so the end of its connection ends nothing.
  const { address, userAgent } = call.origin;
  const origin = { address, userAgent, closed: new AbortController().signal };
  settle(message, task, perform(work, task, origin)).catch((error: unknown) => {
    logFailure(deps.log, { ...failedCall(call), task: task.ref }, toXapiError(error));
  });
  return { type: taskRef, value: task.ref };
}

/** End the task as its work ends. */
async function settle(message: Message, task: OpenTask, work: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  let fragment: string;
  try {
    value = await work;
    fragment = encodeXml(message.result, value);
  } catch (error) {
    const failure = toXapiError(error);
    task.fail(failure);
    throw failure;
  }
  task.succeed(fragment);
  return value;
}

function failedCall({ name, params }: Call): FailedCall {
  return { name: resolveName(name).message === undefined ? undefined : name, params };
}

/** Make what stands for the task of a call that makes none. */
function detachedTask(): CallTask {
  return {
    ref: nullRef as Ref<'task'>,
    get signal() {
      return new AbortController().signal;
    },
    setProgress: () => {},
    putOtherConfig: () => {},
    setCancellable: () => {},
    answerCancel: () => {},
  };
}
