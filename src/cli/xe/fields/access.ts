/** Who and what reaches the pool: users, roles, secrets, certificates, callers and observers, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const subject: XeClass = {
  command: 'subject',
  class: 'subject',
  columns: ['uuid', 'subject-identifier', 'other-config', 'roles'],
  fields: {
    uuid: 'RO',
    'subject-identifier': 'RO',
    'other-config': 'MRO',
    roles: { kind: 'SRO', from: 'roles.name_label', expensive: true },
  },
};

export const role: XeClass = {
  command: 'role',
  class: 'role',
  columns: ['uuid', 'name', 'description'],
  filled: 'subroles',
  fields: {
    uuid: 'RO',
    name: { kind: 'RO', from: 'name_label' },
    description: { kind: 'RO', from: 'name_description' },
  },
};

export const secret: XeClass = {
  command: 'secret',
  class: 'secret',
  columns: 'all',
  fields: {
    uuid: 'RO',
    value: 'RW',
  },
};

export const certificate: XeClass = {
  command: 'certificate',
  class: 'Certificate',
  columns: ['uuid', 'type', 'name', 'host', 'not-before', 'not-after', 'fingerprint', 'purpose'],
  fields: {
    uuid: 'RO',
    type: 'RO',
    name: 'RO',
    host: 'RO',
    'not-before': 'RO',
    'not-after': 'RO',
    fingerprint: 'RO',
    fingerprint_sha256: 'RO',
    fingerprint_sha1: 'RO',
    purpose: 'RO',
  },
};

export const caller: XeClass = {
  command: 'caller',
  class: 'Caller',
  columns: ['uuid', 'name-label', 'name-description', 'user-agent', 'client-ip', 'last-access', 'groups', 'rate-limit'],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    'user-agent': 'RO',
    'client-ip': 'RO',
    'last-access': 'RO',
    groups: { kind: 'SRW', member: 'group' },
    'rate-limit': 'RO',
  },
};

export const rateLimit: XeClass = {
  command: 'rate-limit',
  class: 'Rate_limit',
  columns: ['uuid', 'name-label', 'callers', 'burst-size', 'fill-rate'],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    callers: 'SRO',
    'burst-size': 'RW',
    'fill-rate': 'RW',
  },
};

export const observer: XeClass = {
  command: 'observer',
  class: 'Observer',
  columns: ['uuid', 'name-label', 'name-description', 'host-uuids', 'endpoints', 'enabled'],
  fields: {
    uuid: 'RO',
    'host-uuids': { kind: 'SRW', from: 'hosts', whole: true },
    'name-label': 'RO',
    'name-description': 'RO',
    attributes: { kind: 'MRW', whole: true },
    endpoints: { kind: 'SRW', whole: true },
    components: { kind: 'SRW', whole: true },
    enabled: 'RW',
  },
};
