/** Every command of xe. To add one, add its entry to the file of its kind. */

import type { Command } from './command.js';
import { classCommands } from './commands/class-commands.js';
import { deviceCommands } from './commands/device-commands.js';
import { domainCommands } from './commands/domain-commands.js';
import { eventWait } from './commands/event-wait.js';
import { hostCommands } from './commands/host-commands.js';
import { otherCommands } from './commands/other-commands.js';
import { poolCommands } from './commands/pool-commands.js';
import { storageCommands } from './commands/storage-commands.js';
import { vmCommands } from './commands/vm-commands.js';
import { vmDeviceCommands } from './commands/vm-devices.js';
import { vmDiagnosisCommands } from './commands/vm-diagnosis.js';
import { vmDiskCommands } from './commands/vm-disks.js';
import { vmMakingCommands } from './commands/vm-making.js';
import { vmMemoryCommands } from './commands/vm-memory.js';
import { vmMigrate } from './commands/vm-migrate.js';
import { vmRemovalCommands } from './commands/vm-removal.js';
import { xeClasses } from './fields.js';

/** Every command by name. */
export function commandTable(): ReadonlyMap<string, Command> {
  const commands = [
    ...Object.values(xeClasses).flatMap(classCommands),
    ...vmCommands,
    ...vmMakingCommands,
    ...vmRemovalCommands,
    ...vmMemoryCommands,
    ...vmDeviceCommands,
    ...vmDiskCommands,
    ...vmDiagnosisCommands,
    vmMigrate,
    ...hostCommands,
    ...domainCommands,
    ...poolCommands,
    ...storageCommands,
    ...deviceCommands,
    ...otherCommands,
    eventWait,
  ];
  return new Map(commands.map((command) => [command.name, command]));
}
