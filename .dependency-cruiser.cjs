/**
 * The direction of imports: each layer with the layers that it may import from, besides itself. What is not listed is
 * forbidden. `emu-manager`, `hypervisor` and
 * `zstd` are programs of their own: others start them and never import them.
 */
const below = {
  idl: [],
  'src/base': ['idl'],
  'src/model': ['idl', 'src/base'],
  'src/wire': ['idl', 'src/base'],
  'src/backend': ['idl', 'src/base'],
  'src/hypervisor': ['idl', 'src/base'],
  'src/zstd': ['idl', 'src/base'],
  'src/emu-manager': ['idl', 'src/base', 'src/wire', 'src/backend'],
  'src/xenops': ['idl', 'src/base', 'src/wire', 'src/backend'],
  'src/migrate': ['idl', 'src/base', 'src/wire', 'src/backend', 'src/xenops'],
  'src/host': ['idl', 'src/base', 'src/model', 'src/wire', 'src/backend', 'src/xenops', 'src/migrate'],
  'src/pool': ['idl', 'src/base', 'src/model', 'src/wire', 'src/backend', 'src/xenops', 'src/migrate', 'src/host'],
  'src/api': [
    'idl',
    'src/base',
    'src/model',
    'src/wire',
    'src/backend',
    'src/xenops',
    'src/migrate',
    'src/host',
    'src/pool',
  ],
  'src/cli': ['idl', 'src/base', 'src/wire'],
};
const notForMain = ['src/cli', 'src/hypervisor', 'src/zstd', 'src/emu-manager'];

const layerRules = Object.entries(below).map(([layer, allowed]) => ({
  name: `${layer.replace('src/', '')}-imports-down`,
  comment: `${layer} may import from ${[...allowed, 'itself'].join(', ')}`,
  severity: 'error',
  from: { path: `^${layer}/` },
  to: { path: '^(idl|src|test|scripts)/', pathNot: `^(${[layer, ...allowed].join('|')})/` },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...layerRules,
    {
      name: 'main-starts-programs',
      comment: 'the composition root imports layers, and starts other programs as processes',
      severity: 'error',
      from: { path: '^src/[^/]+$' },
      to: { path: `^(${['test', 'scripts', ...notForMain].join('|')})/` },
    },
    {
      name: 'known-layer',
      comment: 'a folder of src that this file does not list as a layer',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: `^(${Object.keys(below).join('|')})/` },
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
