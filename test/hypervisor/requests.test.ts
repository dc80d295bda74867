import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import type { HypervisorClient } from '../../src/backend/simulator/client.js';
import { ownIdentity } from '../../src/base/process/process-identity.js';
import {
  createFrameDecoder,
  encodeFrame,
  frameLimits,
  type HypervisorNotification,
} from '../../src/base/protocol/hypervisor-protocol.js';
import {
  boot,
  eventually,
  failureOf,
  type HypervisorProcess,
  mebibyte,
  specOf,
  startHypervisor,
} from './hypervisor-process.js';

describe('requests to the hypervisor', () => {
  let hypervisor: HypervisorProcess;
  let client: HypervisorClient;
  beforeEach(async () => {
    hypervisor = await startHypervisor();
    client = hypervisor.client;
  });
  afterEach(() => hypervisor.stop());

  describe('from daemons and helpers', () => {
    it('are refused for a daemon once a newer one has attached', async () => {
      const newer = await hypervisor.connect('daemon');
      expect((await failureOf(client.call('list', {}))).params.join()).to.contain('newer daemon');
      expect((await newer.call('list', {})).result).to.deep.equal([]);
    });

    describe('that wait for memory which is on its way back', () => {
      /** Another hypervisor, which lives, gives back all that the file system has and more. @returns what ends that */
      const beside = (): (() => void) => {
        const memory = path.join(hypervisor.directory, 'memory');
        const { pid, started, namespace } = ownIdentity();
        const name = `${pid}-${started}-${/\d+/.exec(namespace)}-beside`;
        const other = path.join(memory, `xenferry-${process.geteuid?.()}`, name);
        fs.mkdirSync(other, { recursive: true });
        const file = path.join(other, '1.memory.freeing');
        const { bavail, bsize } = fs.statfsSync(memory);
        fs.writeFileSync(file, '');
        fs.truncateSync(file, bavail * bsize + 2 ** 36);
        return () => fs.rmSync(file);
      };
      const ask = (by: HypervisorClient, key: string) => by.call('reserve', { key, bytes: mebibyte });
      const reserved = async (by: HypervisorClient) => (await by.call('memory', {})).result.reserved;

      it('get it when it is there', async () => {
        const end = beside();
        const created = client.call('create', { spec: specOf() });
        await client.call('memory', {});
        expect((await client.call('list', {})).result).to.deep.equal([]);
        end();
        expect((await created).result).to.have.property('domid');
      });

      it('come to nothing when their daemon is fenced meanwhile', async () => {
        const end = beside();
        const failure = failureOf(ask(client, 'a'));
        await client.call('memory', {});
        const newer = await hypervisor.connect('daemon');
        end();
        expect((await failure).params.join()).to.contain('newer daemon');
        expect(await reserved(newer)).to.equal(0);
      });

      it('come to nothing when their connection ends meanwhile', async () => {
        const end = beside();
        const helper = await hypervisor.connect('helper');
        ask(helper, 'a').catch(() => undefined);
        await helper.call('memory', {});
        const next = ask(client, 'b');
        await client.call('memory', {});
        await helper.close();
        // The hypervisor reads the end of a connection, and acts on it one turn of its event loop later.
        for (let turn = 0; turn < 3; turn += 1) await client.call('memory', {});
        end();
        await next;
        expect(await reserved(client)).to.equal(mebibyte);
      });
    });

    it('are served for a helper whatever daemons attach, and fence nobody', async () => {
      const helper = await hypervisor.connect('helper');
      await client.call('memory', {});
      await hypervisor.connect('daemon');
      expect((await helper.call('list', {})).result).to.deep.equal([]);
    });

    it('tell the attached daemon of every change, and nobody else', async () => {
      const newer = await hypervisor.connect('daemon');
      const helper = await hypervisor.connect('helper');
      const seen: string[] = [];
      const others: HypervisorNotification[] = [];
      newer.onNotification((all) =>
        seen.push(all.event === 'domain' ? `${all.domain.state} ${all.domain.uuid}` : `gone ${all.uuid}`),
      );
      for (const other of [client, helper]) other.onNotification((all) => others.push(all));
      const handle = await boot(newer, { uuid: 'a' });
      await newer.call('unpause', { handle, token: 't' });
      await newer.call('pause', { handle });
      await newer.call('rename', { handle, uuid: 'b' });
      await newer.call('destroy', { handle });
      await helper.call('list', {});
      expect(seen).to.deep.equal(['building a', 'paused a', 'running a', 'paused a', 'paused b', 'gone b']);
      expect(others).to.deep.equal([]);
    });
  });

  describe('that name a domain', () => {
    it('are refused for one that is not there and for one of another hypervisor, save to destroy it', async () => {
      const handle = await boot(client);
      for (const other of [
        { ...handle, domid: 99 },
        { ...handle, instance: 'earlier' },
      ]) {
        const { code, params } = await failureOf(client.call('pause', { handle: other }));
        expect(code).to.equal('HANDLE_INVALID');
        expect(params.join()).to.contain(`${other.instance}/${other.domid}`);
        await client.call('destroy', { handle: other });
        expect((await client.call('destroy_unless_ran', { handle: other })).result.destroyed).to.equal(true);
      }
      expect((await client.call('list', {})).result).to.have.length(1);
    });

    it('never meet a domid again', async () => {
      const first = await boot(client);
      await client.call('destroy', { handle: first });
      expect((await boot(client)).domid).to.be.greaterThan(first.domid);
    });

    it('are refused in a state that does not allow them', async () => {
      const { result: handle } = await client.call('create', { spec: specOf({ vgpus: ['0'] }) });
      const refused = async (promise: Promise<unknown>, text: string): Promise<void> => {
        const { code, params } = await failureOf(promise);
        expect(code).to.equal('OPERATION_NOT_ALLOWED');
        expect(params.join()).to.contain(text);
      };
      await refused(client.call('unpause', { handle, token: 't' }), 'is building');
      await refused(client.call('verify', { handle }), 'is building');
      await client.call('build', { handle });
      await refused(client.call('build', { handle }), 'is paused');
      await refused(client.call('built', { handle }), 'is paused');
      await client.call('unpause', { handle, token: 't' });
      await refused(client.call('get_context', { handle }), 'is running');
      await refused(client.call('set_context', { handle }), 'is running');
      expect((await failureOf(client.call('get_vgpu', { handle, device: '7' }))).params.join()).to.contain('has 0');
    });

    it('end a build when its domain is destroyed meanwhile', async () => {
      const { result: handle } = await client.call('create', { spec: specOf({ memoryBytes: 128 * mebibyte }) });
      const failure = failureOf(client.call('build', { handle }));
      await client.call('destroy', { handle });
      expect((await failure).params.join()).to.contain('destroyed');
      expect(hypervisor.memoryFiles()).to.deep.equal([]);
    });

    it('are answered for others while one is filled', async () => {
      const { result: handle } = await client.call('create', { spec: specOf({ memoryBytes: 128 * mebibyte }) });
      let done = false;
      const build = client.call('build', { handle }).then(() => {
        done = true;
      });
      await client.call('memory', {});
      expect(done).to.equal(false);
      await build;
    });
  });

  describe('with arguments', () => {
    const good = specOf();
    const rows: [string, object, string][] = [
      ['create.spec.memoryBytes', { ...good, memoryBytes: 5000 }, 'multiple of 4096'],
      ['create.spec.memoryBytes', { ...good, memoryBytes: 0 }, '>0'],
      ['create.spec.profile', { ...good, profile: { zero: 1, program: 1, text: 0, random: 0 } }, 'add up to 1'],
      ['create.spec.workload.workingSet', { ...good, workload: { dirtyPagesPerSecond: 1, workingSet: 2 } }, '<=1'],
      ['create.spec.vgpus', { ...good, vgpus: ['0', '0'] }, 'twice'],
      ['create.spec.uuid', { ...good, uuid: undefined }, 'string'],
    ];
    for (const [field, spec, text] of rows) {
      it(`are refused when ${field} is wrong: ${text}`, async () => {
        const { code, params } = await failureOf(client.call('create', { spec: spec as typeof good }));
        expect(code).to.equal('INVALID_VALUE');
        expect(params[0]).to.equal(field);
        expect(params[1]).to.contain(text);
        expect(hypervisor.memoryFiles()).to.deep.equal([]);
      });
    }

    it('are refused when a uuid is in use', async () => {
      const handle = await boot(client, { uuid: 'a' });
      await boot(client, { uuid: 'b' });
      expect((await failureOf(boot(client, { uuid: 'a' }))).code).to.equal('DOMAIN_EXISTS');
      expect((await failureOf(client.call('rename', { handle, uuid: 'b' }))).code).to.equal('DOMAIN_EXISTS');
    });

    it('are refused when the reservation does not exist', async () => {
      const { params } = await failureOf(client.call('create', { spec: good, reservation: 'gone' }));
      expect(params.join()).to.contain('no memory is promised');
    });
  });

  describe('that are no requests', () => {
    const raw = async (
      ...parts: Uint8Array[]
    ): Promise<{ answers: () => string[]; socket: net.Socket; closed: Promise<unknown> }> => {
      const socket = net.connect(hypervisor.socketPath);
      const decode = createFrameDecoder();
      const texts: string[] = [];
      socket.on('data', (chunk: Buffer) => texts.push(...decode(chunk).map(({ text }) => text)));
      const closed = once(socket, 'close');
      await once(socket, 'connect');
      for (const part of parts) socket.write(part);
      return { answers: () => texts, socket, closed };
    };
    const text = (json: string): Buffer => {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(Buffer.byteLength(json));
      return Buffer.concat([head, Buffer.from(json)]);
    };

    const rows: [string, Uint8Array[], string][] = [
      ['malformed JSON', [text('{"id":')], 'no JSON'],
      ['null', [text('null')], 'a number as its id'],
      ['no op', encodeFrame({ id: 1 }), 'a string as its op'],
      ['an unknown op', encodeFrame({ id: 1, op: 'toString' }), 'MESSAGE_METHOD_UNKNOWN'],
      ['anything before attach', encodeFrame({ id: 1, op: 'list' }), 'attach'],
    ];
    for (const [what, parts, expected] of rows) {
      it(`are answered with an error, and the next is served: ${what}`, async () => {
        const { answers, socket } = await raw(
          ...parts,
          ...encodeFrame({ id: 2, op: 'attach', args: { role: 'helper' } }),
        );
        await eventually(() => answers().length === 2 || undefined);
        expect(answers()[0]).to.contain(expected);
        expect(answers()[1]).to.contain('"instance"');
        socket.destroy();
      });
    }

    it('end their connection when over-long, and that one alone', async () => {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(frameLimits.json + 1);
      const { answers, closed } = await raw(head);
      await closed;
      expect(answers().join()).to.contain('are allowed');
      expect((await client.call('list', {})).result).to.deep.equal([]);
    });

    it('and connections that break off, do no harm', async () => {
      const { socket } = await raw(
        ...encodeFrame({ id: 1, op: 'attach', args: { role: 'helper' } }),
        Buffer.from([0, 0]),
      );
      socket.destroy();
      expect((await client.call('list', {})).result).to.deep.equal([]);
    });
  });
});
