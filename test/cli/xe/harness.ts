/** A pool of two hosts and three VMs behind a fake server, and xe run against it. */
import { runXe } from '../../../src/cli/xe/run.js';
import { type Answer, type Database, secret } from './fake-xapi.js';

const vm = (uuid: string, name: string, more: Record<string, unknown> = {}) => ({
  uuid,
  name_label: name,
  power_state: 'Running',
  is_a_template: false,
  is_control_domain: false,
  is_a_snapshot: false,
  resident_on: 'OpaqueRef:h1',
  affinity: 'OpaqueRef:NULL',
  metrics: 'OpaqueRef:m1',
  guest_metrics: 'OpaqueRef:NULL',
  memory_static_max: 67108864,
  HVM_shadow_multiplier: 1,
  current_operations: { 'OpaqueRef:t9': 'pool_migrate' },
  allowed_operations: ['start', 'pool_migrate'],
  VIFs: ['OpaqueRef:f1'],
  VBDs: [],
  suspend_VDI: 'OpaqueRef:NULL',
  tags: ['blue', 'a,b\\c'],
  other_config: { owner: 'ann', cost: '7' },
  platform: {},
  domid: 4,
  ...more,
});

export function database(): Database {
  return {
    pool: {
      'OpaqueRef:p1': {
        uuid: 'pool-1',
        name_label: 'lab',
        name_description: '',
        master: 'OpaqueRef:h1',
        default_SR: 'OpaqueRef:NULL',
        migration_compression: false,
      },
    },
    host: {
      'OpaqueRef:h1': {
        uuid: 'host-1',
        name_label: 'one',
        name_description: 'first',
        metrics: 'OpaqueRef:hm1',
        ssh_enabled: true,
        https_only: false,
      },
      'OpaqueRef:h2': {
        uuid: 'host-2',
        name_label: 'two',
        name_description: '',
        metrics: 'OpaqueRef:NULL',
        ssh_enabled: false,
        https_only: false,
      },
    },
    host_metrics: { 'OpaqueRef:hm1': { live: true, memory_total: 4294967296, memory_free: 1024 } },
    VM: {
      'OpaqueRef:v1': vm('vm-1', 'web'),
      'OpaqueRef:v2': vm('vm-2', 'db', {
        power_state: 'Halted',
        resident_on: 'OpaqueRef:NULL',
        metrics: 'OpaqueRef:NULL',
        other_config: {},
        VBDs: ['OpaqueRef:k1'],
      }),
      'OpaqueRef:v3': vm('vm-3', 'db', { power_state: 'Halted', tags: [] }),
      'OpaqueRef:t1': vm('template-1', 'template', { is_a_template: true }),
    },
    VM_metrics: { 'OpaqueRef:m1': { memory_actual: 67108864, start_time: '20260102T03:04:05Z' } },
    VIF: {
      'OpaqueRef:f1': {
        uuid: 'vif-1',
        device: '0',
        MAC: 'AA:bb:cc:00:11:22',
        VM: 'OpaqueRef:v1',
        network: 'OpaqueRef:n1',
      },
    },
    network: {
      'OpaqueRef:n1': { uuid: 'net-1', name_label: 'wires', name_description: '', bridge: 'xenbr0', MTU: 1500 },
    },
    SR: { 'OpaqueRef:s1': { uuid: 'sr-1', name_label: 'files', PBDs: ['OpaqueRef:b1'] } },
    PBD: { 'OpaqueRef:b1': { uuid: 'pbd-1', host: 'OpaqueRef:h2', SR: 'OpaqueRef:s1' } },
    VDI: {
      'OpaqueRef:d1': {
        uuid: 'vdi-1',
        name_label: 'disk',
        SR: 'OpaqueRef:s1',
        VBDs: ['OpaqueRef:k1'],
        virtual_size: 1,
      },
    },
    VBD: {
      'OpaqueRef:k1': {
        uuid: 'vbd-1',
        VM: 'OpaqueRef:v2',
        VDI: 'OpaqueRef:d1',
        type: 'Disk',
        userdevice: '0',
        other_config: { owner: '' },
      },
    },
    PIF: {
      'OpaqueRef:i1': {
        uuid: 'pif-1',
        host: 'OpaqueRef:h1',
        network: 'OpaqueRef:n1',
        management: true,
        metrics: 'OpaqueRef:pm1',
      },
    },
    PIF_metrics: { 'OpaqueRef:pm1': { speed: 1000, duplex: true, carrier: true } },
    Host_driver: {
      'OpaqueRef:w1': {
        uuid: 'driver-1',
        name: 'nic',
        host: 'OpaqueRef:h1',
        variants: ['OpaqueRef:y1', 'OpaqueRef:y2'],
        active_variant: 'OpaqueRef:y2',
      },
    },
    Driver_variant: {
      'OpaqueRef:y1': { uuid: 'variant-1', name: 'old', version: '1', driver: 'OpaqueRef:w1', hardware_present: false },
      'OpaqueRef:y2': { uuid: 'variant-2', name: 'new', version: '2', driver: 'OpaqueRef:w1', hardware_present: true },
    },
    role: {
      'OpaqueRef:r1': { uuid: 'role-1', name_label: 'read-only', subroles: ['OpaqueRef:r2'] },
      'OpaqueRef:r2': { uuid: 'role-2', name_label: 'vm.get_all', subroles: [] },
    },
    Caller: { 'OpaqueRef:c1': { uuid: 'caller-1', groups: ['a'] } },
    Observer: { 'OpaqueRef:o1': { uuid: 'observer-1', hosts: ['OpaqueRef:h1'], attributes: { a: '1' } } },
    task: {
      'OpaqueRef:t9': {
        uuid: 'task-9',
        name_label: 'Async.VM.pool_migrate',
        name_description: '',
        status: 'pending',
        progress: 0.5,
      },
    },
  };
}

/** A task that has ended as told. */
export const endedTask = (record: Record<string, unknown>): Record<string, Answer> => ({
  'task.get_record': () => ({
    status: 'success',
    progress: 1,
    result: '',
    error_info: [],
    other_config: {},
    ...record,
  }),
});

export interface Run {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/**
 * Run xe against a server, as root unless the environment says otherwise.
 * @param answer to whatever it asks
 */
export async function xeAt(
  server: { readonly url: string },
  args: readonly string[],
  env: Record<string, string> = {},
  answer = '',
): Promise<Run> {
  const run = { out: '', err: '' };
  const status = await runXe(
    args,
    { XE_SERVER: server.url, XE_PASSWORD: secret, ...env },
    {
      out: (text) => {
        run.out += text;
      },
      err: (text) => {
        run.err += text;
      },
      screen: undefined,
      onInterrupt: () => () => undefined,
      ask: async () => answer,
    },
  );
  return { status, ...run };
}
