/** Errors as xe prints them. */
import { classes, errors } from '../../idl/index.js';
import { messageOf, XapiError } from '../base/errors.js';
import { usage } from './command-line.js';
import type { Objects } from './xe-record.js';

/** What the codes that users meet mean. */
const descriptions: Readonly<Record<string, string>> = {
  BAD_POWER_STATE_TRANSITION: 'That change of power state is not possible.',
  CANNOT_CONTACT_HOST: 'The host cannot be reached.',
  FIELD_TYPE_ERROR: 'The value is not of the type that the field has.',
  HANDLE_INVALID: 'There is no such object, perhaps no more.',
  HOST_CANNOT_ATTACH_NETWORK: 'The host is not connected to the network.',
  HOST_DISABLED: 'The host is disabled.',
  HOST_IS_SLAVE: 'This host is a member of a pool; the coordinator answers for the pool.',
  HOST_NOT_ENOUGH_FREE_MEMORY: 'The host does not have enough free memory.',
  HOST_NOT_LIVE: 'The host does not answer.',
  HOST_OFFLINE: 'The host is offline.',
  INTERFACE_HAS_NO_IP: 'The interface has no IP address.',
  INTERNAL_ERROR: 'The server could not do it, for a reason of its own.',
  INVALID_VALUE: 'The value is not allowed for the field.',
  IS_TUNNEL_ACCESS_PIF: 'The interface is the access side of a tunnel.',
  MAP_DUPLICATE_KEY: 'The map has the key already.',
  MESSAGE_METHOD_UNKNOWN: 'The server does not know the message.',
  MESSAGE_PARAMETER_COUNT_MISMATCH: 'The message takes another number of parameters.',
  MESSAGE_REMOVED: 'The message is no longer part of the API.',
  NOT_IMPLEMENTED: 'The server does not do this.',
  OPERATION_NOT_ALLOWED: 'The operation is not allowed now.',
  OTHER_OPERATION_IN_PROGRESS: 'Another operation on the object is under way.',
  PIF_HAS_NO_NETWORK_CONFIGURATION: 'The interface has no IP configuration.',
  RBAC_PERMISSION_DENIED: 'The role of this session does not allow it.',
  SESSION_INVALID: 'The session is over.',
  TASK_CANCELLED: 'The task was cancelled.',
  TOO_MANY_STORAGE_MIGRATES: 'The host takes part in as many migrations between pools as it may.',
  UUID_INVALID: 'No object has that uuid.',
  VALUE_NOT_SUPPORTED: 'The value is not supported for the field.',
  VIF_NOT_IN_MAP: 'A virtual interface of the VM has no network at the destination.',
  VM_BAD_POWER_STATE: 'The VM is not in the power state that this needs.',
  VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT: 'The guest did not answer the request to shut down.',
  VM_HOST_INCOMPATIBLE_VERSION: 'The host runs an older version than the one where the VM is.',
  VM_INCOMPATIBLE_WITH_THIS_HOST: 'The VM cannot run on the host.',
  VM_IS_TEMPLATE: 'The VM is a template.',
  VM_MIGRATE_FAILED: 'The migration failed.',
  VM_OPERATIONS_BLOCKED: 'Operations on the VM are blocked.',
};

const parameterNames: Readonly<Record<string, readonly string[]>> = errors;

/**
 * The lines that xe prints for an error: for one that the server answered, what its code means and `name: value` for each
 * parameter, an object with its uuid and name; for one of our own, `Error: ...`; for a mistake in how the command was written,
 * what it is and where to find help.
 * @param objects where a session is open, to look objects up
 */
export async function errorLines(error: unknown, objects?: Objects): Promise<string[]> {
  const help = "For usage run: 'xe help'";
  if (!(error instanceof XapiError)) {
    const misused = error instanceof Error && error.cause === usage;
    return misused ? [messageOf(error), help] : [`Error: ${messageOf(error)}`];
  }
  if (error.code === 'SESSION_AUTHENTICATION_FAILED') return ['Authentication failed', help];
  const values = await Promise.all(error.params.map((param) => nameOf(param, objects)));
  const description = descriptions[error.code];
  if (description === undefined) return [`Error code: ${error.code}`, `Error parameters: ${values.join(', ')}`];
  const names = parameterNames[error.code] ?? [];
  const count = Math.max(names.length, values.length);
  const lines = Array.from({ length: count }, (_, i) => `${names[i] ?? '<extra>'}: ${values[i] ?? '<unknown>'}`);
  return [description, ...lines];
}

/** A reference as the object's uuid and name, where it can be found; anything else as it is. */
async function nameOf(param: string, objects: Objects | undefined): Promise<string> {
  if (objects === undefined || !/^OpaqueRef:(?!NULL)/.test(param)) return param;
  for (const [name, model] of Object.entries(classes)) {
    if (!model.inDatabase || !(model.generic as readonly string[]).includes('get_all_records')) continue;
    const record = (await objects.all(name).catch(() => undefined))?.get(param);
    if (record === undefined) continue;
    return typeof record.name_label === 'string' ? `${record.uuid} (${record.name_label})` : String(record.uuid);
  }
  return param;
}
