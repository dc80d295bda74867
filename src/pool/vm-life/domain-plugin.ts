/** The plugin `domains` of host.call_plugin: what a host has of VMs that no record of the pool knows. */
import type { Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import { adoptDomain, destroyUnknown, type UnknownDomainsDeps, unknownDomains } from './unknown-domains.js';

export const domainPlugin = 'domains';

type Arguments = Readonly<Record<string, string>>;

/** The arguments of each function. */
const functions = {
  list: [],
  adopt: ['uuid', 'name-label'],
  destroy: ['uuid'],
} as const satisfies Record<string, readonly string[]>;

/**
 * @returns of `list`, JSON: an array of {uuid, name, state, domid, memory, vcpus, vgpus, in_doubt}; of `adopt`, the VM's reference; of
 *   `destroy`, nothing
 * @throws XENAPI_PLUGIN_FAILURE for another function, INVALID_VALUE [argument, value], what the functions throw
 */
export async function callDomainPlugin(
  deps: UnknownDomainsDeps,
  host: Ref<'host'>,
  fn: string,
  args: Arguments,
): Promise<string> {
  if (!isFunction(fn)) {
    const allowed = Object.keys(functions).join(', ');
    throw new XapiError('XENAPI_PLUGIN_FAILURE', [
      'unknown function',
      '',
      `${domainPlugin} has no ${fn}; allowed: ${allowed}`,
    ]);
  }
  for (const [name, value] of Object.entries(args)) {
    const known: readonly string[] = functions[fn];
    if (!known.includes(name)) throw invalidValue(name, value, known.length === 0 ? 'no arguments' : known.join(', '));
  }
  if (fn === 'list') return JSON.stringify((await unknownDomains(deps, host)).map(shown));
  const { uuid = '', 'name-label': name } = args;
  if (uuid === '') throw invalidValue('uuid', uuid, 'the uuid of a domain');
  if (fn === 'adopt') return adoptDomain(deps, host, uuid, name);
  await destroyUnknown(deps, host, uuid);
  return '';
}

function isFunction(fn: string): fn is keyof typeof functions {
  return Object.hasOwn(functions, fn);
}

function shown({ uuid, state, domid, spec, inDoubt }: Awaited<ReturnType<typeof unknownDomains>>[number]) {
  const { name, memoryBytes: memory, vcpus, vgpus } = spec;
  return { uuid, name, state, domid: domid ?? -1, memory, vcpus, vgpus, in_doubt: inDoubt ?? '' };
}
