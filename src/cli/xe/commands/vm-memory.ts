/** The memory of VMs. */

import type { Command, Context } from '../command.js';
import { paramNamed } from '../command-line.js';
import { onVms } from '../selection.js';
import { parseSize } from '../value.js';

/** A command that takes sizes, and sends them in the order in which it names them. */
function sizes(name: string, required: readonly string[], message: string, help: string): Command {
  return onVms({
    name,
    required,
    templates: true,
    help,
    run: async (context, { ref }) =>
      context.session.call(message, ref, ...required.map((param) => sizeParam(context, param))),
  });
}

function sizeParam({ params }: Context, name: string): number {
  return parseSize(name, paramNamed(params, name) as string);
}

export const vmMemoryCommands: readonly Command[] = [
  sizes(
    'vm-memory-limits-set',
    ['static-min', 'static-max', 'dynamic-min', 'dynamic-max'],
    'VM.set_memory_limits',
    'Set the four memory limits of the selected VMs at once.',
  ),
  sizes(
    'vm-memory-static-range-set',
    ['min', 'max'],
    'VM.set_memory_static_range',
    'Set between what limits the memory of the selected VMs can ever be.',
  ),
  sizes(
    'vm-memory-dynamic-range-set',
    ['min', 'max'],
    'VM.set_memory_dynamic_range',
    'Set between what limits the memory of the selected VMs may be now.',
  ),
  sizes(
    'vm-memory-set',
    ['memory'],
    'VM.set_memory',
    'Set the memory of the selected VMs: every limit but the static minimum.',
  ),
  onVms({
    name: 'vm-memory-target-set',
    required: ['target'],
    help: 'Set both dynamic limits of the selected VMs to one size.',
    run: async (context, { ref }) => {
      const target = sizeParam(context, 'target');
      return context.session.call('VM.set_memory_dynamic_range', ref, target, target);
    },
  }),
];
