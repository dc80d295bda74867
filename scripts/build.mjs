/**
 * Compiles the project in the current directory where something changed since it was compiled last, and removes compiled files
 * whose source is gone. Says on standard error how far it is; standard output stays free for the program that is started next.
 * The exit status is 1 where the source has errors. Plain JavaScript, as nothing is compiled yet when it runs.
 */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const root = process.cwd();
const { compilerOptions, include } = JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8'));
const output = join(root, compilerOptions.outDir);
const buildInfo = join(root, compilerOptions.tsBuildInfoFile);
const stamp = join(output, 'compiled.json');

/** Files in a folder and those within it, as paths from the root; none where the folder is missing. */
function filesIn(folder, ending) {
  if (!existsSync(join(root, folder))) return [];
  const names = readdirSync(join(root, folder), { recursive: true });
  return names.filter((name) => ending.test(name)).map((name) => join(folder, name));
}

/** What each file that compilation reads looks like from outside: size and time of the last change. */
function stateOf(files) {
  const entries = files
    .filter((file) => existsSync(join(root, file)))
    .map((file) => {
      const { mtimeMs, size } = statSync(join(root, file));
      return [file, `${size} ${mtimeMs}`];
    });
  return JSON.stringify(Object.fromEntries(entries), undefined, 1);
}

/** Remove what was compiled from sources that are gone; true where each source has its compiled file. */
function matchOutput(sources) {
  const wanted = new Set(sources.map((source) => join(compilerOptions.outDir, source.replace(/\.ts$/, '.js'))));
  const compiled = include.flatMap((folder) => filesIn(join(compilerOptions.outDir, folder), /\.js(\.map)?$/));
  for (const file of compiled) {
    if (!wanted.has(file.replace(/\.map$/, ''))) rmSync(join(root, file));
  }
  return wanted.size === new Set(compiled.filter((file) => wanted.has(file))).size;
}

/** Show progress: on a terminal in one line, elsewhere a line every five seconds. */
function progressOf(count) {
  const { stderr } = process;
  let shown = performance.now();
  return (what, done) => {
    if (performance.now() - shown < (stderr.isTTY ? 100 : 5000)) return;
    shown = performance.now();
    stderr.write(
      `${stderr.isTTY ? '\r' : ''}Compiling: ${done} of ${count} files ${what}${stderr.isTTY ? '  ' : '\n'}`,
    );
  };
}

/** Compile what changed, and what depends on it; false where there are errors, which are printed. */
async function compile() {
  const { default: ts } = await import('typescript');
  const { options, fileNames, errors } = ts.getParsedCommandLineOfConfigFile(
    join(root, 'tsconfig.json'),
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
        throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'));
      },
    },
  );
  const program = ts.createIncrementalProgram({
    rootNames: fileNames,
    options,
    configFileParsingDiagnostics: errors,
    host: ts.createIncrementalCompilerHost(options),
  });
  const show = progressOf(fileNames.length);
  // Files of libraries are checked as well, and not counted.
  const own = new Set(fileNames);
  for (let next = program.getSemanticDiagnosticsOfNextAffectedFile(); next; ) {
    if (own.delete(next.affected.fileName)) show('checked', fileNames.length - own.size);
    next = program.getSemanticDiagnosticsOfNextAffectedFile();
  }
  let written = 0;
  const { diagnostics: unwritten } = program.emit(undefined, (path, text, bom) => {
    ts.sys.writeFile(path, text, bom);
    if (!path.endsWith('.js')) return;
    written += 1;
    show('written', written);
  });
  const diagnostics = ts.sortAndDeduplicateDiagnostics([
    ...program.getConfigFileParsingDiagnostics(),
    ...program.getOptionsDiagnostics(),
    ...program.getSyntacticDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...program.getSemanticDiagnostics(),
    ...unwritten,
  ]);
  const format = { getCurrentDirectory: () => root, getCanonicalFileName: (name) => name, getNewLine: () => '\n' };
  process.stderr.write(ts.formatDiagnostics(diagnostics, format));
  return diagnostics.length === 0;
}

const sources = include.flatMap((folder) => filesIn(folder, /(?<!\.d)\.ts$/));
const declarations = include.flatMap((folder) => filesIn(folder, /\.d\.ts$/));
const state = stateOf([...sources, ...declarations, 'tsconfig.json', 'package-lock.json'].sort());
const complete = matchOutput(sources);
if (!complete || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== state) {
  rmSync(stamp, { force: true });
  // The compiler goes by its own notes, and would not write again what was removed.
  if (!complete) rmSync(buildInfo, { force: true });
  if (await compile()) writeFileSync(stamp, state);
  else process.exitCode = 1;
}
