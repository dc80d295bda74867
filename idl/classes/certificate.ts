import type { ClassModel } from '../vocabulary.js';

export const Certificate = {
  name: 'Certificate',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    name: { type: 'string', qualifier: 'RO/runtime', default: '' },
    type: { type: 'enum:certificate_type', qualifier: 'RO/runtime', default: 'host' },
    host: { type: 'ref:host', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    not_before: { type: 'datetime', qualifier: 'RO/constructor', default: '19700101T00:00:00Z' },
    not_after: { type: 'datetime', qualifier: 'RO/constructor', default: '19700101T00:00:00Z' },
    fingerprint: { type: 'string', qualifier: 'RO/constructor', default: '' },
    fingerprint_sha256: { type: 'string', qualifier: 'RO/constructor', default: '' },
    fingerprint_sha1: { type: 'string', qualifier: 'RO/constructor', default: '' },
    purpose: { type: 'set(enum:certificate_purpose)', qualifier: 'RO/constructor', default: [] },
  },
  messages: {},
} as const satisfies ClassModel;
