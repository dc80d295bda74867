/**
 * What a web page in somebody's browser may do. The browser says in the header Origin whose page it is that asks; what
 * sends none is no browser. A page that is neither of this host nor named by the operator can neither read an answer
 * nor log in: otherwise any page could guess passwords from within the operator's network. A session is proof enough:
 * such a page cannot have one.
 *
 * Host is not looked at: a page whose name was made to lead here, by DNS rebinding, sends a Host that fits its Origin.
 */
import os from 'node:os';
import { isEveryAddress, isLoopback, pageOrigin } from '../base/server-address.js';

export interface OriginPolicy {
  /**
   * Whether the operator has named this origin: its pages may log in and read what is answered.
   * @param origin as it was sent
   */
  isNamed(origin: string): boolean;
  /**
   * Whether a page may not log in.
   * @param origin as it was sent
   * @param caller the address of the browser
   */
  isForeign(origin: string, caller: string): boolean;
}

export interface OriginPolicyInit {
  /** The origins that the operator has named, as pageOrigin has them. */
  readonly named: () => readonly string[];
  /** Names and addresses under which this host is known. */
  readonly names: readonly string[];
  readonly listenAddress: string;
  readonly port: number;
}

/** No page is named, and none is this host's own. */
export const noPages: OriginPolicy = { isNamed: () => false, isForeign: () => true };

/** Make the policy for web pages from the configuration. */
export function createOriginPolicy({ named, names, listenAddress, port }: OriginPolicyInit): OriginPolicy {
  const isNamed = (origin: string): boolean => {
    const page = pageOrigin(origin);
    return page !== undefined && named().includes(page);
  };
  const isOwn = (origin: string, caller: string): boolean => {
    const page = pageOrigin(origin);
    if (page === undefined) return false;
    // A browser elsewhere takes loopback for its own machine.
    const own = [...names, ...addressesOf(listenAddress)].filter((host) => isLoopback(caller) || !isLoopback(host));
    return own.some((host) => pageOrigin(`http://${host.includes(':') ? `[${host}]` : host}:${port}`) === page);
  };
  return { isNamed, isForeign: (origin, caller) => !isNamed(origin) && !isOwn(origin, caller) };
}

/**
 * The addresses of this machine at which a daemon is reached that listens on this one; `localhost` stands for loopback.
 */
function addressesOf(listenAddress: string): string[] {
  if (!isEveryAddress(listenAddress)) return [listenAddress, ...(isFirstLoopback(listenAddress) ? ['localhost'] : [])];
  const isDual = listenAddress.includes(':');
  const all = Object.values(os.networkInterfaces()).flatMap((addresses = []) => addresses);
  return ['localhost', ...all.filter(({ family }) => isDual || family === 'IPv4').map(({ address }) => address)];
}

/** Tell whether `localhost` leads to this address. */
function isFirstLoopback(address: string): boolean {
  return ['127.0.0.1', '::1', 'localhost'].includes(address.toLowerCase());
}
