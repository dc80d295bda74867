/** What `xe help` says. */
import { hint } from '../../base/nearest-name.js';
import type { Command } from './command.js';
import type { Params } from './command-line.js';
import { boolParam } from './command-line.js';
import { createPrinter } from './printer.js';

const usageText = `Usage:
  xe <command>
    [ -s <server> ]            A host of the pool: host, host:port, IPv6 address or URL; XE_SERVER
    [ -p <port> ]              Its port, where the server names none; 8480
    [ -u <username> ]          Who logs in, root by default; XE_USER
    [ -pw <password> | -pwf <password file> ]
                               With which password; XE_PASSWORD, XE_PASSWORD_FILE
    [ --minimal ]              Print only values, with commas between them
    [ --multiple ]             Work on all of the objects that are selected
    [ <other arguments> ... ]  name=value, or --name for name=true

To get help on a command:
  xe help <command>, or xe <command> --help
`;

const aboutSelecting = {
  VMs: "VMs are selected by vm=<uuid or name-label>, or by any of their fields, such as 'power-state=running'.",
  hosts: "Hosts are selected by host=<uuid or name-label>, or by any of their fields, such as 'enabled=false'.",
};

/** @param topics commands; without any, the common ones are listed, all of them with --all */
export function help(
  commands: ReadonlyMap<string, Command>,
  topics: readonly string[],
  params: Params,
  write: (text: string) => void,
): void {
  const minimal = boolParam(params, 'minimal');
  const printer = createPrinter(write, minimal);
  for (const topic of topics) describeCommand(commands, topic, printer);
  if (topics.length === 0) {
    const all = boolParam(params, 'all');
    const names = [...commands.values()].filter(({ common }) => all || common).map(({ name }) => name);
    printer.message(usageText);
    if (!all) printer.message('To see all commands:\n  xe help --all\n');
    printer.message(all ? 'All commands\n------------' : 'Common commands\n---------------');
    printer.list(minimal ? names.sort() : wrap(names.sort()));
  }
  printer.flush();
}

function describeCommand(
  commands: ReadonlyMap<string, Command>,
  name: string,
  printer: ReturnType<typeof createPrinter>,
) {
  const command = commands.get(name);
  if (command === undefined) throw new Error(unknownCommand(name, commands));
  const { selects, required, optional, help } = command;
  const selectors = selects === undefined ? [] : [selects === 'VMs' ? '<vm-selectors>' : '<host-selectors>'];
  printer.table([
    [
      ['command name', name],
      ['reqd params', required.join(', ')],
      ['optional params', [...optional, ...selectors].join(', ')],
      ['description', selects === undefined ? help : `${help} ${aboutSelecting[selects]}`],
    ],
  ]);
}

/** Say that there is no such command, with the one that may be meant. */
export function unknownCommand(name: string, commands: ReadonlyMap<string, Command>): string {
  return `Unknown command: ${name}${hint(name, commands.keys())}`;
}

/** Names with commas between them, on indented lines of at most 80 characters. */
function wrap(names: readonly string[]): string[] {
  const lines: string[] = [];
  let line = '';
  for (const name of names) {
    if (line !== '' && line.length + name.length > 73) {
      lines.push(`    ${line},`);
      line = '';
    }
    line = line === '' ? name : `${line}, ${name}`;
  }
  return line === '' ? lines : [...lines, `    ${line}`];
}
