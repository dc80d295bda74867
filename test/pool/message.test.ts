import { expect } from 'chai';
import type { Ref } from '../../idl/index.js';
import { type Fixture, openFixture, uuidOf } from './fixture.js';

describe('message', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers.message;
  const create = (name: string, n: number) => handlers().create(f.context(), name, 3, 'VM', uuidOf(n), `about ${n}`);

  it('is kept until it is destroyed, by a coordinator that starts anew as well', async () => {
    const [one, two] = [await create('ONE', 7), await create('TWO', 8)];
    f = await f.restart();
    const { timestamp, uuid, ...rest } = f.pool.db.get('message', one);
    expect(rest).to.deep.equal({ name: 'ONE', priority: 3, cls: 'VM', obj_uuid: uuidOf(7), body: 'about 7' });
    expect(f.pool.db.byUuid('message', uuid)).to.equal(one);
    const names = async (found: Promise<object> | object) => Object.keys(await found);
    expect(await names(handlers().get(f.context(), 'VM', uuidOf(8), new Date(0)))).to.deep.equal([two]);
    expect(await names(handlers().get(f.context(), 'SR', uuidOf(8), new Date(0)))).to.deep.equal([]);
    expect(await names(handlers().get_since(f.context(), timestamp))).to.include(one);
    expect(await names(handlers().get_since(f.context(), new Date(Date.now() + 60_000)))).to.deep.equal([]);
    await handlers().destroy(f.context(), one);
    expect(await f.failure(() => handlers().destroy(f.context(), one))).to.deep.equal([
      'HANDLE_INVALID',
      'message',
      one,
    ]);
    const none = 'OpaqueRef:none' as Ref<'message'>;
    expect((await f.failure(() => handlers().destroy_many(f.context(), [two, none])))[0]).to.equal('HANDLE_INVALID');
    await handlers().destroy_many(f.context(), [two, two]);
    expect(f.pool.db.count('message')).to.equal(0);
  });

  it('needs a name', async () => {
    expect((await f.failure(() => create('', 7))).slice(0, 2)).to.deep.equal(['INVALID_VALUE', 'name']);
  });
});
