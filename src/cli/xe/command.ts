/** What a command of xe is, and what it has to work with. */

import type { XapiSession } from '../client/xapi-client.js';
import type { Params } from './command-line.js';
import type { Printer } from './printer.js';
import type { Objects } from './record.js';

/** The streams and the keyboard of whoever runs the program. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Standard error where it is a terminal. */
  readonly screen: NodeJS.WriteStream | undefined;
  /** Listen for one Ctrl-C; call what it returns to stop listening. */
  onInterrupt(listener: () => void): () => void;
  /** Ask a question, and read one line; an empty one where there is nobody to answer. */
  ask(question: string): Promise<string>;
}

export interface Context {
  readonly session: XapiSession;
  readonly params: Params;
  readonly printer: Printer;
  readonly objects: Objects;
  readonly terminal: Terminal;
}

export interface Command {
  readonly name: string;
  readonly required: readonly string[];
  readonly optional: readonly string[];
  /** Sentence that says what the command does. */
  readonly help: string;
  /** Kind of the objects on which the command works, which its other parameters pick. */
  readonly selects?: 'VMs' | 'hosts';
  /** True where parameters have names that only the command knows: fields, or keys of a map. */
  readonly open?: true;
  /** Shown in the short help. */
  readonly common?: true;
  run(context: Context): Promise<void>;
}
