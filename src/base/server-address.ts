/**
 * How a XenAPI server is named: by operators on command lines, in configurations and calls, and by servers in
 * HOST_IS_SLAVE.
 */
import { isIPv6 } from 'node:net';

/** Allowed texts, for messages. */
export const serverForms = 'a host, host:port, an IPv6 address with or without brackets, or http://host:port';

/**
 * The origin of a server. A path, query or fragment behind it says nothing and is left out.
 * @param server `host`, `host:port`, `::1`, `[::1]:port`, or any of these but `::1` behind `http://`
 * @param defaultPort the port of a server that is named by its host alone; a URL without a port means port 80
 * @returns `http://host:port`, without the port where that is 80
 * @throws Error that says what is wrong, and what is allowed; see whyRefused
 */
export function serverOrigin(server: string, defaultPort: string): string {
  const [, scheme, authority = ''] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?([^/?#\\]*)(?:[/?#].*)?$/is.exec(server) ?? [];
  const refuse = (why: string, cause = why): never => {
    throw new Error(`'${server}' names no server: ${why}`, { cause });
  };
  if (scheme !== undefined && !isSpoken(scheme)) refuse(notSpoken(scheme), notSpoken(knownScheme(scheme)));
  const isBareIPv6 = scheme === undefined && isIPv6(authority);
  const [, host = '', port] =
    /^(\[[^\]]*\]|[^:[\]@]*)(?::(.*))?$/s.exec(isBareIPv6 ? `[${authority}]` : authority) ?? [];
  if (host === '' || !URL.canParse(`http://${host}`) || /\s/.test(authority)) refuse(`allowed: ${serverForms}`);
  const { hostname } = new URL(`http://${host}`);
  return new URL(`http://${hostname}:${portNumber(port ?? (scheme === undefined ? defaultPort : '80'))}`).origin;
}

/**
 * Where a URL leads, which stands for a connection in clear text: one that promises more is never taken for that.
 * @throws Error that names the scheme where it is another than http, and says what is allowed; one that names what is no URL
 */
export function spokenUrl(url: string): URL {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(url) || !URL.canParse(url))
    throw new Error(`'${url}' is no URL; allowed: http://host:port`, { cause: 'allowed: http://host:port' });
  const to = new URL(url);
  const scheme = to.protocol.slice(0, -1);
  // What is behind the host may be a session's.
  if (!isSpoken(scheme)) {
    const cause = notSpoken(knownScheme(scheme));
    throw new Error(`'${scheme}://${to.host}' leads nowhere: ${notSpoken(scheme)}`, { cause });
  }
  return to;
}

/**
 * The origin of a web page in the form in which origins are compared: in lower case, addresses in their canonical form,
 * without the port that is the scheme's own.
 * @param text `http://host:port` or the same with https, as a browser or a person writes it
 * @returns undefined for anything else: another scheme, `null`, a path, a user
 */
export function pageOrigin(text: string): string | undefined {
  return /^https?:\/\/[^/?#@\\\s,*]+\/?$/i.test(text) && URL.canParse(text) ? new URL(text).origin : undefined;
}

/** Tell whether a name or an address is of loopback; IPv4 within IPv6 too. */
export function isLoopback(address: string): boolean {
  const bare = address.toLowerCase().replace(/^::ffff:/, '');
  return bare === 'localhost' || bare === '::1' || /^127\.[\d.]+$/.test(bare);
}

/** Tell whether listening on this address means on every address that the machine has. */
export function isEveryAddress(address: string): boolean {
  return /^[0.]+$|^[0:]+$/.test(address);
}

/**
 * Why one of these functions has refused a name, without quoting it: for the log, which has nothing that a caller sent.
 */
export function whyRefused(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return typeof cause === 'string' ? cause : 'another form';
}

function knownScheme(scheme: string): string {
  return scheme.toLowerCase() === 'https' ? 'https' : 'another scheme';
}

function isSpoken(scheme: string): boolean {
  return scheme.toLowerCase() === 'http';
}

function notSpoken(scheme: string): string {
  return `${scheme} is not spoken; allowed: http`;
}

/** @throws Error that says what is allowed */
export function portNumber(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  const cause = 'allowed as a port: 1 to 65535';
  throw new Error(`'${text}' is no port; allowed: 1 to 65535`, { cause });
}
