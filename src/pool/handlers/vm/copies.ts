/** VM.*: VMs that are made, from nothing or from another one, and templates. */
import type { ClassHandlers } from '../../../model/handlers.js';
import { tellOfVm } from '../../events/messages.js';
import { duplicateVm } from '../../vm-life/clone.js';
import { makeDisks } from '../../vm-life/provision.js';
import { createVm } from '../../vm-records/create.js';
import { becomeVm } from '../../vm-records/templates.js';
import { assertAllowed, withVm } from '../../vm-records/vm-allowed-operations.js';
import type { HandlerDeps } from '../deps.js';

type CopyMessage = 'create' | 'clone' | 'copy' | 'provision' | 'set_is_default_template';

/** The handlers of VM.clone, VM.copy and VM.provision. */
export function vmCopyHandlers(deps: HandlerDeps): Pick<ClassHandlers<'VM'>, CopyMessage> {
  const { db, now } = deps;
  return {
    async create(_context, args) {
      const ref = createVm(deps, args, now());
      await db.saved();
      return ref;
    },
    async clone({ task }, vm, name) {
      const clone = await withVm(db, vm, 'clone', task.ref, () => duplicateVm(deps, task, vm, name, 'beside'));
      tellOfVm(deps, 'VM_CLONED', vm, `was cloned as ${name} (${db.get('VM', clone).uuid})`);
      return clone;
    },
    copy: ({ task }, vm, name, sr) => withVm(db, vm, 'copy', task.ref, () => duplicateVm(deps, task, vm, name, { sr })),
    async provision({ task }, vm) {
      await withVm(db, vm, 'provision', task.ref, async () => {
        await makeDisks(deps, task, vm, (_disks, onUndo) => {
          const { is_a_template, is_default_template, other_config } = db.get('VM', vm);
          onUndo(() => db.update('VM', vm, { is_a_template, is_default_template, other_config }));
          becomeVm(db, vm, now());
        });
      });
    },
    async set_is_default_template(_context, vm, value) {
      if (value && !db.get('VM', vm).is_a_template) assertAllowed(db, vm, 'make_into_template');
      db.update('VM', vm, value ? { is_default_template: true, is_a_template: true } : { is_default_template: false });
      await db.saved();
    },
  };
}
