/** Patches, updates and where they come from, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const poolPatch: XeClass = {
  command: 'patch',
  class: 'pool_patch',
  columns: ['uuid', 'name-label', 'name-description', 'size', 'hosts', 'after-apply-guidance'],
  fields: {
    uuid: 'RO',
    'name-label': 'RO',
    'name-description': 'RO',
    size: 'RO',
    hosts: { kind: 'SRO', from: 'host_patches.host' },
    'after-apply-guidance': 'SRO',
    update: { kind: 'RO', from: 'pool_update' },
  },
};

export const poolUpdate: XeClass = {
  command: 'update',
  class: 'pool_update',
  columns: ['uuid', 'name-label', 'name-description', 'version', 'installation-size', 'hosts', 'after-apply-guidance'],
  fields: {
    uuid: 'RO',
    'name-label': 'RO',
    'name-description': 'RO',
    version: 'RO',
    'installation-size': 'RO',
    hosts: 'SRO',
    'after-apply-guidance': 'SRO',
    'enforce-homogeneity': 'RO',
  },
};

export const repository: XeClass = {
  command: 'repository',
  class: 'Repository',
  columns: [
    'uuid',
    'name-label',
    'name-description',
    'binary-url',
    'source-url',
    'update',
    'hash',
    'gpgkey-path',
    'origin',
  ],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    'binary-url': 'RO',
    'source-url': 'RO',
    update: 'RO',
    hash: 'RO',
    'gpgkey-path': 'RW',
    origin: 'RO',
    certificate: { kind: 'RO', hidden: true },
  },
};
