/** The program that compiles, on a project of two files. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const compilerOptions = {
  target: 'es2023',
  module: 'nodenext',
  lib: ['es5'],
  types: [],
  rootDir: '.',
  outDir: 'build',
  incremental: true,
  tsBuildInfoFile: 'build/tsconfig.tsbuildinfo',
  skipLibCheck: true,
};

describe('npm run build', function () {
  this.timeout(60_000);
  let directory: string;
  const at = (file: string) => join(directory, file);
  const write = (file: string, text: string) => {
    mkdirSync(dirname(at(file)), { recursive: true });
    writeFileSync(at(file), text);
  };
  const build = async () => {
    const args = [join(root, 'scripts/build.mjs')];
    const { exitCode, stdout, stderr } = await execa(process.execPath, args, { cwd: directory, reject: false });
    return { exitCode, stdout, stderr };
  };

  let built: string;
  before(async () => {
    built = mkdtempSync(join(tmpdir(), 'build-'));
    directory = built;
    symlinkSync(join(root, 'node_modules'), at('node_modules'));
    write('package.json', '{ "type": "module" }');
    write('tsconfig.json', JSON.stringify({ compilerOptions, include: ['src', 'test'] }));
    write('src/a.ts', 'export const a: number = 1;\n');
    write('src/in/b.ts', "export { a as b } from '../a.js';\n");
    expect(await build()).to.deep.equal({ exitCode: 0, stdout: '', stderr: '' });
  });
  after(() => rmSync(built, { recursive: true, force: true }));
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'build-'));
    cpSync(built, directory, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('writes each source compiled', () => {
    expect(readFileSync(at('build/src/a.js'), 'utf8')).to.equal('export const a = 1;\n');
    expect(readFileSync(at('build/src/in/b.js'), 'utf8')).to.equal("export { a as b } from '../a.js';\n");
  });

  it('does not compile where nothing changed', async () => {
    // What would compile cannot be loaded.
    rmSync(at('node_modules'));
    const notes = statSync(at('build/tsconfig.tsbuildinfo')).mtimeMs;
    expect(await build()).to.deep.equal({ exitCode: 0, stdout: '', stderr: '' });
    expect(statSync(at('build/tsconfig.tsbuildinfo')).mtimeMs).to.equal(notes);
  });

  it('compiles what changed', async () => {
    write('src/a.ts', 'export const a: number = 2;\n');
    expect((await build()).exitCode).to.equal(0);
    expect(readFileSync(at('build/src/a.js'), 'utf8')).to.equal('export const a = 2;\n');
  });

  it('removes what was compiled from a source that is gone', async () => {
    rmSync(at('src/in/b.ts'));
    expect((await build()).exitCode).to.equal(0);
    expect(existsSync(at('build/src/in/b.js'))).to.equal(false);
    expect(existsSync(at('build/src/a.js'))).to.equal(true);
  });

  it('writes again what somebody removed', async () => {
    rmSync(at('build/src/a.js'));
    expect((await build()).exitCode).to.equal(0);
    expect(existsSync(at('build/src/a.js'))).to.equal(true);
  });

  it('names errors with file and line each time', async () => {
    write('src/a.ts', "export const a: number = 'one';\n");
    for (const _time of [1, 2]) {
      const { exitCode, stderr } = await build();
      expect(stderr).to.match(/^src\/a\.ts\(1,14\): error TS2322: /);
      expect(exitCode).to.equal(1);
    }
  });
});
