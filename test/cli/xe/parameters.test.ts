import { expect } from 'chai';
import { type FakeXapi, startFakeXapi } from './fake-xapi.js';
import { database, xeAt } from './harness.js';

describe('parameters in xe', () => {
  let server: FakeXapi;
  const start = async () => {
    server = await startFakeXapi(database());
  };
  const xe = (args: readonly string[]) => xeAt(server, args);
  afterEach(() => server.close());

  describe('lays out', () => {
    beforeEach(start);

    it('a list as records with two empty lines after each', async () => {
      expect(await xe(['vm-list', 'power-state=running'])).to.deep.equal({
        status: 0,
        out: 'uuid ( RO)           : vm-1\n     name-label ( RW): web\n    power-state ( RO): running\n\n\n',
        err: '',
      });
      expect((await xe(['host-list'])).out).to.equal(
        'uuid ( RO)                : host-1\n          name-label ( RW): one\n    name-description ( RW): first\n\n\n' +
          'uuid ( RO)                : host-2\n          name-label ( RW): two\n    name-description ( RW): \n\n\n',
      );
    });

    const values: [name: string, label: string, text: string][] = [
      ['resident-on', 'resident-on ( RO)', 'host-1'],
      ['affinity', 'affinity ( RW)', '<not in database>'],
      ['memory-actual', 'memory-actual ( RO)', '67108864'],
      ['HVM-shadow-multiplier', 'HVM-shadow-multiplier ( RW)', '1.000'],
      ['dom-id', 'dom-id ( RO)', '4'],
      ['start-time', 'start-time ( RO)', '20260102T03:04:05Z'],
      ['networks', 'networks (MRO)', '<not in database>'],
      ['allowed-operations', 'allowed-operations (SRO)', 'start; pool_migrate'],
      ['current-operations', 'current-operations (SRO)', 'pool_migrate'],
      ['tags', 'tags (SRW)', 'blue; a,b\\c'],
      ['other-config', 'other-config (MRW)', 'owner: ann; cost: 7'],
    ];
    for (const [name, label, text] of values) {
      it(`the field ${name}`, async () => {
        const { out } = await xe(['vm-list', 'uuid=vm-1', `params=${name}`]);
        expect(out).to.equal(`${label.padEnd(label.length + 4)}: ${text}\n\n\n`);
        expect((await xe(['vm-param-get', 'uuid=vm-1', `param-name=${name}`])).out).to.equal(`${text}\n`);
      });
    }

    const elsewhere: [command: string, text: string][] = [
      ['pif-list params=speed', '1000 Mbit/s'],
      ['pif-list params=duplex', 'full'],
      ['sr-list params=host', 'two'],
      ['hostdriver-list params=variants', 'old/1; new/2'],
      ['hostdriver-list params=variants-hw-present', 'new'],
      ['hostdriver-list params=active-variant', 'new'],
      ['hostdriver-variant-list params=active', 'false,true'],
      ['role-list params=name', 'read-only'],
      ['template-list', 'template-1'],
      ['snapshot-list', ''],
    ];
    for (const [command, text] of elsewhere) {
      it(command, async () => expect((await xe([...command.split(' '), '--minimal'])).out).to.equal(`${text}\n`));
    }

    it('columns in the class order, whatever the order asked for', async () => {
      const { out } = await xe(['vif-list', 'params=network-name-label,vm-name-label,uuid']);
      expect(out).to.equal(
        'uuid ( RO)                  : vif-1\n         vm-name-label ( RO): web\n    network-name-label ( RO): wires\n\n\n',
      );
    });

    it('every field for params=all and param-list', async () => {
      const all = (await xe(['host-list', 'uuid=host-1', 'params=all'])).out;
      expect(all)
        .to.contain('host-metrics-live ( RO): true\n')
        .and.to.contain('memory-free-computed ( RO): <expensive field>');
      expect(all).to.contain('patches (SRO) [DEPRECATED]: ').and.not.to.contain('uefi-certificates');
      const list = (await xe(['pool-param-list', 'uuid=pool-1'])).out;
      expect(list)
        .to.match(/^uuid \( RO\) +: pool-1\n/)
        .and.to.contain('migration-compression ( RW): false\n');
      expect(list).to.contain('ssh-enabled ( RO): <inconsistent>\n').and.to.contain('https-only ( RW): false\n');
    });

    it('--minimal as the first column with commas, and escapes commas and backslashes', async () => {
      expect((await xe(['vm-list', '--minimal'])).out).to.equal('vm-1,vm-2,vm-3\n');
      expect((await xe(['vm-list', 'params=tags', 'uuid=vm-1', '--minimal'])).out).to.equal('blue; a\\,b\\\\c\n');
      expect((await xe(['vm-list', 'name-label=none', '--minimal'])).out).to.equal('\n');
      expect((await xe(['vm-param-get', 'uuid=vm-1', 'param-name=uuid', '--minimal'])).out).to.equal('vm-1\n');
    });

    it('one key of a map', async () => {
      const args = ['vm-param-get', 'uuid=vm-1', 'param-name=other-config'];
      expect((await xe([...args, 'param-key=owner'])).out).to.equal('ann\n');
      expect(await xe([...args, 'param-key=nobody'])).to.include({
        status: 1,
        err: 'Error: Key nobody not found in map\n',
      });
    });
  });

  describe('filters', () => {
    beforeEach(start);
    const rows: [filter: string, picked: string][] = [
      ['name-label=db', 'vm-2,vm-3'],
      ['other-config:owner=ann', 'vm-1,vm-3'],
      ['other-config-owner=ann', 'vm-1,vm-3'],
      ['other-config:owner=bob', ''],
      ['tags:contains=blue', 'vm-1,vm-2'],
      ['resident-on=host-1', 'vm-1,vm-3'],
      ['is-a-template=true', ''],
      ['is-a-template=False', 'vm-1,vm-2,vm-3'],
      ['power-state=Running', 'vm-1'],
      ['power-state=HALTED', 'vm-2,vm-3'],
      ['name-label=WEB', ''],
    ];
    for (const [filter, picked] of rows) {
      it(filter, async () => expect((await xe(['vm-list', filter, '--minimal'])).out).to.equal(`${picked}\n`));
    }

    it('MAC addresses in any case', async () => {
      expect((await xe(['vif-list', 'MAC=aa:BB:cc:00:11:22', '--minimal'])).out).to.equal('vif-1\n');
    });

    const wrong: [filter: string, message: string][] = [
      ['colour=red', "Error: Unknown field 'colour' of class vm\n"],
      ['uuid:x=1', "Error: Field 'uuid' is not a set or map\n"],
      ['tags:has=blue', "Error: A set is filtered by 'tags:contains=value'\n"],
      ['params=uuid,colour', "Error: Unknown field 'colour' of class vm\n"],
      ['params=uuid,', 'Error: params= takes names of fields with commas between them, or all\n'],
      ['params=', 'Error: params= takes names of fields with commas between them, or all\n'],
      ['name-labl=web', "Error: Unknown field 'name-labl' of class vm; did you mean name-label?\n"],
    ];
    for (const [filter, message] of wrong) {
      it(`and refuses ${filter}`, async () =>
        expect(await xe(['vm-list', filter])).to.include({ status: 1, err: message }));
    }
  });

  describe('changes', () => {
    beforeEach(start);
    const rows: [args: string[], calls: [string, ...unknown[]][]][] = [
      [
        ['pool-param-set', 'uuid=pool-1', 'migration-compression=true'],
        [['pool.set_migration_compression', 'OpaqueRef:p1', true]],
      ],
      [['vm-param-set', 'uuid=vm-1', 'name-label=a=b'], [['VM.set_name_label', 'OpaqueRef:v1', 'a=b']]],
      [
        ['vm-param-set', 'uuid=vm-1', 'memory-static-max=1GiB'],
        [['VM.set_memory_static_max', 'OpaqueRef:v1', 2 ** 30]],
      ],
      [['vm-param-set', 'uuid=vm-1', 'VCPUs-max=2'], [['VM.set_VCPUs_max', 'OpaqueRef:v1', '2']]],
      [['vm-param-set', 'uuid=vm-1', 'affinity=host-2'], [['VM.set_affinity', 'OpaqueRef:v1', 'OpaqueRef:h2']]],
      [['vm-param-set', 'uuid=vm-1', 'affinity='], [['VM.set_affinity', 'OpaqueRef:v1', 'OpaqueRef:NULL']]],
      [
        ['vm-param-set', 'uuid=vm-1', 'actions-after-crash=core dump and restart'],
        [['VM.set_actions_after_crash', 'OpaqueRef:v1', 'coredump_and_restart']],
      ],
      [['vm-param-set', 'uuid=vm-1', 'other-config:new=x'], [['VM.add_to_other_config', 'OpaqueRef:v1', 'new', 'x']]],
      [
        ['vm-param-set', 'uuid=vm-1', 'other-config:owner=x'],
        [
          ['VM.remove_from_other_config', 'OpaqueRef:v1', 'owner'],
          ['VM.add_to_other_config', 'OpaqueRef:v1', 'owner', 'x'],
        ],
      ],
      [['vm-param-add', 'uuid=vm-1', 'param-name=tags', 'param-key=red'], [['VM.add_tags', 'OpaqueRef:v1', 'red']]],
      [
        ['vm-param-add', 'uuid=vm-1', 'param-name=other-config', 'a=1', 'b=2'],
        [
          ['VM.add_to_other_config', 'OpaqueRef:v1', 'a', '1'],
          ['VM.add_to_other_config', 'OpaqueRef:v1', 'b', '2'],
        ],
      ],
      [
        ['vm-param-remove', 'uuid=vm-1', 'param-name=other-config', 'param-key=cost'],
        [['VM.remove_from_other_config', 'OpaqueRef:v1', 'cost']],
      ],
      [
        ['vm-param-clear', 'uuid=vm-1', 'param-name=tags'],
        [
          ['VM.remove_tags', 'OpaqueRef:v1', 'blue'],
          ['VM.remove_tags', 'OpaqueRef:v1', 'a,b\\c'],
        ],
      ],
      [
        ['vm-param-clear', 'uuid=vm-1', 'param-name=name-description'],
        [['VM.set_name_description', 'OpaqueRef:v1', '']],
      ],
    ];
    for (const [args, calls] of rows) {
      it(args.join(' '), async () => {
        expect(await xe(args)).to.deep.equal({ status: 0, out: '', err: '' });
        expect(server.calls.map(({ method, params }) => [method, ...params])).to.deep.equal(calls);
      });
    }

    const asTheClassAllows: [args: string, calls: [string, ...unknown[]][]][] = [
      ['pif-param-set uuid=pif-1 properties:gro=on', [['PIF.set_property', 'OpaqueRef:i1', 'gro', 'on']]],
      ['vif-param-set uuid=vif-1 ipv4-allowed=a,b', [['VIF.set_ipv4_allowed', 'OpaqueRef:f1', ['a', 'b']]]],
      ['vif-param-add uuid=vif-1 param-name=trunks param-key=5', [['VIF.add_trunks', 'OpaqueRef:f1', '5']]],
      ['caller-param-add uuid=caller-1 param-name=groups param-key=b', [['Caller.add_group', 'OpaqueRef:c1', 'b']]],
      ['caller-param-clear uuid=caller-1 param-name=groups', [['Caller.remove_group', 'OpaqueRef:c1', 'a']]],
      [
        'observer-param-add uuid=observer-1 param-name=host-uuids param-key=host-2',
        [['Observer.set_hosts', 'OpaqueRef:o1', ['OpaqueRef:h1', 'OpaqueRef:h2']]],
      ],
      [
        'observer-param-remove uuid=observer-1 param-name=host-uuids param-key=host-1',
        [['Observer.set_hosts', 'OpaqueRef:o1', []]],
      ],
      [
        'observer-param-set uuid=observer-1 attributes:b=2',
        [['Observer.set_attributes', 'OpaqueRef:o1', { a: '1', b: '2' }]],
      ],
      ['observer-param-clear uuid=observer-1 param-name=attributes', [['Observer.set_attributes', 'OpaqueRef:o1', {}]]],
    ];
    for (const [args, calls] of asTheClassAllows) {
      it(args, async () => {
        expect(await xe(args.split(' '))).to.deep.equal({ status: 0, out: '', err: '' });
        expect(server.calls.map(({ method, params }) => [method, ...params])).to.deep.equal(calls);
      });
    }

    const refused: [args: string[], message: string][] = [
      [['vm-param-set', 'uuid=vm-1', 'power-state=halted'], "Field 'power-state' is read-only"],
      [['vm-param-set', 'uuid=vm-1', 'other-config=x'], "Field 'other-config' is a map: use 'other-config:key=value'"],
      [
        ['vm-param-set', 'uuid=vm-1', 'VCPUs-max=two'],
        "Failed to parse parameter 'VCPUs-max': expecting an integer, not 'two'",
      ],
      [
        ['vm-param-set', 'uuid=vm-1', 'memory-static-max=1 stone'],
        "Failed to parse parameter 'memory-static-max': expecting a size in bytes, or with the unit KiB, MiB, GiB or TiB, not '1 stone'",
      ],
      [
        ['pool-param-set', 'uuid=pool-1', 'migration-compression=perhaps'],
        "Failed to parse parameter 'migration-compression': expecting a boolean (true or false), not 'perhaps'",
      ],
      [
        ['vm-param-set', 'uuid=vm-1', 'actions-after-shutdown=sleep'],
        "Failed to parse parameter 'actions-after-shutdown': expecting Destroy, Restart, not 'sleep'",
      ],
      [['vm-param-remove', 'uuid=vm-1', 'param-name=tags', 'param-key=red'], 'Key red is not in the set'],
      [
        ['vm-param-add', 'uuid=vm-1', 'param-name=allowed-operations', 'param-key=red'],
        "Field 'allowed-operations' is read-only",
      ],
      [
        ['vm-param-add', 'uuid=vm-1', 'param-name=name-label', 'param-key=red'],
        "Field 'name-label' is no set or map: param-set changes it",
      ],
      [
        ['vm-param-get', 'uuid=vm-1', 'param-name=name-label', 'param-key=red'],
        "Field 'name-label' is no map, so that it has no keys",
      ],
      [['vm-param-clear', 'uuid=vm-1', 'param-name=uuid'], "Field 'uuid' is read-only"],
      [
        ['vm-param-clear', 'uuid=vm-1', 'param-name=is-a-template'],
        "Field 'is-a-template' is never empty: param-set gives it another value",
      ],
    ];
    for (const [args, message] of refused) {
      it(`nothing for ${args.join(' ')}`, async () => {
        expect(await xe(args)).to.deep.equal({ status: 1, out: '', err: `Error: ${message}\n` });
        expect(server.calls).to.deep.equal([]);
      });
    }
  });
});
