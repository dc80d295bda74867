/** What the configuration names is looked at before the daemon starts: whether it can be what it is to be. */

import { messageOf } from '../errors.js';
import { syslogScheme } from '../log-output.js';
import { assertRegularFile } from '../named-file.js';
import { assertSafeDirectory } from '../own-file.js';
import { formatOrigin, formatValue, type LoadedConfig } from './config.js';
import { type ConfigKey, propertyOf } from './keys.js';

/** How each is looked at; what is not there yet and is made at the start is fine. */
const looks: Readonly<Partial<Record<ConfigKey, (path: string, config: LoadedConfig['config']) => void>>> = {
  log: (path) => {
    if (path !== 'stderr' && !path.startsWith(syslogScheme)) assertRegularFile(path);
  },
  pidfile: assertRegularFile,
  'pool-secret-file': assertRegularFile,
  'memory-dir': (path, { stateDir }) => {
    if (path !== stateDir) assertSafeDirectory(path);
  },
};

/** @returns a line for each that cannot be used, with where it is named, the key and what is wrong */
export function namedProblems({ config, origins }: LoadedConfig): string[] {
  return (Object.keys(looks) as ConfigKey[]).flatMap((key) => {
    const path = String(config[propertyOf(key)]);
    try {
      if (path !== '') looks[key]?.(path, config);
      return [];
    } catch (error) {
      return [`${formatOrigin(origins[key])}: ${key} = ${formatValue(key, config)}: ${messageOf(error)}`];
    }
  });
}
