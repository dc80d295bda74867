/**
 * The direction of imports: each room with the rooms that it may import from, besides itself. What is not listed is forbidden. A
 * room is a folder of `src` without the rooms within it. `emu-manager`, `hypervisor` and `zstd` are programs of their own: others
 * start them and never import them.
 */
const base = ['idl', 'base', 'base/config', 'base/process', 'base/protocol', 'base/store', 'base/zstd'];
const wire = ['wire/connection', 'wire/stream'];
const belowMigrate = [...base, ...wire, 'backend', 'xenops'];
const migrate = ['migrate', 'migrate/source', 'migrate/destination'];
const belowHost = [...belowMigrate, 'model', ...migrate];
const belowPool = [...belowHost, 'host/storage', 'host/service', 'host/rpc'];
const records = [...belowPool, 'pool/database', 'pool/access', 'pool/events', 'pool/vm-records'];
const operations = [...records, 'pool/hosts', 'pool/storage', 'pool/migration', 'pool/vm-life'];

const rooms = {
  idl: [],
  base: ['idl'],
  'base/process': ['base'],
  'base/protocol': ['base'],
  'base/store': ['base'],
  'base/zstd': ['base'],
  'base/config': ['base', 'base/protocol'],
  model: ['idl', 'base'],
  'wire/connection': ['base', 'base/process'],
  'wire/stream': ['base', 'base/protocol', 'base/zstd'],
  backend: ['base', 'base/process', 'base/protocol'],
  'backend/simulator': ['base', 'base/process', 'base/protocol', 'backend'],
  'backend/qemu': ['base', 'base/process', 'base/protocol', 'backend'],
  xenops: [...base, ...wire, 'backend'],
  migrate: belowMigrate,
  'migrate/source': [...belowMigrate, 'migrate'],
  'migrate/destination': [...belowMigrate, 'migrate'],
  'host/storage': base,
  'host/service': [...belowHost, 'host/storage'],
  'host/faults': [...base, ...wire, 'migrate'],
  'host/rpc': [...belowHost, 'host/storage', 'host/service'],
  host: [...belowHost, 'host/storage', 'host/service', 'host/faults', 'host/rpc'],
  'pool/database': belowPool,
  'pool/access': [...belowPool, 'pool/database'],
  'pool/events': [...belowPool, 'pool/database'],
  'pool/vm-records': [...belowPool, 'pool/database', 'pool/events'],
  'pool/hosts': records,
  'pool/storage': [...records, 'pool/hosts'],
  'pool/migration': [...records, 'pool/hosts'],
  'pool/vm-life': [...records, 'pool/hosts', 'pool/storage', 'pool/migration'],
  'pool/handlers': operations,
  'pool/handlers/vm': [...operations, 'pool/handlers'],
  pool: [...operations, 'pool/handlers', 'pool/handlers/vm'],
  api: [...belowPool, 'wire/connection'],
  'cli/client': [...base, 'wire/connection'],
  'cli/xe/fields': [...base, 'cli/client', 'cli/xe'],
  'cli/xe/commands': [...base, 'cli/client', 'cli/xe'],
  'cli/xe': [...base, 'cli/client', 'cli/xe/fields', 'cli/xe/commands'],
  'cli/local-pool': [...base, 'cli/client', 'cli/xe'],
  'hypervisor/guest': ['base', 'base/process', 'base/protocol'],
  hypervisor: ['base', 'base/process', 'base/protocol', 'hypervisor/guest'],
  zstd: ['base', 'base/process'],
  'emu-manager/memory': ['base', 'base/protocol', 'wire/stream'],
  'emu-manager/process': ['base', 'base/protocol', 'backend/simulator'],
  'emu-manager/save': [...base, ...wire, 'emu-manager/process', 'emu-manager/memory'],
  'emu-manager/restore': [...base, ...wire, 'emu-manager/process', 'emu-manager/memory'],
  'emu-manager/qemu': [...base, ...wire, 'backend/qemu', 'emu-manager/process', 'emu-manager/save'],
  'emu-manager': [...base, 'emu-manager/process', 'emu-manager/save', 'emu-manager/restore', 'emu-manager/qemu'],
};

/** What another room's files match; the model's folders are one room. */
const filesOf = (room) => (room === 'idl' ? 'idl/' : `src/${room}/[^/]+$`);
const pathOf = (list) => `^(${list.map(filesOf).join('|')})`;

const roomRules = Object.entries(rooms).map(([room, allowed]) => ({
  name: `${room}-imports-down`,
  comment: `${room} may import from ${[...allowed, 'itself'].join(', ')}`,
  severity: 'error',
  from: { path: pathOf([room]) },
  to: { path: '^(idl|src|test|scripts)/', pathNot: pathOf([room, ...allowed]) },
}));
const notForMain = ['cli', 'hypervisor', 'zstd', 'emu-manager'];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...roomRules,
    {
      name: 'main-starts-programs',
      comment: 'the composition root imports layers, and starts other programs as processes',
      severity: 'error',
      from: { path: '^src/[^/]+$' },
      to: { path: `^(test|scripts|src/(${notForMain.join('|')}))/` },
    },
    {
      name: 'known-room',
      comment: 'a folder of src that this file does not list as a room',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: pathOf(Object.keys(rooms)) },
      to: {},
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-tools-at-run-time',
      comment: 'what src imports must be among the dependencies, not the devDependencies',
      severity: 'error',
      from: { path: '^(src|idl)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Imports of types alone point down as well.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      exportsFields: ['exports'],
    },
  },
};
