/** message.*: alerts about objects. Nothing raises any here and clients cannot, so there are none; clients ask at login. */
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../base/handlers.js';

export function messageHandlers(): ClassHandlers<'message'> {
  return {
    get: () => ({}),
    get_all: () => [],
    get_since: () => ({}),
    get_record(_context, ref) {
      throw new XapiError('HANDLE_INVALID', ['message', ref]);
    },
    get_by_uuid(_context, uuid) {
      throw new XapiError('UUID_INVALID', ['message', uuid]);
    },
    get_all_records: () => ({}),
    get_all_records_where: () => ({}),
  };
}
