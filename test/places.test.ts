/**
 * The places that a new key of the configuration, field, message, command of xe and error code touch, as CONTRIBUTING.md lists
 * them: what nothing else would miss. Each failure names the place that was forgotten.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import ts from 'typescript';
import { type ClassModel, classes, errors } from '../idl/index.js';
import { decodeValue } from '../src/api/typed-value.js';
import { configKeyNames, configKeys, propertyOf } from '../src/base/config/keys.js';
import { allowedValues, descriptions } from '../src/cli/xe/error-text.js';
import { surface } from '../src/model/surface.js';
import { fieldsOf } from '../src/model/value.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface SourceText {
  readonly file: string;
  readonly text: string;
}

/** Keys that are taken from xenopsd's own files, and count for nothing here. */
const withoutReader = new Set<string>(['vm-suspend-ack-timeout']);

/** The files under a folder whose names end so. */
function textsOf(folder: string, ending = '.ts'): SourceText[] {
  const names = fs.readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' });
  const files = names.filter((name) => name.endsWith(ending)).map((name) => path.join(folder, name));
  return files.map((file) => ({ file, text: fs.readFileSync(path.join(root, file), 'utf8') }));
}

const sources = textsOf('src');
const tests = textsOf('test');
const isNamed = (word: string, texts: readonly SourceText[]): boolean => {
  const pattern = new RegExp(`(?<![\\w-])${word.replaceAll('.', '\\.')}(?![\\w-])`);
  return texts.some(({ text }) => pattern.test(text));
};

describe('a key of the configuration', () => {
  const sample = fs.readFileSync(path.join(root, 'etc/xenopsd.conf'), 'utf8');

  it('has a paragraph in etc/xenopsd.conf, with its default', () => {
    const missing = configKeyNames.filter(
      (key) => !sample.split('\n').includes(`# ${key} = ${configKeys[key].default}`.trimEnd()),
    );
    expect(missing.map((key) => `${key}: etc/xenopsd.conf lacks it with its default`)).to.deep.equal([]);
  });

  it('is told of in docs/operations.md, or on the page of what it is for', () => {
    const pages = textsOf('docs', '.md');
    const missing = configKeyNames.filter((key) => !isNamed(key, pages));
    expect(missing.map((key) => `${key}: docs/operations.md does not tell of it`)).to.deep.equal([]);
  });

  it('is read by something', () => {
    const readers = sources.filter(({ file }) => !/^src\/base\/config\/([\w-]+-)?keys\.ts$/.test(file));
    const unread = configKeyNames.filter((key) => !isNamed(propertyOf(key), readers) && !isNamed(`'${key}'`, readers));
    expect(
      unread.filter((key) => !withoutReader.has(key)).map((key) => `${key}: nothing in src reads ${propertyOf(key)}`),
    ).to.deep.equal([]);
  });
});

describe('a field of the model', () => {
  it('has a default of its own type in idl/classes, where it has one', () => {
    const wrong = Object.keys(classes).flatMap((cls) =>
      [...fieldsOf(cls).values()].flatMap(({ name, type, model }) => {
        const where = `${cls}.${name}: its default in idl/classes`;
        if (model.default === undefined) return [];
        if (type.kind === 'enum' && !type.values.includes(String(model.default)))
          return [`${where} is no ${type.name}`];
        try {
          decodeValue(type, model.default);
          return [];
        } catch (error) {
          return [`${where}: ${error}`];
        }
      }),
    );
    expect(wrong).to.deep.equal([]);
  });
});

describe('a message of the model', () => {
  const written = Object.values<ClassModel>(classes).flatMap((cls) =>
    Object.keys(cls.messages).map((method) => ({ cls: cls.name, method, name: `${cls.name}.${method}` })),
  );
  const answered = written.filter(({ name }) => surface.get(name)?.model.doc !== undefined);

  it('is handled and documented, or neither', () => {
    const wrong = written.filter(({ name }) => {
      const { accessor, doc } = surface.get(name)?.model ?? {};
      return accessor === true && doc !== undefined;
    });
    expect(
      wrong.map(({ name }) => `${name}: idl/classes gives it a doc, and accessor takes its handler away`),
    ).to.deep.equal([]);
  });

  it('is sent by a test, where it has a handler', () => {
    const isTried = ({ cls, method, name }: (typeof written)[number]): boolean => {
      if (isNamed(name, tests)) return true;
      const ofClass = new RegExp(`[hH]andlers(\\(\\))?\\.${cls}\\b`);
      return isNamed(
        method,
        tests.filter(({ text }) => ofClass.test(text)),
      );
    };
    expect(answered).to.have.length.above(100);
    const untried = answered.filter((message) => !isTried(message));
    expect(untried.map(({ name }) => `${name}: no test in test/pool sends it`)).to.deep.equal([]);
  });
});

describe('a command of xe', () => {
  it('sends messages that the model has', () => {
    const commands = sources.filter(({ file }) => file.startsWith('src/cli/') && !file.endsWith('fields/labels.ts'));
    const called = commands.flatMap(({ file, text }) =>
      [...text.matchAll(/'((?:Async\.)?(\w+)\.([a-z]\w+))'/g)].flatMap(([, full = '', cls = '', method = '']) =>
        Object.hasOwn(classes, cls) && !surface.has(`${cls}.${method}`) && !Object.hasOwn(fieldsIn(cls), method)
          ? [`${file}: ${full}, which idl/classes lacks`]
          : [],
      ),
    );
    expect(called).to.deep.equal([]);
  });
});

describe('an error code', () => {
  /** Every literal of src that is a code of the model, but for those in xe's own texts. */
  const raised = new Map<string, string>();
  before(() => {
    for (const { file, text } of sources.filter((each) => !each.file.startsWith('src/cli/'))) {
      const visit = (node: ts.Node): void => {
        if (ts.isStringLiteral(node) && Object.hasOwn(errors, node.text)) raised.set(node.text, file);
        ts.forEachChild(node, visit);
      };
      visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest));
    }
    expect(raised.has('VM_MIGRATE_FAILED')).to.equal(true);
    // xe has words of its own for this one.
    raised.delete('SESSION_AUTHENTICATION_FAILED');
  });

  it('that is raised has a text in src/cli/xe/error-text.ts', () => {
    const missing = [...raised].filter(([code]) => !Object.hasOwn(descriptions, code));
    expect(missing.map(([code, file]) => `${code} of ${file}: src/cli/xe/error-text.ts lacks it`)).to.deep.equal([]);
  });

  it('INVALID_VALUE of a field says in src/cli/xe/error-text.ts what is allowed', () => {
    const model = new Set(Object.keys(classes).flatMap((cls) => [...fieldsOf(cls).keys()]));
    const refused = sources.flatMap(({ file, text }) =>
      [...text.matchAll(/invalidValue\(\s*'(\w+)'/g)].flatMap(([, field = '']) =>
        /^src\/pool\/handlers/.test(file) && model.has(field) && !Object.hasOwn(allowedValues, field)
          ? [`${field} of ${file}: allowedValues in src/cli/xe/error-text.ts lacks it`]
          : [],
      ),
    );
    expect(refused).to.deep.equal([]);
  });
});

function fieldsIn(cls: string): object {
  return Object.fromEntries(fieldsOf(cls));
}
