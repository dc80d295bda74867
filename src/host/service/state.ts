/** What a host says of itself, checked where it comes in: what the coordinator builds its rows and its reckoning on. */
import { z } from 'zod';
import { guestEnds } from '../../base/domain.js';
import { httpUrl, parse } from '../../base/schema.js';
import { longestBiosString } from '../../model/bios-strings.js';
import type { HostState } from './service.js';

const bytes = z.number().int().min(0);

const schema = z.object({
  uuid: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a uuid in lower case'),
  name: z.string().min(1).max(1024),
  url: httpUrl,
  backend: z.string().max(64).optional(),
  memoryTotal: bytes,
  memoryFree: z.number().int(),
  cpus: z.number().int().positive(),
  clock: z.number().optional(),
  utcOffset: z.number().min(-1440).max(1440).optional(),
  startedAt: z.number().optional(),
  machine: z
    .object({
      cpu: z.object({
        vendor: z.string(),
        modelname: z.string(),
        speed: z.number(),
        family: z.number(),
        model: z.number(),
        stepping: z.string(),
        flags: z.string(),
      }),
      interface: z.object({ device: z.string(), mac: z.string(), netmask: z.string() }).nullable(),
      bios: z.record(z.string(), z.string().max(longestBiosString)).optional(),
      bootTime: z.number().optional(),
    })
    .optional(),
  domains: z
    .array(
      z.object({
        uuid: z.string(),
        state: z.enum(['building', 'paused', 'running', 'shutdown']),
        domid: z.number().int(),
        ended: z.enum(guestEnds).optional(),
        inDoubt: z.string().max(4096).optional(),
        stalled: z.string().max(4096).optional(),
      }),
    )
    .readonly(),
  leaving: z.array(z.string()).readonly().optional(),
  arriving: z.array(z.string()).readonly().optional(),
  suspended: z.array(z.string()).readonly().optional(),
  busy: z
    .array(
      z.object({
        id: z.string().max(200),
        task: z.string().max(200),
        operation: z.string().max(200),
        vm: z.string(),
      }),
    )
    .readonly()
    .optional(),
});

/** @throws INVALID_VALUE that names the part that is wrong and what is allowed */
export function checkHostState(value: unknown): HostState {
  parse(schema, 'host', value);
  return value as HostState;
}
