/** What the source tells the destination of a VM, checked where it comes in; and VM.receive's reply as a map of strings. */
import { z } from 'zod';
import { type DomainSpec, pageSize } from '../base/domain.js';
import { httpUrl, parse, parseJson } from '../base/schema.js';
import { xenopsPath } from '../wire/connection/channel.js';

/** As it stands in records. */
export const uuid = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a uuid in lower case');

/** Characters of the longest setting that a back end may read. */
const mostSetting = 64 * 1024;

/** Of a back end's own fields nothing is known here: they are passed on as they are, and the back end checks them. */
const domain: z.ZodType<DomainSpec, unknown> = z.looseObject({
  uuid,
  name: z.string().max(4096),
  memoryBytes: z.number().int().positive().multipleOf(pageSize),
  vcpus: z.number().int().min(1).max(1024),
  vgpus: z
    .array(z.string().regex(/^\d{1,4}$/))
    .max(64)
    .refine((devices) => new Set(devices).size === devices.length, 'a device is named twice')
    .readonly(),
  settings: z.record(z.string().max(1024), z.string().max(mostSetting)).exactOptional(),
});

/** A VM under way has these groups at the end of its uuid, which would then be that of its own copy. */
const isCopyUuid = /-00000000000[01]$/;
const short = z.string().max(256);

/** Where a host answers other ones: what a peer names is called there, and nowhere else. */
const xenopsUrl = httpUrl.refine((url) => URL.canParse(url) && new URL(url).pathname === xenopsPath, {
  error: `allowed: http://HOST${xenopsPath}`,
});

/** The state of a VM that does not run and is handed over to another pool. */
export const rests = ['halted', 'suspended'] as const;
export type Rest = (typeof rests)[number];

export const metadataSchema = z
  .object({
    /** 2 where the VM does not run: a destination of an earlier version would run what it gets. */
    version: z.union([z.literal(1), z.literal(2)]),
    rest: z.enum(rests).optional(),
    /** The bytes of each part of the suspend image of a suspended VM; the source host adds them. */
    image: z.record(z.string().max(16), z.number().int().min(0)).optional(),
    domain: domain.refine(({ uuid }) => !isCopyUuid.test(uuid), {
      error: 'the uuid is that of a copy under way: it ends in 000000000000 or 000000000001',
    }),
    paused: z.boolean().optional(),
    digest: z.boolean().optional(),
    /** Where the source answers `mayRun`. Absent from a source of an earlier version. */
    sourceUrl: xenopsUrl.optional(),
    vifs: z
      .array(z.object({ uuid: short, device: short, mac: short, network: short }))
      .max(256)
      .readonly(),
    records: z.unknown().optional(),
  })
  .refine(({ version, rest }) => (version === 2) === (rest !== undefined), {
    error: 'version 2 is of a VM that does not run, version 1 of one that does',
    path: ['version'],
  });

/** The key of a migration. */
export const migrationId = z
  .string()
  .regex(/^[\w.-]{1,128}$/, '1 to 128 letters, digits, dots, hyphens or underscores');
const replySchema = z.object({
  control: httpUrl,
  memory: httpUrl,
  vgpu: z
    .string()
    .max(256 * 1024)
    .default('{}'),
  token: z.string().regex(/^[\x21-\x7e]{1,1024}$/, '1 to 1024 characters of ASCII without spaces'),
  accepts: z.string().max(4096).default(''),
  restored_ack: z.enum(['0', '1']).default('0'),
  vm: z.string().max(256).optional(),
});

/** A VM as its destination needs to know it: the domain, and the records for a pool that does not have it yet. */
export type VmMetadata = z.infer<typeof metadataSchema>;

/** What VM.receive is asked: the key of the migration, and its VM. */
export interface ReceiveRequest {
  readonly migrationId: string;
  readonly metadata: VmMetadata;
}

/** The result of VM.receive. */
export interface ReceiveReply {
  /** The URLs of the channels, without a query. */
  readonly control: string;
  readonly memory: string;
  /** By device. */
  readonly vgpu: Readonly<Record<string, string>>;
  /** For this migration alone: the channels' session_id, and what authenticates settle. */
  readonly token: string;
  /** The stream formats that the destination accepts beyond plain and zstd pipe, with versions: `inline-zstd/3`. */
  readonly accepts: readonly string[];
  /** The destination can send 2-restored. */
  readonly restoredAck: boolean;
  /** The VM's reference at the destination, from a pool that made a record for it. */
  readonly vm?: string;
}

/** @throws VM_IMPORT-like INVALID_VALUE that names the part that is wrong and what is allowed */
export function decodeMetadata(text: string): VmMetadata {
  return checkMetadata(parseJson('metadata', text));
}

/** The same of what was JSON. @throws INVALID_VALUE */
export function checkMetadata(value: unknown): VmMetadata {
  return parse(metadataSchema, 'metadata', value);
}

/** A domain to start, checked where it comes in. @throws INVALID_VALUE */
export function checkDomain(value: unknown): DomainSpec {
  return parse(domain, 'domain', value);
}

/** The key of a migration, as it stands in cookies and journals. @throws INVALID_VALUE */
export function checkMigrationId(value: unknown): string {
  return parse(migrationId, 'migration_id', value);
}

/** The metadata as the text that VM.receive takes. */
export function encodeMetadata(metadata: VmMetadata): string {
  return JSON.stringify(metadata);
}

/** VM.receive's reply as it goes over the wire: a map of strings. What is absent means plain streams and the zstd pipe only. */
export function encodeReply(reply: ReceiveReply): Record<string, string> {
  return {
    control: reply.control,
    memory: reply.memory,
    vgpu: JSON.stringify(reply.vgpu),
    token: reply.token,
    ...(reply.accepts.length === 0 ? {} : { accepts: reply.accepts.join(' ') }),
    ...(reply.restoredAck ? { restored_ack: '1' } : {}),
    ...(reply.vm === undefined ? {} : { vm: reply.vm }),
  };
}

/** @throws INVALID_VALUE for a reply that cannot be used */
export function decodeReply(map: unknown): ReceiveReply {
  const reply = parse(replySchema, 'VM.receive', map);
  const vgpu = parse(z.record(z.string(), httpUrl), 'VM.receive.vgpu', parseJson('VM.receive.vgpu', reply.vgpu));
  return {
    control: reply.control,
    memory: reply.memory,
    vgpu,
    token: reply.token,
    accepts: reply.accepts.split(' ').filter((format) => format !== ''),
    restoredAck: reply.restored_ack === '1',
    ...(reply.vm === undefined ? {} : { vm: reply.vm }),
  };
}
