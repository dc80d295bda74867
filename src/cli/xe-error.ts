/** Errors as xe prints them. */
import { errors } from '../../idl/index.js';
import { messageOf, XapiError } from '../base/errors.js';
import { usage } from './command-line.js';
import { nameReferences, type Objects } from './xe-record.js';

/** What the codes that users meet mean. */
const descriptions: Readonly<Record<string, string>> = {
  BAD_POWER_STATE_TRANSITION: 'That change of power state is not possible.',
  CANNOT_CONTACT_HOST: 'The host cannot be reached.',
  CANNOT_EVACUATE_HOST: 'Not every VM can be migrated away from the host.',
  DEVICE_ALREADY_ATTACHED: 'The device is plugged in already.',
  DEVICE_ALREADY_DETACHED: 'The device is unplugged already.',
  DEVICE_ALREADY_EXISTS: 'The VM has a device of that number already.',
  FIELD_TYPE_ERROR: 'The value is not of the type that the field has.',
  HANDLE_INVALID: 'There is no such object, perhaps no more.',
  HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED: 'The network is not on every host.',
  HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED: 'The SR belongs to one host.',
  HOST_CANNOT_ATTACH_NETWORK: 'The host is not connected to the network.',
  HOST_DISABLED: 'The host is disabled.',
  HOST_HAS_RESIDENT_VMS: 'VMs run on the host.',
  HOST_IN_USE: 'Something of the host is in use.',
  HOST_IS_LIVE: 'The host is alive.',
  HOST_IS_SLAVE: 'This host is a member of a pool; the coordinator answers for the pool.',
  HOST_NOT_ENOUGH_FREE_MEMORY: 'The host does not have enough free memory.',
  HOST_NOT_LIVE: 'The host does not answer.',
  HOST_OFFLINE: 'The host is offline.',
  INTERFACE_HAS_NO_IP: 'The interface has no IP address.',
  INTERNAL_ERROR: 'The server could not do it, for a reason of its own.',
  INVALID_DEVICE: 'There is no such device.',
  INVALID_VALUE: 'The value is not allowed for the field.',
  IS_TUNNEL_ACCESS_PIF: 'The interface is the access side of a tunnel.',
  JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS:
    'The host is the coordinator of other hosts; it can only join with none.',
  JOINING_HOST_CANNOT_HAVE_RUNNING_VMS: 'VMs run on the host that is to join.',
  JOINING_HOST_CONNECTION_FAILED: 'The coordinator of the pool to join cannot be reached.',
  MAC_INVALID: 'That is no MAC address.',
  MAP_DUPLICATE_KEY: 'The map has the key already.',
  MEMORY_CONSTRAINT_VIOLATION: 'The memory limits do not fit one another.',
  MEMORY_CONSTRAINT_VIOLATION_ORDER:
    'The memory limits are not in order: static-min, dynamic-min, dynamic-max, static-max.',
  MESSAGE_METHOD_UNKNOWN: 'The server does not know the message.',
  MESSAGE_PARAMETER_COUNT_MISMATCH: 'The message takes another number of parameters.',
  MESSAGE_REMOVED: 'The message is no longer part of the API.',
  NETWORK_CONTAINS_PIF: 'A physical interface is on the network.',
  NETWORK_CONTAINS_VIF: 'Virtual interfaces are on the network.',
  NOT_IMPLEMENTED: 'The server does not do this.',
  NO_HOSTS_AVAILABLE: 'No host can take the VM.',
  OPERATION_NOT_ALLOWED: 'The operation is not allowed now.',
  OTHER_OPERATION_IN_PROGRESS: 'Another operation on the object is under way.',
  OUT_OF_SPACE: 'The disk of the database is full. Make space, and try again.',
  PBD_EXISTS: 'The SR is connected to the host already.',
  PIF_HAS_NO_NETWORK_CONFIGURATION: 'The interface has no IP configuration.',
  RBAC_PERMISSION_DENIED: 'The role of this session does not allow it.',
  SESSION_INVALID: 'The session is over.',
  SR_FULL: 'The SR is full.',
  SR_HAS_NO_PBDS: 'No host is connected to the SR.',
  SR_HAS_PBD: 'The SR is still attached to hosts.',
  SR_NOT_EMPTY: 'The SR still has VDIs.',
  SR_UNKNOWN_DRIVER: 'There is no SR of that type.',
  TASK_CANCELLED: 'The task was cancelled.',
  TOO_MANY_STORAGE_MIGRATES: 'The host takes part in as many migrations between pools as it may.',
  UUID_INVALID: 'No object has that uuid.',
  VALUE_NOT_SUPPORTED: 'The value is not supported for the field.',
  VDI_IN_USE: 'The VDI is in use.',
  VIF_NOT_IN_MAP: 'A virtual interface of the VM has no network at the destination.',
  VM_BAD_POWER_STATE: 'The VM is not in the power state that this needs.',
  VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT: 'The guest did not answer the request to shut down.',
  VM_HOST_INCOMPATIBLE_VERSION: 'The host runs an older version than the one where the VM is.',
  VM_INCOMPATIBLE_WITH_THIS_HOST: 'The VM cannot run on the host.',
  VM_IS_TEMPLATE: 'The VM is a template.',
  VM_MIGRATE_FAILED: 'The migration failed.',
  VM_NO_EMPTY_CD_VBD: 'The VM has no CD drive that is empty.',
  VM_NO_SUSPEND_SR: 'No SR is set for the memory of suspended VMs.',
  VM_OPERATIONS_BLOCKED: 'Operations on the VM are blocked.',
  VM_REQUIRES_NETWORK: 'The host is not connected to a network of the VM.',
  VM_REQUIRES_SR: 'The host is not connected to an SR that has a disk of the VM.',
};

/** What fields can be that a server refuses without saying so: the error has room for the field and the value alone. */
const allowedValues: Readonly<Record<string, string>> = {
  HVM_shadow_multiplier: '0 to 1024',
  VCPUs_at_startup: '1 to VCPUs-max',
  VCPUs_max: 'VCPUs-at-startup to 1024',
  bridge: 'at most 15 characters',
  domain_type: 'hvm',
  ha_restart_priority: 'restart, best-effort, or empty',
  memory_static_max: 'more than 0 bytes',
  physical_size: '0 or more bytes',
  shared: 'false',
  virtual_size: '1 byte to 16 TiB',
};

const parameterNames: Readonly<Record<string, readonly string[]>> = errors;

/**
 * The lines that xe prints for an error: for one that the server answered, what its code means and `name: value` for each
 * parameter, objects with their uuid and name; for one of our own, `Error: ...`; for a mistake in how the command was written,
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
  const { params } = objects === undefined ? error : await withNames(error, objects);
  if (!Object.hasOwn(parameterNames, error.code))
    return [`Error code: ${error.code}`, `Error parameters: ${params.join(', ')}`];
  const names = parameterNames[error.code] ?? [];
  const count = Math.max(names.length, params.length);
  const lines = Array.from({ length: count }, (_, i) => `${names[i] ?? '<extra>'}: ${params[i] ?? '<unknown>'}`);
  const allowed = error.code === 'INVALID_VALUE' ? allowedValues[error.params[0] ?? ''] : undefined;
  if (allowed !== undefined) lines.push(`allowed: ${allowed}`);
  return [descriptions[error.code] ?? `The server refused: ${error.code}.`, ...lines];
}

/** The same on one line, for what fails beside other things. */
export async function errorLine(error: unknown, objects: Objects): Promise<string> {
  if (!(error instanceof XapiError)) return messageOf(error);
  const [meaning = '', ...values] = await errorLines(error, objects);
  return `${meaning} ${values.join('; ')}`.trim();
}

/** An error whose parameters have names for references, as far as these objects are meant: another pool does not know ours. */
export async function withNames(error: XapiError, objects: Objects): Promise<XapiError> {
  const params = await Promise.all(error.params.map((param) => nameReferences(objects, param)));
  return new XapiError(error.code, params, error);
}
