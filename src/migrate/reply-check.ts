/**
 * What a destination has agreed to, checked before the source opens a connection that it names.
 *
 * The destination says where its channels are, as that may be another host, port and network than where it was asked: across
 * pools the coordinator answers, and a member takes the VM. So this cannot be checked: whoever starts a migration trusts the
 * destination with the VM. What is checked is that the source speaks to one host and port alone, for the channels and for
 * `settle`; only on the paths of a host's own calls and channels, for the VM that was announced; and not to the source's own machine, where a
 * destination elsewhere has no business. Where the caller has chosen the route, the reply's address is the one that is fallen back
 * to.
 */
import { isIP } from 'node:net';
import { invalidValue, type XapiError } from '../base/errors.js';
import { shownValue } from '../base/schema.js';
import { channelUrl, xenopsPath } from '../wire/connection/channel.js';
import type { ReceiveReply } from './metadata.js';
import { temporaryUuid } from './protocol.js';

/**
 * @param reply of VM.receive
 * @param asked the URL at which it was called
 * @param domain the VM that it was called for
 * @returns the reply
 * @throws INVALID_VALUE that names the URL; what it has to be is for the log
 */
export function checkReply(
  reply: ReceiveReply,
  asked: string,
  domain: { readonly uuid: string; readonly vgpus: readonly string[] },
): ReceiveReply {
  const uuid = temporaryUuid(domain.uuid);
  const base = reply.control.slice(0, -channelUrl('', 'vm', uuid).length);
  assertUrl('control', reply.control, channelUrl(base, 'vm', uuid), `http://HOST/.../migrate/vm/${uuid}`);
  assertUrl('memory', reply.memory, channelUrl(base, 'mem', uuid));
  for (const device of domain.vgpus) {
    assertUrl(`vgpu ${device}`, reply.vgpu[device] ?? '(absent)', channelUrl(base, 'vgpu', uuid, device));
  }
  const { username, password, search, hash, hostname, pathname } = new URL(reply.control);
  if (pathname !== channelUrl(xenopsPath, 'vm', uuid))
    throw wrong('control', reply.control, `a path below ${xenopsPath}`);
  if (username !== '' || password !== '' || search !== '' || hash !== '') {
    throw wrong('control', reply.control, 'no user, password, query or fragment');
  }
  if (isOwnMachine(hostname) && !isOwnMachine(new URL(asked).hostname)) {
    throw wrong(
      'control',
      reply.control,
      `an address that leads from here to the destination, which was asked at ${asked}`,
    );
  }
  return reply;
}

function assertUrl(part: string, url: string, allowed: string, described = allowed): void {
  if (url !== allowed) throw wrong(part, url, described);
}

function wrong(part: string, url: string, allowed: string): XapiError {
  return invalidValue(`VM.receive.${part}`, shownValue(url), allowed);
}

/** Whether a URL's host is, by its look, the machine that opens it: loopback, link-local and unspecified addresses. */
function isOwnMachine(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').replace(/^::ffff:7f.*$/, '127.0.0.1');
  if (isIP(host) === 4) return /^(127|0|169\.254)\./.test(host);
  if (isIP(host) === 6) return host === '::' || host === '::1' || /^fe[89ab]/.test(host);
  return host === 'localhost' || host.endsWith('.localhost');
}
