/** What each request may carry: its arguments are checked here before anything is done with them. */
import { z } from 'zod';
import { guestEnds, pageSize } from '../base/domain.js';
import { XapiError } from '../base/errors.js';
import type { HypervisorOp, HypervisorOps } from '../base/protocol/hypervisor-protocol.js';

const text = z.string().min(1).max(1000);
const count = z.int().nonnegative();
const share = z.number().min(0).max(1);
const handle = z.object({ instance: text, domid: count });
const profile = z
  .object({ zero: share, program: share, text: share, random: share })
  .refine(({ zero, program, text, random }) => Math.abs(zero + program + text + random - 1) < 1e-6, {
    error: 'the shares have to add up to 1',
  });
const devices = z
  .array(text)
  .refine((names) => new Set(names).size === names.length, { error: 'a device is named twice' });
const spec = z.object({
  uuid: text,
  name: z.string(),
  memoryBytes: z.int().positive().multipleOf(pageSize),
  vcpus: z.int().positive(),
  profile,
  workload: z.object({ dirtyPagesPerSecond: z.number().nonnegative(), workingSet: share }),
  seed: count,
  vgpus: devices,
});

const none = z.object({});
const onDomain = z.object({ handle });
const onSession = z.object({ handle, session: count });
const onDevice = z.object({ handle, device: text });

const schemas: { [O in HypervisorOp]: z.ZodType<HypervisorOps[O]['args']> } = {
  attach: z.object({ role: z.enum(['daemon', 'helper']) }),
  memory: none,
  reserve: z.object({ key: text, bytes: count }),
  release: z.object({ key: text }),
  create: z.object({ spec, reservation: text.exactOptional() }),
  build: onDomain,
  built: onDomain,
  list: none,
  pause: onDomain,
  unpause: z.object({ handle, token: text }),
  end_guest: z.object({ handle, how: z.enum(guestEnds) }),
  destroy: onDomain,
  destroy_unless_ran: onDomain,
  rename: z.object({ handle, uuid: text }),
  mark_in_doubt: z.object({ handle, reason: text.exactOptional() }),
  memory_of: onDomain,
  log_dirty_open: onDomain,
  log_dirty_peek: onSession,
  log_dirty_read_clear: onSession,
  log_dirty_close: onSession,
  throttle: z.object({ handle, session: count, share: z.number().positive().max(1) }),
  get_context: onDomain,
  set_context: onDomain,
  get_vgpu: onDevice,
  set_vgpu: onDevice,
  arm_digest: onDomain,
  digest: onDomain,
  verify: onDomain,
  quit: none,
};

/** Whether a request by this name exists. */
export function isOp(name: string): name is HypervisorOp {
  return Object.hasOwn(schemas, name);
}

/** The arguments of a request. @throws INVALID_VALUE with the name of what is wrong and why */
export function parseArguments<O extends HypervisorOp>(op: O, args: unknown): HypervisorOps[O]['args'] {
  const parsed = schemas[op].safeParse(args ?? {});
  if (parsed.success) return parsed.data as HypervisorOps[O]['args'];
  const issue = parsed.error.issues[0];
  throw new XapiError('INVALID_VALUE', [[op, ...(issue?.path ?? [])].map(String).join('.'), issue?.message ?? 'wrong']);
}
