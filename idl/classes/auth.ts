import type { ClassModel } from '../vocabulary.js';

export const auth = {
  name: 'auth',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {},
  messages: {
    get_subject_identifier: {
      params: [{ name: 'subject_name', type: 'string' }],
      result: 'string',
      roles: 'read-only',
    },
    get_subject_information_from_identifier: {
      params: [{ name: 'subject_identifier', type: 'string' }],
      result: 'map(string,string)',
      roles: 'read-only',
    },
    get_group_membership: {
      params: [{ name: 'subject_identifier', type: 'string' }],
      result: 'set(string)',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
