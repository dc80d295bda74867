import { once } from 'node:events';
import { expect } from 'chai';
import type { Xapi, XapiObject } from 'xen-api';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import {
  type LocalPool,
  type LocalPoolOptions,
  type LocalPools,
  startLocalPool,
} from '../../src/cli/local-pool/local-pool.js';
import { createVm } from '../../src/cli/local-pool/local-vm.js';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { type Clients, failureOf, type Host, objectState, openClients, type Task, type Vm } from './harness.js';
import { type OldServer, startOldServer } from './old-server.js';
import { faultsOf, type Records, recordAsSeen, referencesOf } from './record-types.js';

const mib = 1024 * 1024;

const transports = ['json-rpc', 'xml-rpc'] as const;

/** Messages that the surface keeps of classes that are gone. */
const removed = ['VBD_metrics.get_all_records', 'VIF_metrics.get_all_records', 'VMPP.get_all_records'];

/** Classes whose records change by themselves, or with every call. */
const restless: ReadonlySet<string> = new Set(['host_metrics', 'pool', 'task']);

interface HostRecord {
  readonly cpu_info: Readonly<Record<string, string>>;
  readonly license_params: Readonly<Record<string, string>>;
}

describe("Xen Orchestra's client", function () {
  this.timeout(60_000);

  const pools: LocalPools[] = [];
  /** They outlive their clients, which hear of a connection that is cut as they disconnect. */
  const olds: OldServer[] = [];
  let first: LocalPool;
  let second: LocalPool;
  let raw: XapiSession;
  let clients: Clients;

  const startOne = async (options: LocalPoolOptions): Promise<LocalPool> => {
    const started = await startLocalPool(options);
    pools.push(started);
    return started.pools[0] as LocalPool;
  };

  before(async () => {
    clients = openClients();
    const starting = [
      startOne({ hosts: 2, vms: 1 + transports.length, memory: 8 * mib }),
      startOne({ hosts: 1, vms: 0, memory: 8 * mib }),
    ];
    await Promise.allSettled(starting);
    [first, second] = (await Promise.all(starting)) as [LocalPool, LocalPool];
    raw = await login(first.credentials, 'test');
  });

  after(async () => {
    await raw?.logout();
    await clients.close(async () => {
      for (const old of olds) await old.close();
      await Promise.all(pools.map((started) => started.stop()));
    });
  });

  /** The records of every class that a client can ask for all of. */
  const allRecords = async (): Promise<Map<string, Records>> => {
    const messages = await raw.call<string[]>('system.listMethods');
    const asked = messages.filter((name) => name.endsWith('.get_all_records') && !removed.includes(name));
    const records = asked.map(async (name) => [name.split('.')[0] ?? '', await raw.call<Records>(name)] as const);
    return new Map(await Promise.all(records));
  };

  it('gets every field of every record, each of its declared type, and no reference to what is not there', async () => {
    const all = await allRecords();
    expect([...all].flatMap(([cls, records]) => faultsOf(cls, records))).to.deep.equal([]);
    const references = [...all].flatMap(([cls, records]) => referencesOf(cls, records));
    expect(references.filter(([cls, ref]) => all.has(cls) && !(ref in (all.get(cls) ?? {})))).to.deep.equal([]);
    expect(references.length).to.be.greaterThan(10);
  });

  it('finds the CPUs of all hosts at the pool, and hosts that may migrate', async () => {
    const hosts = Object.values(await raw.call<Records>('host.get_all_records')) as unknown as HostRecord[];
    const [pool] = Object.values(await raw.call<Records>('pool.get_all_records')) as unknown as HostRecord[];
    const count = hosts.reduce((sum, { cpu_info }) => sum + Number(cpu_info.cpu_count), 0);
    expect(Number(pool?.cpu_info.cpu_count)).to.equal(count).and.to.be.greaterThan(1);
    expect(Number(pool?.cpu_info.socket_count)).to.equal(hosts.length);
    for (const { license_params } of hosts) {
      expect(license_params).to.include({ restrict_xen_motion: 'false', restrict_storage_xen_motion: 'false' });
    }
  });

  for (const [number, transport] of transports.entries()) {
    describe(`over ${transport}`, () => {
      let client: Xapi;
      let vm: XapiObject<Vm>;

      before(async () => {
        client = await clients.connect(first.credentials, { transport });
        vm = client.getObject<Vm>(first.vms[0]?.uuid ?? '');
      });

      const elsewhere = (): XapiObject<Host> => {
        const hosts = first.hosts.map(({ uuid }) => client.getObject<Host>(uuid));
        return hosts.find(({ $ref }) => $ref !== client.getObject<Vm>(vm.$ref).resident_on) as XapiObject<Host>;
      };

      /** One whose migration is not over at once, on the host where the other one is. */
      const bigVm = async (): Promise<{ uuid: string }> => {
        const host = client.getObject<Vm>(vm.$ref).resident_on;
        return createVm(raw, { name: 'big', memory: 256 * mib, host });
      };

      it('sees every object as the server has it', async () => {
        const all = await allRecords();
        await client.barrier();
        const { type } = client.objects.indexes;
        for (const [cls, records] of all) {
          const seen = Object.values(type[cls] ?? {});
          if (cls !== 'task')
            expect(
              seen.map(({ $ref }) => $ref),
              cls,
            ).to.have.members(Object.keys(records));
          if (restless.has(cls)) continue;
          for (const object of seen) {
            expect({ ...object }, cls).to.deep.equal(recordAsSeen(cls, records[object.$ref] ?? {}, transport));
          }
        }
        expect(clients.warnings).to.deep.equal([]);
      });

      it('follows references from object to object', () => {
        expect(vm.$type).to.equal('VM');
        expect(first.hosts.map(({ name }) => name)).to.include(vm.$resident_on.name_label);
        expect(vm.$resident_on.$metrics.live).to.equal(true);
        expect(vm.$VIFs[0]?.$network.name_label).to.be.a('string').that.is.not.empty;
        expect(vm.$pool.$master.name_label).to.equal(first.hosts[0]?.name);
      });

      it('reads records and fields', async () => {
        const { $ref, uuid } = vm;
        expect((await client.getRecord<Vm>('VM', $ref)).name_label).to.equal(first.vms[0]?.name);
        expect((await client.getRecordByUuid<Vm>('VM', uuid)).$ref).to.equal($ref);
        expect(await client.getField('VM', $ref, 'name_label')).to.equal(first.vms[0]?.name);
        const vms = await client.getAllRecords<Vm>('VM');
        expect(vms.map((each) => each.$ref)).to.include($ref);
      });

      it('sets fields, and entries of maps and sets, and sees them change', async () => {
        await vm.set_name_description('what it is for');
        await vm.update_other_config('owner', 'ann');
        await vm.update_other_config({ owner: 'bob', cost: '7', gone: null });
        await vm.update_other_config('cost', null);
        await vm.add_tags('blue');
        await vm.add_tags('red');
        await vm.remove_tags('blue');
        const { name_description, other_config, tags } = await client.barrier<Vm>(vm.$ref);
        expect(name_description).to.equal('what it is for');
        expect(other_config).to.deep.include({ owner: 'bob' }).and.not.have.any.keys('cost', 'gone');
        expect(tags).to.deep.equal(['red']);
        await vm.remove_tags('red');
      });

      it('is told by events of what others change', async () => {
        const description = `changed beside ${transport}`;
        const changed = objectState<Vm>(client, 'VM', (now) => now.name_description === description);
        await raw.call('VM.set_name_description', vm.$ref, description);
        expect((await changed).$ref).to.equal(vm.$ref);
      });

      it('is told by events of what others make and remove', async () => {
        const network = await raw.call<string>('network.create', { name_label: 'new', other_config: {} });
        await objectState(client, 'network', ({ $ref }) => $ref === network);
        await raw.call('network.destroy', network);
        await client.barrier();
        expect(client.getObject(network, undefined)).to.equal(undefined);
      });

      it('migrates within the pool, and learns the end by events', async () => {
        const host = elsewhere();
        expect(await client.callAsync('VM.pool_migrate', vm.$ref, host.$ref, { force: 'true' })).to.equal('');
        expect((await client.barrier<Vm>(vm.$ref)).resident_on).to.equal(host.$ref);
        expect(await vm.$call('pool_migrate', elsewhere().$ref, {})).to.equal('');
      });

      it('is given the error of a task that failed', async () => {
        const error = await failureOf(client.callAsync('VM.pool_migrate', vm.$ref, 'OpaqueRef:none', {}));
        expect(error).to.deep.include({ code: 'HANDLE_INVALID', params: ['host', 'OpaqueRef:none'] });
      });

      it('cancels a migration', async () => {
        const from = client.getObject<Vm>(vm.$ref).resident_on;
        const big = await client.call<string>('VM.get_by_uuid', (await bigVm()).uuid);
        const migration = client.callAsync('VM.pool_migrate', big, elsewhere().$ref, {});
        const name = 'Async.VM.pool_migrate';
        await objectState<Task>(
          client,
          'task',
          (t) => t.name_label === name && t.allowed_operations.includes('cancel'),
        );
        migration.cancel();
        expect(String(await failureOf(migration))).to.match(/cancel/i);
        const { power_state, resident_on } = await client.barrier<Vm>(big);
        expect({ power_state, resident_on }).to.deep.equal({ power_state: 'Running', resident_on: from });
        await client.call('VM.hard_shutdown', big);
        await client.call('VM.destroy', big);
      });

      it('watches a task of its own', async () => {
        const task = await client.createTask('mine');
        await client.call('task.set_status', task, 'success');
        expect(await client.watchTask(task)).to.equal('');
      });

      it('is given the code and parameters of a call that failed', async () => {
        const error = await failureOf(client.call('VM.get_record', 'OpaqueRef:none'));
        expect(error).to.deep.include({ code: 'HANDLE_INVALID', params: ['VM', 'OpaqueRef:none'] });
      });

      it('is refused with a wrong password', async () => {
        const wrong = clients.create({ ...first.credentials, password: 'wrong' }, { transport, watchEvents: false });
        const error = await failureOf(wrong.connect());
        expect(error).to.deep.include({
          code: 'SESSION_AUTHENTICATION_FAILED',
          params: ['root', 'Authentication failure'],
        });
        expect(wrong.status).to.equal('disconnected');
      });

      it('opens another session where its own is lost, and goes on', async () => {
        const lost = client.sessionId;
        const renewed = once(client, 'sessionId');
        const rpc = createRpcClient(`${first.credentials.url}/jsonrpc`);
        await rpc.call('session.logout', [lost]);
        rpc.close();
        expect((await renewed)[0])
          .to.be.a('string')
          .that.is.not.equal(lost);
        await client.objectsFetched;
        expect((await client.barrier<Vm>(vm.$ref)).uuid).to.equal(vm.uuid);
        expect(clients.warnings).to.deep.equal([]);
      });

      it('migrates to another pool as Xen Orchestra does, with a client on each', async () => {
        const there = await clients.connect(second.credentials, { transport });
        const host = there.getObject<Host>(second.hosts[0]?.uuid ?? '');
        const network = host.$PIFs.find(({ management }) => management)?.network ?? '';
        const token = await there.call('host.migrate_receive', host.$ref, network, {});
        const leaving = client.getObject<Vm>(first.vms[1 + number]?.uuid ?? '');
        const vifs = Object.fromEntries(leaving.VIFs.map((vif) => [vif, network]));
        const options = { force: 'false' };
        const result = client.callAsync<string>('VM.migrate_send', leaving.$ref, token, true, {}, vifs, options);
        const arrived = await there.barrier<Vm>(await result);
        expect(arrived).to.deep.include({ name_label: leaving.name_label, resident_on: host.$ref });
        await client.barrier();
        expect(client.getObject(leaving.$ref, undefined)).to.equal(undefined);
      });
    });
  }

  it('goes over to XML-RPC at a server without JSON-RPC, and stays there', async () => {
    const old = await startOldServer(first.credentials.url);
    olds.push(old);
    const client = clients.create({ ...first.credentials, url: old.url });
    try {
      await client.connect();
      await client.objectsFetched;
      const vm = client.getObject<Vm>(first.vms[0]?.uuid ?? '');
      const host = vm.resident_on;
      expect(await client.callAsync('VM.pool_migrate', vm.$ref, host, { force: 'true' })).to.equal('');
      expect((await client.barrier<Vm>(vm.$ref)).resident_on).to.equal(host);
      const [asked, ...then] = old.paths;
      expect(asked).to.equal('/jsonrpc');
      expect([...new Set(then)]).to.deep.equal(['/xmlrpc']);
      expect(clients.warnings).to.deep.equal([]);
    } finally {
      await client.disconnect();
    }
  });
});
