/** CPUs, crash dumps, drivers and features of hosts, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const hostCpu: XeClass = {
  command: 'host-cpu',
  class: 'host_cpu',
  columns: ['uuid', 'number', 'vendor', 'speed', 'utilisation'],
  fields: {
    uuid: 'RO',
    'host-uuid': { kind: 'RO', from: 'host' },
    number: 'RO',
    vendor: 'RO',
    speed: 'RO',
    model: 'RO',
    family: 'RO',
    modelname: 'RO',
    stepping: 'RO',
    flags: 'RO',
    utilisation: { kind: 'RO', expensive: true, none: '<unknown>' },
  },
};

export const hostCrashdump: XeClass = {
  command: 'host-crashdump',
  class: 'host_crashdump',
  columns: ['uuid', 'timestamp', 'size'],
  fields: {
    uuid: 'RO',
    'host-uuid': { kind: 'RO', from: 'host' },
    timestamp: 'RO',
    size: 'RO',
  },
};

export const hostDriver: XeClass = {
  command: 'hostdriver',
  class: 'Host_driver',
  columns: ['uuid', 'name', 'host-uuid', 'active-variant', 'selected-variant', 'variants', 'variants-uuid'],
  fields: {
    uuid: 'RO',
    name: 'RO',
    type: 'RO',
    description: 'RO',
    info: 'RO',
    'host-uuid': { kind: 'RO', from: 'host' },
    'active-variant': { kind: 'RO', from: 'active_variant.name', none: '<none>' },
    'selected-variant': { kind: 'RO', from: 'selected_variant.name', none: '<none>' },
    variants: { kind: 'RO', from: 'variants.name', text: (name, variant) => `${name}/${variant.version}` },
    'variants-dev-status': { kind: 'RO', from: 'variants.name', text: (name, variant) => `${name}=${variant.status}` },
    'variants-uuid': { kind: 'RO', from: 'variants.name', text: (name, variant) => `${name}/${variant.uuid}` },
    'variants-hw-present': {
      kind: 'RO',
      from: 'variants.name',
      text: (name, variant) => (variant.hardware_present ? String(name) : undefined),
    },
  },
};

export const driverVariant: XeClass = {
  command: 'hostdriver-variant',
  class: 'Driver_variant',
  columns: [
    'uuid',
    'driver-name',
    'name',
    'version',
    'priority',
    'host-uuid',
    'driver-uuid',
    'active',
    'selected',
    'status',
    'hw-present',
  ],
  fields: {
    uuid: 'RO',
    name: 'RO',
    version: 'RO',
    status: 'RO',
    priority: { kind: 'RO', text: (priority) => Number(priority).toFixed(1).padStart(5) },
    active: { kind: 'RO', from: 'driver.active_variant', text: (active, _, ref) => String(active === ref) },
    selected: { kind: 'RO', from: 'driver.selected_variant', text: (selected, _, ref) => String(selected === ref) },
    'driver-uuid': { kind: 'RO', from: 'driver' },
    'driver-name': { kind: 'RO', from: 'driver.name' },
    'host-uuid': { kind: 'RO', from: 'driver.host' },
    'hw-present': { kind: 'RO', from: 'hardware_present' },
  },
};

export const feature: XeClass = {
  command: 'feature',
  class: 'Feature',
  columns: ['uuid', 'name-label', 'name-description', 'enabled', 'experimental', 'version', 'host-uuid'],
  fields: {
    uuid: 'RO',
    'name-label': 'RO',
    'name-description': 'RO',
    enabled: 'RO',
    experimental: 'RO',
    version: 'RO',
    'host-uuid': { kind: 'RO', from: 'host' },
  },
};
