/** Each error that the code raises, as its syntax tree has it, against the model. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import ts from 'typescript';
import { errors } from '../../idl/errors.js';

const root = fileURLToPath(new URL('../../../src/', import.meta.url));
const names: Readonly<Record<string, readonly string[]>> = errors;

/** What xapi sends differs from its own model here: a VM, where the model has other parameters or none. */
const asXapiDoes = new Set(['HOST_NOT_ENOUGH_FREE_MEMORY [vm]', 'NO_HOSTS_AVAILABLE [vm]']);
/** User and message, as clients expect them; the model has none. */
const moreThanModelled = new Set(['SESSION_AUTHENTICATION_FAILED']);
/** Codes whose parameters are texts for people. */
const inWords = new Set([
  ...['INTERNAL_ERROR', 'Fault', 'OPERATION_NOT_ALLOWED', 'XENAPI_PLUGIN_FAILURE'],
  ...['RBAC_PERMISSION_DENIED', 'HOSTS_NOT_HOMOGENEOUS', 'SESSION_AUTHENTICATION_FAILED'],
]);
/** Between hosts, helpers and daemons, which no client sees. */
const inside = /^(hypervisor|backend|xenops)/;

interface Raised {
  readonly at: string;
  readonly code: string;
  readonly params: readonly ts.Expression[];
}

function raisedIn(file: string): Raised[] {
  const source = ts.createSourceFile(
    file,
    fs.readFileSync(path.join(root, file), 'utf8'),
    ts.ScriptTarget.Latest,
    true,
  );
  const found: Raised[] = [];
  const visit = (node: ts.Node): void => {
    const isError = ts.isNewExpression(node) && node.expression.getText() === 'XapiError';
    const isReason = ts.isCallExpression(node) && node.expression.getText() === 'reason';
    if (isError || isReason) {
      const [code, params] = node.arguments ?? [];
      const elements = params === undefined ? [] : ts.isArrayLiteralExpression(params) ? params.elements : undefined;
      // A list that is made elsewhere, or with others in it, has as many parameters as it is long.
      if (code !== undefined && ts.isStringLiteral(code) && elements && !elements.some(ts.isSpreadElement)) {
        const { line } = source.getLineAndCharacterOfPosition(node.getStart());
        found.push({ at: `src/${file}:${line + 1}`, code: code.text, params: [...elements] });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const isProse = (param: ts.Expression): boolean =>
  (ts.isStringLiteral(param) && / /.test(param.text)) ||
  (ts.isTemplateExpression(param) &&
    [param.head, ...param.templateSpans.map((s) => s.literal)].some((p) => / /.test(p.text)));

describe('Errors', () => {
  const files = (fs.readdirSync(root, { recursive: true }) as string[]).filter((file) => file.endsWith('.ts'));
  const raised = files.flatMap(raisedIn);

  it('are found', () => {
    expect(raised).to.have.length.above(200);
  });

  it('have as many parameters as the model names', () => {
    const wrong = raised.flatMap(({ at, code, params }) => {
      const shown = `${code} [${params.map((param) => param.getText()).join(', ')}]`;
      if (code === 'Fault' || asXapiDoes.has(shown) || moreThanModelled.has(code)) return [];
      return params.length === names[code]?.length
        ? []
        : [`${at}: ${shown}, in the model [${names[code]?.join(', ')}]`];
    });
    expect(wrong).to.deep.equal([]);
  });

  it('have no prose in parameters that clients read', () => {
    const wrong = raised.flatMap(({ at, code, params }) => {
      const excused = inWords.has(code) || inside.test(at.slice('src/'.length));
      return !excused && params.some(isProse) ? [`${at}: ${code} [${params.map((p) => p.getText()).join(', ')}]`] : [];
    });
    // xapi's own words for a text that is no UTF-8, the states in which a disk can be unplugged, and a method with its path.
    expect(wrong.filter((each) => !/Invalid UTF-8 string|'halted, running'|request\.method/.test(each))).to.deep.equal(
      [],
    );
  });
});
