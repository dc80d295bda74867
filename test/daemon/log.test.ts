import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { type Message, surface } from '../../src/model/surface.js';
import { fieldsOf, type Type } from '../../src/model/value.js';
import { xenopsPath } from '../../src/wire/connection/channel.js';
import { type Daemon, openSite, type Site } from './daemon.js';

/** What no line may hold, and values of each type made of it. */
interface Planted {
  readonly text: string;
  readonly number: number;
  readonly session: string;
}

/** A value of a type that holds what is planted wherever the type has room for it. */
function fitting(type: Type, planted: Planted): unknown {
  switch (type.kind) {
    case 'string':
    case 'enum':
      return planted.text;
    case 'ref':
      return planted.session;
    case 'int':
    case 'float':
      return planted.number;
    case 'bool':
      return true;
    case 'datetime':
      return '20200101T00:00:00Z';
    case 'set':
      return [fitting(type.element, planted)];
    case 'option':
      return fitting(type.element, planted);
    case 'map':
      return { [planted.text]: fitting(type.value, planted) };
    case 'record': {
      // So the others pass, and a handler gets to see them.
      const plain = [...fieldsOf(type.cls).values()].filter((field) => field.type.kind !== 'enum');
      return Object.fromEntries(plain.map((field) => [field.name, fitting(field.type, planted)]));
    }
    default:
      return planted.text;
  }
}

/** A value of another type, which holds it deep inside. */
function unfit(type: Type, { text, number, session }: Planted): unknown {
  const inner = { [text]: [text, number, { deep: session }] };
  return type.kind === 'map' || type.kind === 'record' ? [inner, session] : inner;
}

/** Each call of a handler, and of the generic messages those of one class: the others are the same code. */
const messages = [...surface.values()].filter(({ action, cls }) => action.kind === 'custom' || cls === 'VM');
/** They wait for events, or end the session of the test. */
const aside = ['event.from', 'event.next', 'session.logout', 'session.local_logout'];

describe('the log of a daemon, at the level that shows most', function () {
  this.timeout(120_000);
  let site: Site;
  let daemon: Daemon;
  let entered: XapiSession;
  let session: string;
  let planted: Planted;
  let socket: net.Socket;
  /** By the last request. */
  let written: Buffer;
  const logFile = () => path.join(site.directory, 'log');

  before(async () => {
    site = openSite();
    site.configure('loglevel = debug', 'fault-injection = true');
    daemon = await site.start();
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    const enter = () => login({ url: daemon.url, username: 'root', password }, 'test');
    entered = await enter();
    session = entered.ref;
    planted = {
      text: `hush-${randomBytes(6).toString('hex')}`,
      number: 31_415_926_535_897,
      session: (await enter()).ref,
    };
    socket = net.connect(Number(new URL(daemon.url).port), '127.0.0.1');
    await once(socket, 'connect');
  });
  after(async () => {
    socket.destroy();
    await site.close();
  });

  const secrets = () => {
    const pool = fs.readFileSync(path.join(site.stateDir, 'pool-secret'), 'utf8').trim();
    const [, uuid = ''] = planted.session.split(':');
    return [planted.text, String(planted.number), uuid, session, pool];
  };
  const expectNothing = (): void => {
    const log = site.log();
    for (const secret of secrets()) {
      expect(log.split('\n').find((line) => line.includes(secret))).to.equal(undefined);
    }
  };

  /** The status of the answer to raw bytes, on the connection that all requests share. */
  const exchange = async (bytes: string): Promise<number> => {
    if (socket.destroyed || socket.readableEnded) {
      socket = net.connect(Number(new URL(daemon.url).port), '127.0.0.1');
      socket.on('error', () => undefined);
    }
    socket.write(bytes);
    let got = '';
    for (;;) {
      const done = new AbortController();
      const { signal } = done;
      const gone = once(socket, 'close', { signal }).then(() => [undefined]);
      const next = await Promise.race([once(socket, 'data', { signal }), gone]);
      done.abort();
      gone.catch(() => undefined);
      if (next[0] === undefined) return Number(got.split(' ')[1] ?? 0);
      got += next[0];
      const end = got.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(got)?.[1] ?? 0);
      if (end >= 0 && Buffer.byteLength(got) >= end + 4 + length) break;
    }
    if (/connection: close/i.test(got)) {
      socket.destroy();
      await once(socket, 'close');
    }
    return Number(got.split(' ')[1]);
  };
  const post = (target: string, body: string): string =>
    `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  /** Send a request, and see that it writes no more than its own bytes and 256. */
  const send = async (what: string, bytes: string): Promise<number> => {
    const before = fs.statSync(logFile()).size;
    const status = await exchange(bytes);
    written = fs.readFileSync(logFile()).subarray(before);
    const most = Buffer.byteLength(bytes) + 256;
    if (written.length > most) expect.fail(`${what}: ${written.length} bytes for ${most - 256}: ${written}`);
    return status;
  };
  const json = (method: string, params: readonly unknown[], target = '/jsonrpc') =>
    send(`${method} ${JSON.stringify(params)}`, post(target, JSON.stringify({ id: 1, method, params })));
  const xml = (method: string, params: readonly unknown[]) => {
    const text = params.map((param) => `<param>${xmlOf(param)}</param>`).join('');
    const call = `<methodCall><methodName>${method}</methodName><params>${text}</params></methodCall>`;
    return send(method, post('/', call));
  };

  /** The user of a login is in the log, cut: a name, and what is meant to be there. */
  const isUser = (message: Message, name: string) => message.name === 'session.login_with_password' && name === 'uname';
  const fits = (message: Message) =>
    message.params.map(({ name, type }) => (isUser(message, name) ? 'root' : fitting(type, planted)));

  const variants: Readonly<Record<string, (message: Message) => unknown[]>> = {
    'of the right types': (message) => [session, ...fits(message)],
    'of wrong types': (message) => [session, ...message.params.map(({ type }) => unfit(type, planted))],
    'behind a session that is none': (message) => [planted.text, ...fits(message)],
    'behind a session that is a number': (message) => [planted.number, ...fits(message)],
    'too many of them': (message) => [session, ...fits(message), ...Array(3).fill(planted.session)],
  };
  for (const [what, make] of Object.entries(variants)) {
    for (const [protocol, call] of Object.entries({ 'JSON-RPC': json, 'XML-RPC': xml })) {
      it(`has nothing of parameters ${what}, by ${protocol}`, async () => {
        for (const message of messages) {
          if (aside.includes(message.name) && !what.includes('none')) continue;
          const params = make(message);
          const status = await call(message.name, message.session ? params : params.slice(1));
          expect(status, message.name).to.equal(200);
        }
        expectNothing();
      });
    }
  }

  it('has nothing of each single parameter of a wrong type, and names it with its kind', async () => {
    for (const message of messages.filter(({ action }) => action.kind === 'custom')) {
      for (const [index, { name, type }] of message.params.entries()) {
        const params = fits(message).map((each, at) => (at === index ? unfit(type, planted) : each));
        const asText = message.params.slice(0, index).some((each) => each.type.kind === 'enum');
        await json(message.name, [...(message.session ? [session] : []), ...params]);
        if (message.removed || asText) continue;
        const last = String(written).trimEnd();
        expect(last).to.match(new RegExp(`debug call failed call=${message.name} error=INTERNAL_ERROR parameter=`));
        expect(last).to.match(new RegExp(`parameter=${name} .*found=(object|array)$`));
      }
    }
    expectNothing();
  });

  it('has nothing of calls that do not exist, of bodies that are none, and of heads', async () => {
    const { text, session: ref } = planted;
    for (const name of [text, `VM.${text}`, `Async.${text}`, 'x'.repeat(5000) + text]) {
      await json(name, [session, text]);
      await xml(name, [session, text]);
    }
    for (const body of [text, `{"${text}`, `[{"id":1,"method":"${text}"}]`, `<methodCall>${text}`, `<a>${ref}</a>`]) {
      for (const target of ['/', '/jsonrpc', `/${text}?session_id=${ref}&task_id=${ref}`]) {
        await send(body, post(target, body));
      }
    }
    for (const method of ['GET', 'HEAD', 'DELETE', 'PUT', 'OPTIONS']) {
      const head = `Cookie: session_id=${ref}; x=${text}\r\nAuthorization: Basic ${text}\r\nUser-Agent: ${text}\r\n`;
      await send(
        method,
        `${method} /${text}/x?session_id=${ref} HTTP/1.1\r\nHost: ${text}\r\n${head}Content-Length: 0\r\n\r\n`,
      );
    }
    await send(
      'a dump',
      `GET /pool/xmldbdump?session_id=${ref.slice(0, -1)}&task_id=${ref} HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    expectNothing();
  });

  it('has nothing of the heads of channels', async () => {
    const { text, session: ref } = planted;
    const uuid = ref.split(':')[1];
    for (const target of [text, `vm/${text}`, `vgpu/${uuid}`, `mem/${uuid}`, `vm/${uuid}`, `vgpu/${uuid}/${text}`]) {
      const cookies = `migration_id=${uuid}; compress=${text}; mem_migration=${text}; vgpu_migration=${text}`;
      const head = `PUT /migrate/${target}?session_id=${ref} HTTP/1.1\r\ncookie: ${cookies}\r\n\r\n`;
      await send(target, head);
    }
    expectNothing();
  });

  it('has nothing of the calls between hosts, not even where they show the secret of the pool', async () => {
    const { text, number, session: ref } = planted;
    const pool = secrets().at(-1);
    const names = ['state', 'start', 'pause', 'reboot', 'migrate', 'cancel', 'outcome', 'doubt', 'forceSettlement'];
    names.push('assertTurn', 'receive', 'noted', 'received', 'callPlugin', 'join', 'storage.createVdi', 'VM.receive');
    names.push('settle', 'acknowledge', 'digest', 'mayRun', text);
    for (const name of names) {
      for (const params of [
        [pool, ref, text, { [text]: number }],
        [text, ref],
        [pool, { [text]: [number, ref] }, text],
      ]) {
        await json(name, params, xenopsPath);
      }
    }
    expectNothing();
  });

  it('has nothing of a fault rule but its step', async () => {
    const [host = ''] = await entered.call<string[]>('host.get_all');
    const rule = { step: 'copy', side: 'source', action: 'fail', message: planted.text };
    await json('host.call_plugin', [session, host, 'fault', 'add', rule]);
    await json('host.call_plugin', [session, host, 'fault', 'add', { ...rule, [planted.text]: planted.text }]);
    await json('host.call_plugin', [session, host, 'fault', planted.text, {}]);
    await json('host.call_plugin', [session, host, planted.text, planted.text, { [planted.text]: planted.text }]);
    expectNothing();
  });
});

function xmlOf(value: unknown): string {
  if (typeof value === 'number') return `<value><double>${value}</double></value>`;
  if (typeof value === 'boolean') return `<value><boolean>${value ? 1 : 0}</boolean></value>`;
  if (Array.isArray(value)) return `<value><array><data>${value.map(xmlOf).join('')}</data></array></value>`;
  if (typeof value !== 'object' || value === null) return `<value><string>${value}</string></value>`;
  const members = Object.entries(value).map(([name, each]) => `<member><name>${name}</name>${xmlOf(each)}</member>`);
  return `<value><struct>${members.join('')}</struct></value>`;
}
