/** xe diagnostic-vm-status: whether a VM could start, and what is in its way. */

import { XapiError } from '../../../base/errors.js';
import type { Command, Context } from '../command.js';
import { errorLine } from '../error.js';
import { fieldOf, type XeClass, xeClasses } from '../fields.js';
import type { Row } from '../printer.js';
import { objectsOf, showField, type XeObject } from '../record.js';
import { onUuid } from '../selection.js';
import { labelOf } from '../table.js';

const vmFields = ['uuid', 'name-label', 'power-state', 'possible-hosts'];
const vbdFields = ['uuid', 'empty', 'device', 'userdevice', 'vdi-uuid', 'mode', 'type', 'attachable', 'storage-lock'];

const status = onUuid({
  name: 'diagnostic-vm-status',
  class: 'VM',
  help: 'Show on which hosts a VM can start, and whether its disks can be attached.',
  common: true,
  async run(context, vm) {
    const { objects, printer } = context;
    const of = async (shown: XeClass) => objectsOf(objects, shown);
    const own = (await of(xeClasses.vm)).filter(({ ref }) => ref === vm);
    printer.table(await Promise.all(own.map((object) => row(context, object, vmFields))));
    printer.message('Whether its disks can be attached:');
    const vbds = (await of(xeClasses.vbd)).filter(({ record }) => record.VM === vm);
    printer.table(await Promise.all(vbds.map((vbd) => row(context, vbd, vbdFields))));
    printer.message('Whether it can start on each host:');
    const hosts = await of(xeClasses.host);
    const answers = hosts.map(async ({ ref, record }) => {
      const why = await refusal(context, 'VM.assert_can_boot_here', vm, ref);
      return [String(record.name_label), why === undefined ? 'OK' : `Cannot start here: ${why}`] as const;
    });
    printer.table([await Promise.all(answers)]);
    const why = await refusal(context, 'VM.assert_agile', vm);
    printer.list([why === undefined ? 'The VM is agile: every host can run it.' : `The VM is not agile: ${why}`]);
  },
});

/** Give these fields of an object, those included that lists leave out because they are computed. */
function row({ objects }: Context, object: XeObject, names: readonly string[]): Promise<Row> {
  return Promise.all(
    names.map(async (name) => {
      const field = fieldOf(object.shown, name);
      return [labelOf(field), (await showField(objects, object, field)).text] as const;
    }),
  );
}

/** Why a server refuses a message, on one line; undefined where it does not. */
async function refusal(
  { session, objects }: Context,
  message: string,
  ...params: string[]
): Promise<string | undefined> {
  try {
    await session.call(message, ...params);
    return undefined;
  } catch (error) {
    if (!(error instanceof XapiError)) throw error;
    return await errorLine(error, objects);
  }
}

export const vmDiagnosisCommands: readonly Command[] = [status];
