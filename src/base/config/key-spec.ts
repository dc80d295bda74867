/** What a key of xenopsd.conf is made of. */
import type { ValueType } from './values.js';

/** Machine and user that defaults are made from. */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly isRoot: boolean;
  readonly home: string;
  readonly hostName: string;
  /** The working directory, for relative paths on the command line. */
  readonly directory: string;
  readonly memoryBytes: number;
  /** The size of /dev/shm; 0 where it cannot be written. */
  readonly sharedMemoryBytes: number;
}

/** The effective value of a key that other defaults start from. */
type LookUp = (key: 'state-dir' | 'listen-address' | 'host-name') => string;

export interface KeySpec<T> {
  readonly type: ValueType<T>;
  /** The default, as it would be written in the file. */
  readonly default: string;
  /** Value that an empty one stands for. */
  readonly derive?: (environment: Environment, lookUp: LookUp) => T;
  /** Description of what `derive` gives, in words. */
  readonly derived?: string;
  /** True for a key that counts when the daemon starts: a reload keeps the value of then. */
  readonly atStart?: boolean;
  readonly doc: string;
}

/** Give an entry of the table its type. */
export function key<T>(spec: KeySpec<T>): KeySpec<T> {
  return spec;
}
