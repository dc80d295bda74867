import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';

const root = fileURLToPath(new URL('../../', import.meta.url));
const longestFile = 350;
/** The data model is data: as long as the XenAPI is. */
const data = /^idl\/(classes\/.*|errors|enums)\.ts$/;

describe('the architecture', function () {
  // The whole tree is read, on a machine that has other work.
  this.timeout(120_000);
  it('has imports that only go down, without cycles', async () => {
    const { violations, modules } = await cruise(root);
    expect(violations).to.deep.equal([]);
    const sources = [...sourceFiles('src'), ...sourceFiles('idl')];
    expect(modules).to.include.members(sources);
    expect(sources).not.to.have.length(0);
  });

  it('has no long files', () => {
    const files = ['idl', 'src', 'test', 'scripts'].flatMap(sourceFiles).filter((file) => !data.test(file));
    const lengths = files.map((file) => ({
      file,
      lines: readFileSync(join(root, file), 'utf8').split('\n').length - 1,
    }));
    expect(lengths.filter(({ lines }) => lines > longestFile)).to.deep.equal([]);
  });

  describe('as its rules see it', () => {
    const rows = [
      ['down', 'src/migrate', 'src/wire/stream', undefined],
      ['within a room', 'src/migrate', 'src/migrate', undefined],
      ['of a room by what stands before it', 'src/migrate/source', 'src/migrate', undefined],
      ['by main', 'src', 'src/api', undefined],
      ['up', 'src/base', 'src/wire/connection', 'base-imports-down'],
      ['sideways', 'src/wire/stream', 'src/backend', 'wire/stream-imports-down'],
      ['between rooms of one layer', 'src/wire/stream', 'src/wire/connection', 'wire/stream-imports-down'],
      [
        'between the sides of a migration',
        'src/migrate/destination',
        'src/migrate/source',
        'migrate/destination-imports-down',
      ],
      ['of an upper room of the pool', 'src/pool/database', 'src/pool/migration', 'pool/database-imports-down'],
      ['of a back end by what is above the back ends', 'src/xenops', 'src/backend/simulator', 'xenops-imports-down'],
      ['of the pool by the command line', 'src/cli/xe', 'src/pool', 'cli/xe-imports-down'],
      ['of the program hypervisor', 'src/backend/simulator', 'src/hypervisor', 'backend/simulator-imports-down'],
      ['of a program by main', 'src', 'src/emu-manager', 'main-starts-programs'],
      ['out of the data model', 'idl', 'src/base', 'idl-imports-down'],
      ['of a test', 'src/api', 'test', 'api-imports-down'],
      ['in a layer that has no rule', 'src/new', 'src/base', 'known-room'],
      ['in a room that has no rule', 'src/pool/new', 'src/base', 'known-room'],
    ] as const;
    let directory: string;
    let cruised: Cruised;

    before(async () => {
      directory = mkdtempSync(join(tmpdir(), 'architecture-'));
      writeFileSync(join(directory, 'tsconfig.json'), readFileSync(join(root, 'tsconfig.json')));
      for (const [index, [, from, to]] of rows.entries()) {
        write(`${from}/from${index}.ts`, `${to}/to${index}.js`);
        write(`${to}/to${index}.ts`);
      }
      write('src/pool/events/round.ts', 'src/pool/events/trip.js');
      write('src/pool/events/trip.ts', 'src/pool/events/round.js');
      cruised = await cruise(directory);
    });
    after(() => rmSync(directory, { recursive: true, force: true }));

    for (const [index, [what, from, , rule]] of rows.entries()) {
      it(`${rule ? 'forbids' : 'allows'} an import ${what}`, () => {
        const broken = cruised.violations.filter((violation) => violation.from === `${from}/from${index}.ts`);
        expect(broken.map((violation) => violation.rule)).to.deep.equal(rule ? [rule] : []);
      });
    }

    it('forbids a cycle, of types as well', () => {
      const cycles = cruised.violations.filter(({ rule }) => rule === 'no-cycles').map(({ from }) => from);
      expect(cycles).to.include('src/pool/events/round.ts');
    });

    it('keep rooms small: at most 20 files in each', () => {
      const counts = new Map<string, number>();
      for (const file of sourceFiles('src')) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
      expect([...counts].filter(([, count]) => count > 20)).to.deep.equal([]);
    });

    /** A file that is one type, made of what another file exports if one is named by its path from the root. */
    function write(file: string, imported?: string): void {
      const path = imported && relative(dirname(file), imported).replace(/^(?!\.)/, './');
      const text = path ? `import type { A as B } from '${path}';\nexport type A = B[];\n` : 'export type A = 1;\n';
      mkdirSync(dirname(join(directory, file)), { recursive: true });
      writeFileSync(join(directory, file), text);
    }
  });
});

interface Cruised {
  readonly violations: readonly { readonly rule: string; readonly from: string; readonly to: string }[];
  readonly modules: readonly string[];
}

/** The modules of `src` and `idl` in a directory, and where their imports break the rules. */
async function cruise(directory: string): Promise<Cruised> {
  const program = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  const config = join(root, '.dependency-cruiser.cjs');
  const args = [program, '--config', config, '--output-type', 'json', 'src', 'idl'];
  const { stdout, stderr } = await execa(process.execPath, args, { cwd: directory, reject: false });
  if (!stdout.startsWith('{')) throw new Error(`dependency-cruiser failed: ${stderr}`);
  const result = JSON.parse(stdout) as {
    modules: { source: string }[];
    summary: { violations: { rule: { name: string }; from: string; to: string }[] };
  };
  return {
    violations: result.summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to })),
    modules: result.modules.map(({ source }) => source),
  };
}

/** The TypeScript files of a folder, as paths from the root. */
function sourceFiles(folder: string): string[] {
  const names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.ts')).map((name) => `${folder}/${name}`);
}
