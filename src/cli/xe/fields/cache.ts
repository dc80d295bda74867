/** PVS sites, their servers, proxies and caches, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const pvsSite: XeClass = {
  command: 'pvs-site',
  class: 'PVS_site',
  columns: ['uuid', 'name-label', 'name-description', 'pvs-uuid', 'pvs-server-uuids'],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    'pvs-uuid': { kind: 'RW', from: 'PVS_uuid' },
    'pvs-cache-storage-uuids': { kind: 'SRO', from: 'cache_storage' },
    'pvs-server-uuids': { kind: 'SRO', from: 'servers' },
    'pvs-proxy-uuids': { kind: 'SRO', from: 'proxies' },
  },
};

export const pvsServer: XeClass = {
  command: 'pvs-server',
  class: 'PVS_server',
  columns: ['uuid', 'addresses', 'pvs-site-uuid'],
  fields: {
    uuid: 'RO',
    addresses: 'SRO',
    'first-port': 'RO',
    'last-port': 'RO',
    'pvs-site-uuid': { kind: 'RO', from: 'site' },
  },
};

export const pvsProxy: XeClass = {
  command: 'pvs-proxy',
  class: 'PVS_proxy',
  columns: ['uuid', 'vif-uuid', 'pvs-site-uuid', 'currently-attached'],
  fields: {
    uuid: 'RO',
    'pvs-site-uuid': { kind: 'RO', from: 'site' },
    'vif-uuid': { kind: 'RO', from: 'VIF' },
    'currently-attached': 'RO',
    status: 'RO',
  },
};

export const pvsCacheStorage: XeClass = {
  command: 'pvs-cache-storage',
  class: 'PVS_cache_storage',
  columns: ['uuid', 'host-uuid', 'sr-uuid', 'pvs-site-uuid', 'size'],
  fields: {
    uuid: 'RO',
    'host-uuid': { kind: 'RO', from: 'host' },
    'sr-uuid': { kind: 'RO', from: 'SR' },
    'pvs-site-uuid': { kind: 'RO', from: 'site' },
    size: 'RO',
    'vdi-uuid': { kind: 'RO', from: 'VDI' },
  },
};
