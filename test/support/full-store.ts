/** A store whose disk is full while a test says so. */
import { XapiError } from '../../src/base/errors.js';
import type { Store } from '../../src/base/store/store.js';

/** @param isFull asked before each write, which is refused with OUT_OF_SPACE [/db] where it holds */
export function fullWhile(store: Store, isFull: () => boolean): Store {
  const assertSpace = async (): Promise<void> => {
    if (isFull()) throw new XapiError('OUT_OF_SPACE', ['/db']);
  };
  return {
    ...store,
    putMany: (changes) => assertSpace().then(() => store.putMany(changes)),
    table<T>(name: string) {
      const rows = store.table<T>(name);
      return {
        ...rows,
        put: (id: string, row: T) => assertSpace().then(() => rows.put(id, row)),
        remove: (id: string) => assertSpace().then(() => rows.remove(id)),
      };
    },
  };
}
