/** A mistake in a copy of what was built: the one source file is compiled anew, nothing else. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import type { Mutation } from './mutations.js';

export const root = fileURLToPath(new URL('../../../', import.meta.url));

/** @returns the file's source with the mistake @throws Error where the text is not there, or more than once */
export function mutate({ file, text, replacement }: Mutation): string {
  const parts = fs.readFileSync(path.join(root, file), 'utf8').split(text);
  if (parts.length === 2) return parts.join(replacement);
  throw new Error(`${file} has ${parts.length - 1} times, and is to have once: ${text}`);
}

/** @returns it as JavaScript @throws Error for what is none */
export function compile({ file }: Mutation, source: string): string {
  const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const fileName = path.join(root, file);
  const { outputText, diagnostics = [] } = ts.transpileModule(source, {
    compilerOptions: { ...options, module: ts.ModuleKind.ESNext, sourceMap: false },
    fileName,
    reportDiagnostics: true,
  });
  const [first] = diagnostics;
  if (first === undefined) return outputText;
  throw new Error(`${file}: ${ts.flattenDiagnosticMessageText(first.messageText, ' ')}`);
}

/** Make a copy of what was built in an empty directory. */
export function copyBuild(directory: string): void {
  for (const name of ['package.json', '.mocharc.json', 'test/reporter.cjs']) {
    fs.cpSync(path.join(root, name), path.join(directory, name));
  }
  fs.cpSync(path.join(root, 'build'), path.join(directory, 'build'), { recursive: true });
  fs.symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'));
}

/** Plant a mistake in a copy. @returns takes it out again */
export function plant(directory: string, mutation: Mutation): () => void {
  const built = path.join(directory, 'build', mutation.file.replace(/\.ts$/, '.js'));
  const before = fs.readFileSync(built);
  fs.writeFileSync(built, compile(mutation, mutate(mutation)));
  return () => fs.writeFileSync(built, before);
}
