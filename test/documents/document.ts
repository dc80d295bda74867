/**
 * A document of the repository as what its tests look at: fenced blocks, links and headings.
 *
 * The info string of a block says what becomes of it:
 * - `sh` is run as it stands, by bash, in one shell for the document;
 * - `sh foreground` is run in a terminal of its own, and stays until the document ends or a block ends it;
 * - `sh not-run` is not run;
 * - `output` is what the last block that is run prints: a number stands for any number, `...` for anything in a line, a line of
 *   `...` alone for any lines;
 * - `text` and `ini` are no commands.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { marked, type Token, type Tokens } from 'marked';

/** Where the repository is, with a slash at its end. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

export interface Command {
  readonly kind: 'run' | 'foreground' | 'not-run';
  readonly text: string;
  /** What the block prints; absent where the document does not show it. */
  readonly output?: string;
}

export interface Document {
  /** Relative to the repository. */
  readonly file: string;
  readonly lines: readonly string[];
  readonly commands: readonly Command[];
  /** Targets of links, as they are written. */
  readonly links: readonly string[];
  /** The anchors of its headings, as they follow `#` in a link. */
  readonly anchors: readonly string[];
}

const kinds: ReadonlyMap<string, Command['kind']> = new Map([
  ['sh', 'run'],
  ['sh foreground', 'foreground'],
  ['sh not-run', 'not-run'],
]);
const otherBlocks = ['text', 'ini'];

/** @returns README.md, CONTRIBUTING.md and the files of docs, in this order */
export function documentFiles(): string[] {
  const docs = readdirSync(`${root}docs`).filter((file) => file.endsWith('.md'));
  return ['README.md', 'CONTRIBUTING.md', ...docs.sort().map((file) => `docs/${file}`)];
}

/** @throws Error for a block whose info string is none of those above */
export function readDocument(file: string): Document {
  return parseDocument(file, readFileSync(root + file, 'utf8'));
}

/** @throws Error as readDocument does */
export function parseDocument(file: string, text: string): Document {
  const commands: Command[] = [];
  const links: string[] = [];
  const anchors: string[] = [];
  const visit = (token: Token) => {
    if (token.type === 'link') links.push(token.href);
    if (token.type === 'heading') anchors.push(anchorOf(token.text));
    if (token.type === 'code') addBlock(commands, token as Tokens.Code, file);
  };
  marked.walkTokens(marked.lexer(text), visit);
  return { file, lines: text.split('\n'), commands, links, anchors };
}

function addBlock(commands: Command[], { lang = '', text }: Tokens.Code, file: string): void {
  const kind = kinds.get(lang);
  if (kind !== undefined) {
    commands.push({ kind, text });
  } else if (lang === 'output') {
    const last = commands.findLastIndex((command) => command.kind !== 'not-run');
    const command = commands[last];
    if (command === undefined) throw new Error(`${file}: no command prints this output: ${text}`);
    commands[last] = { ...command, output: text };
  } else if (!otherBlocks.includes(lang)) {
    const allowed = [...kinds.keys(), 'output', ...otherBlocks].join(', ');
    throw new Error(`${file}: a block is marked '${lang}', and not one of ${allowed}: ${text}`);
  }
}

/** A heading as GitHub names it in a link. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');
}

/** @returns a pattern for what a block of output stands for, without the end of its last line */
export function outputPattern(output: string): RegExp {
  const lines = output.split('\n').map((line) => (line === '...' ? '(?:.*\n)*?' : `${linePattern(line)}\n`));
  return new RegExp(`^${lines.join('')}$`);
}

function linePattern(line: string): string {
  return line
    .split('...')
    .map((part) =>
      part
        .replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
        .replace(/\d+(?:\\\.\d+)*/g, '\\d+(?:\\.\\d+)*')
        .replace(/ +/g, ' +'),
    )
    .join('.*');
}
