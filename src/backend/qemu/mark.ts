/**
 * What xenferry keeps of a domain inside its QEMU, as the identity of an `authz-simple` object: it lives and dies with the
 * domain, so no file can say of a process what is not so.
 */
import { z } from 'zod';
import { XapiError } from '../../base/errors.js';
import { markObject } from './command-line.js';
import type { Qmp } from './qmp.js';

const schema = z.strictObject({
  /** The domain's name of now: a VM's uuid, or the temporary one of an arriving copy. */
  uuid: z.string(),
  /** Whether it was ever unpaused here. */
  everRan: z.boolean(),
  /** The token of the last unpause. */
  token: z.string().optional(),
  /** Why it is in doubt. */
  inDoubt: z.string().optional(),
});

export type Mark = Readonly<z.infer<typeof schema>>;

/** The text of a mark, as the object's identity. */
export function encodeMark(mark: Mark): string {
  return JSON.stringify(mark);
}

/** @throws INTERNAL_ERROR where the process has no mark of ours */
export async function readMark(qmp: Qmp): Promise<Mark> {
  const identity = await qmp.execute<string>('qom-get', { path: `/objects/${markObject}`, property: 'identity' });
  const parsed = schema.safeParse(JSON.parse(identity));
  if (parsed.success) return parsed.data;
  throw new XapiError('INTERNAL_ERROR', [`the mark of a domain: ${z.prettifyError(parsed.error)}`]);
}

export async function writeMark(qmp: Qmp, mark: Mark): Promise<void> {
  const property = { path: `/objects/${markObject}`, property: 'identity', value: encodeMark(mark) };
  await qmp.execute('qom-set', property);
}
