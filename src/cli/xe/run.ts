/** A run of xe, from its words to its exit status. */

import { hint } from '../../base/nearest-name.js';
import { ownVersion } from '../../base/version.js';
import { login } from '../client/xapi-client.js';
import type { Command, Terminal } from './command.js';
import {
  boolParam,
  type CommandLine,
  credentialsOf,
  type Environment,
  paramNamed,
  parseCommandLine,
  usageError,
} from './command-line.js';
import { commandTable } from './command-table.js';
import { errorLines } from './error.js';
import { filtersAmong } from './filter.js';
import { help, unknownCommand } from './help.js';
import { createPrinter } from './printer.js';
import { createObjects, type Objects } from './record.js';

/**
 * Do what the words say.
 * @param args the words after the program's name
 * @returns the exit status: 0, or 1 after an error, which is printed
 */
export async function runXe(args: readonly string[], env: Environment, terminal: Terminal): Promise<number> {
  try {
    const line = parseCommandLine(args, env);
    const commands = commandTable();
    if (line.command === 'version') {
      terminal.out(`xe ${ownVersion()}\n`);
      return 0;
    }
    if (line.command === undefined || line.command === 'help') {
      help(commands, line.words, line.params, line.command === undefined ? terminal.err : terminal.out);
      return line.command === undefined ? 1 : 0;
    }
    const command = commands.get(line.command);
    if (command === undefined) throw usageError(unknownCommand(line.command, commands));
    if (boolParam(line.params, 'help')) {
      help(commands, [command.name], [], terminal.out);
      return 0;
    }
    assertParameters(command, line);
    return await runCommand(command, line, terminal);
  } catch (error) {
    return printError(error, terminal);
  }
}

/** @throws a usage error for what the command does not take, or lacks */
function assertParameters(
  { required, optional, selects, open }: Command,
  { words: [word], params }: CommandLine,
): void {
  if (word !== undefined) {
    const meant = selects === undefined ? '' : `; did you mean ${selects === 'VMs' ? 'vm' : 'host'}=${word}?`;
    throw usageError(`Syntax error: '${word}' has no value: write name=value, or --name for name=true${meant}`);
  }
  const own = [...required, ...optional].map((name) => name.replace(/:.*/, ''));
  const isOpen = open || selects !== undefined;
  const unknown = isOpen ? undefined : filtersAmong(params, own)[0]?.[0].replace(/:.*/s, '');
  const refused = unknown === undefined ? [] : [`Unknown parameter: ${unknown}${hint(unknown, own)}`];
  const missing = required.find((name) => paramNamed(params, name) === undefined);
  if (missing !== undefined) refused.unshift(`Required parameter not found: ${missing}`);
  if (refused.length > 0) throw usageError(refused.join('\n'));
}

async function runCommand(command: Command, { params, connection }: CommandLine, terminal: Terminal): Promise<number> {
  const printer = createPrinter(terminal.out, boolParam(params, 'minimal'));
  const session = await login(credentialsOf(connection), 'xe');
  const objects = createObjects(session);
  try {
    await command.run({ session, params, printer, objects, terminal });
    printer.flush();
    return 0;
  } catch (error) {
    return await printError(error, terminal, objects);
  } finally {
    await session.logout();
  }
}

async function printError(error: unknown, terminal: Terminal, objects?: Objects): Promise<number> {
  for (const line of await errorLines(error, objects)) terminal.err(`${line}\n`);
  return 1;
}
