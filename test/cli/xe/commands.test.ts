import { expect } from 'chai';
import { type Answer, type FakeXapi, secret, startFakeXapi } from './fake-xapi.js';
import { database, endedTask, xeAt } from './harness.js';

describe('commands of xe', () => {
  let server: FakeXapi;
  const start = async (answers: Record<string, Answer> = {}) => {
    server = await startFakeXapi(database(), answers);
  };
  const xe = (args: readonly string[], env?: Record<string, string>) => xeAt(server, args, env);
  afterEach(() => server.close());

  describe('acts on VMs', () => {
    const migrate = ['OpaqueRef:v1', 'OpaqueRef:h2'];
    const rows: [args: string[], call: [string, ...unknown[]]][] = [
      [
        ['vm-start', 'uuid=vm-2'],
        ['Async.VM.start', 'OpaqueRef:v2', false, false],
      ],
      [
        ['vm-start', 'vm=vm-2', 'on=two', 'paused=true'],
        ['Async.VM.start_on', 'OpaqueRef:v2', 'OpaqueRef:h2', true, false],
      ],
      [
        ['vm-shutdown', 'vm=web'],
        ['Async.VM.clean_shutdown', 'OpaqueRef:v1'],
      ],
      [
        ['vm-shutdown', 'vm=web', '--force'],
        ['Async.VM.hard_shutdown', 'OpaqueRef:v1'],
      ],
      [
        ['vm-pause', 'power-state=running'],
        ['VM.pause', 'OpaqueRef:v1'],
      ],
      [
        ['vm-unpause', 'vm=web'],
        ['VM.unpause', 'OpaqueRef:v1'],
      ],
      [
        ['vm-migrate', 'vm=web', 'host=two'],
        ['Async.VM.pool_migrate', ...migrate, {}],
      ],
      [
        ['vm-migrate', 'vm=web', 'host-uuid=host-2', '--live', 'compress=ON'],
        ['Async.VM.pool_migrate', ...migrate, { live: 'true', compress: 'ON' }],
      ],
      [
        ['task-cancel', 'uuid=task-9'],
        ['task.cancel', 'OpaqueRef:t9'],
      ],
    ];
    for (const [args, [method, ...params]] of rows) {
      it(args.join(' '), async () => {
        await start({ ...endedTask({}), [method]: () => 'OpaqueRef:t9' });
        const out = args[0] === 'vm-migrate' ? 'web migrated to two\n' : '';
        expect(await xe(args)).to.deep.equal({ status: 0, out, err: '' });
        expect(server.calls[0]).to.deep.equal({ method, params });
      });
    }

    it('through a task, which it destroys', async () => {
      const states = ['pending', 'pending', 'success'];
      const next = () => ({ status: states.shift(), progress: 0.5, result: '', error_info: [] });
      await start({ 'Async.VM.start': () => 'OpaqueRef:t9', 'task.get_record': next });
      expect((await xe(['vm-start', 'uuid=vm-2'])).status).to.equal(0);
      expect(server.calls.at(-1)).to.deep.equal({ method: 'task.destroy', params: ['OpaqueRef:t9'] });
      expect(states).to.deep.equal([]);
    });

    const figures = {
      compressor_used: 'stream',
      fallback: 'xenguest: the destination does not know it',
      seconds: '1.034',
      guest_bytes: '268435456',
      wire_bytes: '108108185',
      ratio: '2.483',
      downtime_ms: '58.25',
    };
    const whole =
      'web migrated to two: compressor stream, 1.03 s, 103.1 MiB sent for 256.0 MiB, ratio 2.48, downtime 58 ms, ' +
      'xenguest: the destination does not know it\n';
    const { compressor_used: compressor, downtime_ms: downtime } = figures;
    const ends: [what: string, more: string[], figures: Record<string, string>, out: string][] = [
      ['whole', [], figures, whole],
      [
        'as far as the server measures it',
        [],
        { compressor_used: compressor, downtime_ms: downtime },
        'web migrated to two: compressor stream, downtime 58 ms\n',
      ],
      ['not at all where only values are asked for', ['--minimal'], figures, '\n'],
    ];
    for (const [what, more, noted, out] of ends) {
      it(`and says in one line how a migration went: ${what}`, async () => {
        await start({ ...endedTask({ other_config: noted }), 'Async.VM.pool_migrate': () => 'OpaqueRef:t9' });
        expect(await xe(['vm-migrate', 'vm=web', 'host=two', ...more])).to.deep.equal({ status: 0, out, err: '' });
      });
    }

    it('only when they are named without doubt', async () => {
      await start({ 'VM.pause': () => '' });
      expect(await xe(['vm-pause', 'vm=nobody'])).to.include({ status: 1, err: 'Error: No matching VMs found\n' });
      expect(await xe(['vm-pause', 'vm=template'])).to.include({ status: 1, err: 'Error: No matching VMs found\n' });
      expect(await xe(['vm-pause', 'vm=db'])).to.include({
        status: 1,
        err: 'Error: 2 VMs match; give --multiple to do it for all of them\n',
      });
      expect(server.calls).to.deep.equal([]);
      expect((await xe(['vm-pause', 'vm=db', '--multiple'])).status).to.equal(0);
      expect(server.calls.map(({ params }) => params)).to.deep.equal([['OpaqueRef:v2'], ['OpaqueRef:v3']]);
    });

    it('and names each of several that fail', async () => {
      await start({
        'VM.pause': ([ref]) => {
          if (ref === 'OpaqueRef:v2') throw ['VM_BAD_POWER_STATE', String(ref), 'running', 'halted'];
        },
      });
      expect(await xe(['vm-pause', 'vm=db', '--multiple'])).to.deep.equal({
        status: 1,
        out: '',
        err: 'Error: operation failed on vm-2 (db): The VM is not in the power state that this needs. vm: vm-2 (db); expected: running; actual: halted\n',
      });
    });
  });

  describe('migrates to another pool', () => {
    let remote: FakeXapi;
    beforeEach(async () => {
      await start({ ...endedTask({}), 'Async.VM.migrate_send': () => 'OpaqueRef:t9' });
      remote = await startFakeXapi(
        {
          pool: { 'OpaqueRef:rp': { uuid: 'rpool', master: 'OpaqueRef:r1' } },
          host: { 'OpaqueRef:r1': { uuid: 'rhost', name_label: 'far' } },
          network: { 'OpaqueRef:rn': { uuid: 'rnet', name_label: 'lines', bridge: 'xenbr0' } },
          PIF: { 'OpaqueRef:rf': { uuid: 'rpif', host: 'OpaqueRef:r1', network: 'OpaqueRef:rn', management: true } },
        },
        { 'host.migrate_receive': () => ({ xenops: 'there' }) },
      );
    });
    afterEach(() => remote.close());

    it('with what host.migrate_receive says there', async () => {
      const there = [`remote-master=${remote.url}`, 'remote-username=root', `remote-password=${secret}`];
      const { status, out, err } = await xe(['vm-migrate', 'vm=web', ...there, 'vif:vif-1=rnet', 'compress=true']);
      expect({ status, err }).to.deep.equal({ status: 0, err: '' });
      expect(out).to.equal('Migrating to host far over network lines\nweb migrated to far\n');
      const options = { compress: 'true' };
      expect(remote.calls).to.deep.equal([
        { method: 'host.migrate_receive', params: ['OpaqueRef:r1', 'OpaqueRef:rn', options] },
      ]);
      expect(server.calls[0]).to.deep.equal({
        method: 'Async.VM.migrate_send',
        params: ['OpaqueRef:v1', { xenops: 'there' }, true, {}, { 'OpaqueRef:f1': 'OpaqueRef:rn' }, options, {}],
      });
    });

    it('with the formats that disks are to have there', async () => {
      const there = [`remote-master=${remote.url}`, 'remote-username=root', `remote-password=${secret}`];
      expect((await xe(['vm-migrate', 'vm=web', ...there, 'image-format:vdi-1=qcow2'])).err).to.equal('');
      expect(server.calls[0]?.params.slice(-2)).to.deep.equal([{}, { 'OpaqueRef:d1': 'qcow2' }]);
    });

    it('and names what its errors are about, there and here', async () => {
      const there = [`remote-master=${remote.url}`, 'remote-username=root', `remote-password=${secret}`];
      const failed = endedTask({
        status: 'failure',
        error_info: [
          'VM_MIGRATE_FAILED',
          'OpaqueRef:v1',
          'OpaqueRef:h1',
          'OpaqueRef:r1',
          'no way to OpaqueRef:rn from OpaqueRef:n1; OpaqueRef:NULL',
        ],
      });
      await server.close();
      await start({ ...failed, 'Async.VM.migrate_send': () => 'OpaqueRef:t9' });
      const { status, err } = await xe(['vm-migrate', 'vm=web', ...there]);
      expect(status).to.equal(1);
      expect(err).to.equal(
        'The migration failed.\nvm: vm-1 (web)\nsource: host-1 (one)\ndestination: rhost (far)\n' +
          'msg: no way to rnet (lines) from net-1 (wires); none\n',
      );
    });

    it('and says which pool does not know who asks', async () => {
      const there = [`remote-master=${remote.url}`, 'remote-username=root', 'remote-password=wrong'];
      expect((await xe(['vm-migrate', 'vm=web', ...there])).err).to.equal(
        `Error: the pool at ${remote.url} accepts no such remote-username and remote-password\n`,
      );
      const right = [...there.slice(0, 2), `remote-password=${secret}`, 'host=one'];
      expect((await xe(['vm-migrate', 'vm=web', ...right])).err).to.equal(
        "Error: No host of the remote pool has the uuid or name-label 'one'\n",
      );
    });

    it('only with the server, the user and the password', async () => {
      const { status, err } = await xe(['vm-migrate', 'vm=web', 'host=far', `remote-master=${remote.url}`]);
      expect(status).to.equal(1);
      expect(err).to.equal(
        'Error: A migration to another pool needs remote-master, remote-username and remote-password\n',
      );
    });
  });

  describe('fails with status 1 and says why', () => {
    it('for mistakes in how the command is written', async () => {
      await start();
      const hint = "For usage run: 'xe help'\n";
      const rows: [args: string[], message: string][] = [
        [['vm-fly'], 'Unknown command: vm-fly'],
        [['vm-migrat'], 'Unknown command: vm-migrat; did you mean vm-migrate?'],
        [['frobnicate'], 'Unknown command: frobnicate'],
        [['vm-param-get', 'uuid=vm-1'], 'Required parameter not found: param-name'],
        [['vm-param-set', 'uuid=vm-1'], "Nothing is given to set: 'name=value', or 'map:key=value'"],
        [
          ['vm-param-add', 'uuid=vm-1', 'param-name=other-config'],
          "Field 'other-config' is a map: give what to add as 'key=value'",
        ],
        [['vm-list', 'uuid'], "Syntax error: 'uuid' has no value: write name=value, or --name for name=true"],
        [
          ['vm-start', 'web'],
          "Syntax error: 'web' has no value: write name=value, or --name for name=true; did you mean vm=web?",
        ],
        [['network-create', 'name-label=new', 'mtu=9000'], 'Unknown parameter: mtu; did you mean MTU?'],
        [['vm-destroy', 'uuid=vm-2', 'colour=red'], 'Unknown parameter: colour'],
        [['vm-destroy', 'vm=web'], 'Required parameter not found: uuid\nUnknown parameter: vm'],
        [
          ['vdi-create', 'sr-uuid=sr-1', 'name-label=x', 'virtual-size=1', 'sm-confg:a=b'],
          'Unknown parameter: sm-confg; did you mean sm-config?',
        ],
        [['vm-list', '-z'], 'Syntax error: Unknown switch: -z'],
        [['vm-list', '-u'], 'Syntax error: -u needs a value'],
        [['--all'], "Syntax error: the command is missing before '--all'"],
        [['-x', 'vm-list'], 'Syntax error: Unknown switch: -x'],
        [['uuid=1'], "Syntax error: the command is missing before 'uuid=1'"],
        [['vm-list', '-pw', 'wrong'], 'Authentication failed'],
      ];
      for (const [args, message] of rows) {
        expect(await xe(args), args.join(' ')).to.deep.equal({ status: 1, out: '', err: `${message}\n${hint}` });
      }
      const noPassword = await xe(['vm-list'], { XE_PASSWORD: '' });
      expect(noPassword.err).to.equal(`Username/password must be specified\n${hint}`);
    });

    for (const value of ['yes', 'maybe', '', '2']) {
      it(`for compress=${value}, which a server would take for not given`, async () => {
        await start();
        const { status, err } = await xe(['vm-migrate', 'vm=web', 'host=two', `compress=${value}`]);
        expect([status, err]).to.deep.equal([1, `Error: compress= is true, on, 1, false, off or 0, not '${value}'\n`]);
      });
    }

    it('when no server is named or none answers', async () => {
      await start();
      expect((await xe(['vm-list'], { XE_SERVER: '' })).err).to.match(/^Error: no server is named: give -s SERVER/);
      expect((await xe(['vm-list', '-s', 'ftp://x'])).err).to.match(/^Error: 'ftp:\/\/x' names no server/);
      const gone = await startFakeXapi({});
      await gone.close();
      const { status, err } = await xe(['vm-list', '-s', gone.url]);
      expect({ status, err }).to.deep.equal({
        status: 1,
        err: `Error: cannot reach a XenAPI server at ${gone.url}: connect ECONNREFUSED ${gone.url.slice(7)}\n`,
      });
    });

    it('with what the error of the server means, and the objects it names', async () => {
      await start({
        'VM.pause': () => {
          throw ['VM_BAD_POWER_STATE', 'OpaqueRef:v1', 'running', 'halted'];
        },
      });
      expect(await xe(['vm-pause', 'vm=web'])).to.deep.equal({
        status: 1,
        out: '',
        err: 'The VM is not in the power state that this needs.\nvm: vm-1 (web)\nexpected: running\nactual: halted\n',
      });
      expect((await xe(['vm-param-list', 'uuid=none'])).err).to.equal(
        'No object has that uuid.\ntype: VM\nuuid: none\n',
      );
    });

    it('with the error or the cancellation of a task', async () => {
      await start({
        ...endedTask({ status: 'failure', error_info: ['HOST_NOT_ENOUGH_FREE_MEMORY', '1', '2'] }),
        'Async.VM.start': () => 'OpaqueRef:t9',
      });
      expect((await xe(['vm-start', 'uuid=vm-2'])).err).to.equal(
        'The host does not have enough free memory.\nneeded: 1\navailable: 2\n',
      );
      await server.close();
      await start({ ...endedTask({ status: 'cancelled' }), 'Async.VM.start': () => 'OpaqueRef:t9' });
      expect(await xe(['vm-start', 'uuid=vm-2'])).to.include({
        status: 1,
        err: 'The task was cancelled.\ntask: task-9 (Async.VM.pool_migrate)\n',
      });
    });
  });

  describe('helps', () => {
    beforeEach(() => start());

    it('without a server', async () => {
      const { status, out } = await xe(['help'], { XE_SERVER: '' });
      expect(status).to.equal(0);
      expect(out).to.contain('xe help <command>').and.to.contain('vm-migrate').and.not.to.contain('vm-param-set');
      expect((await xe(['help', '--all'])).out)
        .to.contain('vm-param-set')
        .and.to.contain('console-param-list');
    });

    it('with the parameters of one command', async () => {
      const { out } = await xe(['help', 'task-cancel']);
      expect(out).to.equal(
        'command name       : task-cancel\n        reqd params: uuid\n    optional params: \n        description: Ask a task to stop.\n\n\n',
      );
      expect(await xe(['help', 'vm-fly'])).to.include({
        status: 1,
        err: 'Error: Unknown command: vm-fly\n',
      });
    });

    for (const words of [
      ['-s', 'host', '--help'],
      ['-s', 'host', '-h'],
      ['--help', '-p', '1'],
    ]) {
      it(`wherever it is asked for: ${words.join(' ')}`, async () => {
        const { status, out, err } = await xe(words);
        expect({ status, err }).to.deep.equal({ status: 0, err: '' });
        expect(out).to.match(/^Usage:\n/);
      });
    }

    it('with one command, by -h behind it', async () => {
      expect((await xe(['task-cancel', '-h'])).out).to.match(/^command name +: task-cancel\n/);
    });

    it('on standard error when no command is given', async () => {
      const { status, out, err } = await xe([]);
      expect({ status, out }).to.deep.equal({ status: 1, out: '' });
      expect(err).to.match(/^Usage:/);
    });
  });
});
