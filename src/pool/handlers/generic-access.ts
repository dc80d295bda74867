/** The rows as the XenAPI's dispatch reads and writes them: by names that come from the model, references that come from anywhere. */
import type { ClassName, Ref } from '../../../idl/index.js';
import type { Rows } from '../../model/dispatch-deps.js';
import type { Database } from '../database/database.js';
import { assertNoDoubt, assertNoMark, withDoubtsOf } from '../vm-records/in-doubt.js';
import { setIsATemplate } from '../vm-records/templates.js';

/**
 * Make the access of the XenAPI's generic messages to the rows, where a change is answered when it is durable.
 * @param assertMayChange throws where a row is not to change now
 */
export function genericAccess(db: Database, assertMayChange: (cls: ClassName, ref: string) => void): Rows {
  const change = (cls: ClassName, ref: string, write: () => void): Promise<void> => {
    assertMayChange(cls, ref);
    write();
    return db.saved();
  };
  return {
    record: (cls, ref) => db.get(cls, ref as Ref<ClassName>),
    byUuid: (cls, uuid) => db.byUuid(cls, uuid),
    byNameLabel: (cls, label) => db.byNameLabel(cls, label),
    all: (cls) => db.all(cls),
    set: (cls, ref, field, value) => change(cls, ref, () => setField(db, cls, ref, field, value)),
    addToMap: (cls, ref, field, key, value) =>
      change(cls, ref, () => {
        if (cls === 'VM' && field === 'other_config') assertNoMark(key);
        db.addToMap(cls, ref as Ref, field, key, value);
      }),
    removeFromMap: (cls, ref, field, key) =>
      change(cls, ref, () => {
        if (cls === 'VM' && field === 'other_config') assertNoDoubt(db.get('VM', ref as Ref<'VM'>), key);
        db.removeFromMap(cls, ref as Ref, field, key);
      }),
    addToSet: (cls, ref, field, value) => change(cls, ref, () => db.addToSet(cls, ref as Ref, field, value)),
    removeFromSet: (cls, ref, field, value) => change(cls, ref, () => db.removeFromSet(cls, ref as Ref, field, value)),
  };
}

/** Set a field; is_a_template changes more than itself, and the marks of doubts in other_config stay. */
function setField(db: Database, cls: ClassName, ref: string, field: string, value: unknown): void {
  const vm = ref as Ref<'VM'>;
  if (cls === 'VM' && field === 'is_a_template') setIsATemplate(db, vm, value === true, new Date());
  else if (cls === 'VM' && field === 'other_config') {
    const marked = withDoubtsOf(db.get('VM', vm).other_config, value as Readonly<Record<string, string>>);
    db.update('VM', vm, { other_config: marked });
  } else db.update(cls, ref as Ref<ClassName>, { [field]: value });
}
