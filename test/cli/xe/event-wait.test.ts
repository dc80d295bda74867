import { expect } from 'chai';
import { type FakeXapi, startFakeXapi } from './fake-xapi.js';
import { database, xeAt } from './harness.js';

interface Change {
  readonly class: string;
  readonly ref: string;
  readonly snapshot?: Record<string, unknown>;
}

describe('xe event-wait', () => {
  let server: FakeXapi;
  const db = database();
  const row = (className: string, ref: string, more: Record<string, unknown> = {}): Change => ({
    class: className.toLowerCase(),
    ref,
    snapshot: { ...db[className]?.[ref], ...more },
  });
  /** The rows as they are come first, then each batch. */
  const start = async (batches: readonly Change[][]) => {
    server = await startFakeXapi(db, {
      'event.from': ([classes, token]) => {
        const first = (classes as string[]).flatMap((name) => Object.keys(db[name] ?? {}).map((ref) => row(name, ref)));
        const number = Number(token);
        // Whoever still waits then would do so for ever.
        if (number > batches.length) throw ['INTERNAL_ERROR', 'no more events'];
        return { token: String(number + 1), events: token === '' ? first : (batches[number - 1] ?? []) };
      },
    });
  };
  const looks = () => server.calls.filter(({ method }) => method === 'event.from');
  afterEach(() => server.close());

  const halted = row('VM', 'OpaqueRef:v1', { power_state: 'Halted' });
  const live = row('host_metrics', 'OpaqueRef:hm1', { live: false });
  const rows: [what: string, args: string, batches: Change[][]][] = [
    ['what is so already', 'class=vm uuid=vm-1 power-state=running', []],
    ['a change', 'class=vm uuid=vm-1 power-state=halted', [[], [halted]]],
    ['another value', 'class=vm uuid=vm-1 power-state=/=running', [[halted]]],
    [
      'a key of a map',
      'class=vm other-config:owner=bob',
      [[row('VM', 'OpaqueRef:v2', { other_config: { owner: 'bob' } })]],
    ],
    ['a change of what a field leads to', 'class=host uuid=host-1 host-metrics-live=false', [[], [], [live]]],
    ['an object that is new', 'class=VM name-label=new', [[row('VM', 'OpaqueRef:v9', { name_label: 'new' })]]],
  ];
  for (const [what, args, batches] of rows) {
    it(`waits for ${what}`, async () => {
      await start(batches);
      expect(await xeAt(server, ['event-wait', ...args.split(' ')])).to.deep.equal({ status: 0, out: '', err: '' });
      expect(looks()).to.have.length(1 + batches.length);
    });
  }

  it('forgets an object that is gone', async () => {
    await start([[{ class: 'vm', ref: 'OpaqueRef:v1' }], [row('VM', 'OpaqueRef:v2', { power_state: 'Running' })]]);
    const args = ['event-wait', 'class=vm', 'power-state=running', 'uuid=/=vm-1'];
    expect((await xeAt(server, args)).status).to.equal(0);
  });

  const gone: Change = { class: 'vm', ref: 'OpaqueRef:v1' };
  for (const [how, args] of [
    ['uuid', 'uuid=vm-1 power-state=halted'],
    ['name', 'name-label=web power-state=halted'],
    ['what it is not to be', 'uuid=vm-1 power-state=/=running'],
  ] as const) {
    it(`ends with an error when the object that it waits for by ${how} goes`, async () => {
      await start([[], [gone], [halted]]);
      const { status, err } = await xeAt(server, ['event-wait', 'class=vm', ...args.split(' ')]);
      expect({ status, err }).to.deep.equal({ status: 1, err: 'Error: The vm that was waited for is gone\n' });
      expect(looks()).to.have.length(3);
    });
  }

  it('goes on where another object that fits is left, or none was there yet', async () => {
    await start([[gone], [row('VM', 'OpaqueRef:v2', { power_state: 'Paused' })]]);
    expect((await xeAt(server, ['event-wait', 'class=vm', 'power-state=paused'])).status).to.equal(0);
  });

  it('names a field that the class does not have', async () => {
    await start([]);
    const { status, err } = await xeAt(server, ['event-wait', 'class=vm', 'colour=red']);
    expect({ status, err }).to.deep.equal({ status: 1, err: "Error: Unknown field 'colour' of class vm\n" });
  });
});
