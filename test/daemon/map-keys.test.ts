import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { parseXmlCall } from '../../src/api/xml-call.js';
import { encodeXml } from '../../src/api/xml-value.js';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import type { Type } from '../../src/model/value.js';
import { xeAt } from '../cli/xe/harness.js';
import { anyKeys, expectMap, forbiddenKeys, mapOf } from '../support/map-keys.js';
import { type Daemon, openSite, type Site } from './daemon.js';

const text: Type = { kind: 'string' };
const textMap: Type = { kind: 'map', key: text, value: text };

/**
 * The result of a call as XML-RPC has it.
 * @param params with their types
 */
async function callXml(
  { url }: Daemon,
  method: string,
  params: readonly (readonly [Type, unknown])[],
): Promise<unknown> {
  const sent = params.map(([type, value]) => `<param>${encodeXml(type, value)}</param>`).join('');
  const body = `<methodCall><methodName>${method}</methodName><params>${sent}</params></methodCall>`;
  const answer = await (await fetch(url, { method: 'POST', body, headers: { 'content-type': 'text/xml' } })).text();
  const value = /<name>Value<\/name>([\s\S]*)<\/member>/.exec(answer)?.[1];
  const read = parseXmlCall(
    `<methodCall><methodName>m</methodName><params><param>${value}</param></params></methodCall>`,
  );
  if ('reason' in read) throw new Error(answer);
  return read.params[0];
}

describe('a map with any keys', function () {
  this.timeout(60_000);
  let site: Site;
  let daemon: Daemon;
  let session: XapiSession;
  const map = mapOf(anyKeys);
  const fields = ['platform', 'xenstore_data', 'HVM_boot_params', 'VCPUs_params'] as const;
  before(async () => {
    site = openSite();
    await start();
  });
  after(() => site.close());
  const start = async (): Promise<void> => {
    daemon = await site.start();
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    session = await login({ url: daemon.url, username: 'root', password }, 'test');
  };
  const createNetwork = (name_label: string): Promise<string> =>
    session.call('network.create', { name_label, name_description: '', MTU: 1500, other_config: {}, tags: [] });

  /** By how they are written. */
  const ways: Record<string, (network: string) => Promise<unknown>> = {
    'set as JSON': (network) => session.call('network.set_other_config', network, map),
    'set as XML': (network) =>
      callXml(daemon, 'network.set_other_config', [
        [text, session.ref],
        [text, network],
        [textMap, map],
      ]),
    async 'added as JSON'(network) {
      for (const entry of Object.entries(map)) await session.call('network.add_to_other_config', network, ...entry);
    },
    async 'added as XML'(network) {
      for (const entry of Object.entries(map)) {
        const params = [session.ref, network, ...entry].map((each) => [text, each] as const);
        await callXml(daemon, 'network.add_to_other_config', params);
      }
    },
  };

  it('is the same by every way in and out, after a restart, in copies of a VM and from a backup', async () => {
    const networks = new Map<string, string>();
    for (const [way, write] of Object.entries(ways)) {
      networks.set(way, await createNetwork(way));
      await write(networks.get(way) as string);
    }
    const vm = await session.call<string>('VM.create', vmRecord({ name: 'vm', memory: 2 ** 23 }));
    for (const field of fields) await session.call(`VM.set_${field}`, vm, map);
    const vms = [
      vm,
      await session.call<string>('VM.clone', vm, 'clone'),
      await session.call<string>('VM.copy', vm, 'copy', ''),
    ];
    const expectAll = async (when: string): Promise<void> => {
      const { events } = await session.call<{ events: { ref: string; snapshot?: Record<string, unknown> }[] }>(
        'event.from',
        ['vm', 'network'],
        '',
        10,
      );
      const snapshot = (ref: string) => events.find((event) => event.ref === ref)?.snapshot ?? {};
      for (const [way, network] of networks) {
        expectMap(await session.call('network.get_other_config', network), map, `${way}, ${when}`);
        const params = [session.ref, network].map((each) => [text, each] as const);
        expectMap(await callXml(daemon, 'network.get_other_config', params), map, `${way}, read as XML, ${when}`);
        expectMap(snapshot(network).other_config, map, `${way}, event, ${when}`);
      }
      for (const ref of vms) {
        for (const field of fields) expectMap(snapshot(ref)[field], map, `${field}, event, ${when}`);
      }
    };
    await expectAll('at first');
    await daemon.end('SIGTERM');
    await start();
    await expectAll('after a restart');

    const backup = path.join(site.directory, 'backup');
    expect(await site.run('--config', site.configFile, '--backup-database', backup)).to.include({ status: 0 });
    for (const network of networks.values()) {
      await session.call('network.remove_from_other_config', network, '__proto__');
      const left = mapOf(anyKeys.filter((key) => key !== '__proto__'));
      expectMap(await session.call('network.get_other_config', network), left, 'without a key');
    }
    await daemon.end('SIGTERM');
    fs.rmSync(path.join(site.stateDir, 'db'), { recursive: true });
    fs.cpSync(backup, path.join(site.stateDir, 'db'), { recursive: true });
    await start();
    await expectAll('from a backup');
  });

  it('is written, read, searched and taken apart by xe', async () => {
    const network = await createNetwork('of xe');
    const uuid = await session.call<string>('network.get_uuid', network);
    const environment = { XE_PASSWORD_FILE: path.join(site.stateDir, 'root-password'), XE_PASSWORD: '' };
    const xe = async (...args: string[]): Promise<string> => {
      const { status, out, err } = await xeAt(daemon, args, environment);
      expect({ status, err }, args.join(' ')).to.deep.equal({ status: 0, err: '' });
      return out.trim();
    };
    for (const key of ['__proto__', 'constructor', 'toString']) {
      const other = `other-config:${key}`;
      expect(await xe('network-list', `${other}=value`, '--minimal'), key).to.equal('');
      await xe('network-param-set', `uuid=${uuid}`, `${other}=value`);
      expectMap(await session.call('network.get_other_config', network), { [key]: 'value' }, key);
      const named = ['param-name=other-config', `param-key=${key}`, `uuid=${uuid}`];
      expect(await xe('network-param-get', ...named)).to.equal('value');
      expect(await xe('network-list', `${other}=value`, '--minimal')).to.equal(uuid);
      await xe('network-param-remove', ...named);
      expectMap(await session.call('network.get_other_config', network), {}, key);
      await xe('network-param-add', 'param-name=other-config', `${key}=value`, `uuid=${uuid}`);
      expectMap(await session.call('network.get_other_config', network), { [key]: 'value' }, key);
      await xe('network-param-clear', 'param-name=other-config', `uuid=${uuid}`);
    }
  });

  it('stays as it was where a key is none that XML can carry', async () => {
    const network = await createNetwork('refused');
    for (const key of forbiddenKeys) {
      for (const params of [
        [network, key, 'value'],
        [network, { [key]: 'value' }],
      ]) {
        const method = params.length === 3 ? 'network.add_to_other_config' : 'network.set_other_config';
        const error = await session.call(method, ...params).catch((thrown: unknown) => thrown);
        expect(error, JSON.stringify(key)).to.include({ code: 'INVALID_VALUE' });
      }
    }
    expectMap(await session.call('network.get_other_config', network), {}, 'nothing was written');
  });
});
