/**
 * The raw channels of a migration: HTTP/1.1 PUT requests without a body length, to which no HTTP response is ever sent; after
 * the blank line the connection is raw, both ways (xapi).
 *
 * `PUT <xenops path>/migrate/vm/<temporary uuid>` control, `.../migrate/mem/<temporary uuid>` memory,
 * `.../migrate/vgpu/<temporary uuid>.<device>` vGPU; the session in the query; the rest of what the peer must know in cookies:
 *
 * | cookie | on | says |
 * |---|---|---|
 * | `instance_id`, `final_id` | all | the VM's uuid at the source, and the one it is to have |
 * | `dbg` | all | the task, for the logs |
 * | `mem_migration` | all | the version of the memory stream |
 * | `compress=zstd` | all | the memory and vGPU channels carry one zstd stream each |
 * | `memory_limit`, `memory_total_source` | control | bytes |
 * | `vgpu_migration` | vGPU | the device |
 * | `migration_id` | all | ours: which attempt this is of |
 * | `restored_ack=1` | control | ours: the source waits for point 2-restored |
 */
import { defined } from '../../base/defined.js';
import { XapiError } from '../../base/errors.js';
import { spokenUrl } from '../../base/server-address.js';
import { connectRaw, type RawSocket } from './raw-socket.js';

export type ChannelKind = 'vm' | 'mem' | 'vgpu';
export type Cookies = Readonly<Record<string, string>>;

/** Contents of a channel's head. */
export interface ChannelHead {
  readonly kind: ChannelKind;
  /** The VM's temporary uuid at the destination. */
  readonly uuid: string;
  /** The vGPU's device number, on a vGPU channel. */
  readonly device?: string;
  readonly sessionId: string;
  readonly cookies: Cookies;
}

/** A head longer than this is refused. */
export const maxHeadBytes = 16 * 1024;
const headEnd = Buffer.from('\r\n\r\n');
const channelPath =
  /^(?:\/[^?]*)?\/migrate\/(vm|mem|vgpu)\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.([0-9]{1,4}))?$/i;

/** The path of a host's own RPC, below which its migration channels are. */
export const xenopsPath = '/services/xenops';

/** The path of a channel below a host's xenops URL. */
export function channelUrl(xenops: string, kind: ChannelKind, uuid: string, device?: string): string {
  return `${xenops}/migrate/${kind}/${uuid}${device === undefined ? '' : `.${device}`}`;
}

/** Tell whether the first line of a request asks for a channel. */
export function isChannelRequest(requestLine: string): boolean {
  const [method, target] = requestLine.split(' ');
  return method === 'PUT' && (target ?? '').split('?')[0]?.includes('/migrate/') === true;
}

/** The head of a PUT that opens a channel, up to and with the blank line. */
export function encodeHead(url: URL, sessionId: string, cookies: Cookies): Buffer {
  const cookie = Object.entries(cookies).map(([key, value]) => `${key}=${encodeURIComponent(value)}`);
  const lines = [
    `PUT ${url.pathname}?session_id=${encodeURIComponent(sessionId)} HTTP/1.1`,
    `host: ${url.host}`,
    'user-agent: xenferry',
    ...(cookie.length === 0 ? [] : [`cookie: ${cookie.join('; ')}`]),
    'connection: keep-alive',
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'utf8');
}

/** @throws INTERNAL_ERROR that says what is wrong with the head; its cause says so without quoting it */
export function decodeHead(head: Buffer): ChannelHead {
  const [requestLine = '', ...headers] = head.toString('utf8').trimEnd().split('\r\n');
  const target = requestLine.split(' ')[1] ?? '';
  const query = new URLSearchParams(target.split('?')[1] ?? '');
  const match = channelPath.exec(target.split('?')[0] ?? '');
  if (match === null) throw refused('no migration channel', requestLine);
  const [, kind, uuid, device] = match as unknown as [string, ChannelKind, string, string | undefined];
  if ((kind === 'vgpu') !== (device !== undefined)) {
    throw refused('a vgpu channel, and only that, names a device', requestLine);
  }
  return {
    kind,
    uuid: uuid.toLowerCase(),
    ...defined({ device }),
    sessionId: query.get('session_id') ?? '',
    cookies: Object.fromEntries(headers.flatMap(decodeCookies)),
  };
}

function refused(why: string, requestLine: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`${why}: ${requestLine.slice(0, 200)}`], why);
}

function decodeCookies(header: string): [string, string][] {
  const colon = header.indexOf(':');
  if (header.slice(0, colon).trim().toLowerCase() !== 'cookie') return [];
  return header
    .slice(colon + 1)
    .split(';')
    .map((pair): [string, string] => {
      const equals = pair.indexOf('=');
      return equals < 0
        ? [pair.trim(), '']
        : [pair.slice(0, equals).trim(), decodeValue(pair.slice(equals + 1).trim())];
    })
    .filter(([key]) => key !== '');
}

function decodeValue(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/**
 * Read a request's head. As long as the blank line has not come at least so many bytes are still to come as it lacks.
 *
 * @param start what was read of it already
 * @param goOn whether to read on, with its first line; to its end where absent
 * @returns the head with its blank line and what came behind with it; where `goOn` says no, no head and all that was read
 * @throws when it is longer than `maxHeadBytes` or takes longer than `timeoutMs`
 */
export async function readHead(
  from: Pick<RawSocket, 'readSome'>,
  start: Buffer,
  timeoutMs: number,
  goOn: (line: string) => boolean = () => true,
): Promise<{ head: Buffer; behind: Buffer }> {
  const deadline = performance.now() + timeoutMs;
  const buffer = Buffer.alloc(maxHeadBytes);
  let length = start.copy(buffer);
  let searched = 0;
  let askedOn = false;
  for (;;) {
    const read = buffer.subarray(0, length);
    const lineEnd: number = askedOn ? -1 : read.indexOf('\r\n', searched);
    if (lineEnd >= 0 && !goOn(read.toString('utf8', 0, lineEnd))) return { head: Buffer.alloc(0), behind: read };
    askedOn ||= lineEnd >= 0;
    const end = read.indexOf(headEnd, searched);
    if (end >= 0) return { head: read.subarray(0, end + headEnd.length), behind: read.subarray(end + headEnd.length) };
    const missing = missingOfEnd(read);
    if (length + missing > maxHeadBytes) {
      throw new XapiError('INTERNAL_ERROR', [`the head of the request is longer than ${maxHeadBytes} bytes`]);
    }
    searched = Math.max(0, length - headEnd.length + 1);
    const left = Math.max(1, deadline - performance.now());
    length += (await from.readSome(missing, maxHeadBytes - length, left)).copy(buffer, length);
  }
}

function missingOfEnd(read: Buffer): number {
  for (let have = Math.min(headEnd.length, read.length); have > 0; have -= 1) {
    if (read.subarray(read.length - have).equals(headEnd.subarray(0, have))) return headEnd.length - have;
  }
  return headEnd.length;
}

/**
 * Open a channel to a destination.
 *
 * @param url an http URL as VM.receive gave it
 * @param keepAliveMs see connectRaw
 * @throws INTERNAL_ERROR when no connection comes about within `timeoutMs`
 */
export async function openChannel(
  url: string,
  sessionId: string,
  cookies: Cookies,
  timeoutMs: number,
  keepAliveMs?: number,
): Promise<RawSocket> {
  const to = spokenUrl(url);
  const socket = await connectRaw(
    { host: to.hostname.replace(/^\[|\]$/g, ''), port: Number(to.port || 80) },
    timeoutMs,
    keepAliveMs,
  );
  await socket.write(encodeHead(to, sessionId, cookies));
  return socket;
}
