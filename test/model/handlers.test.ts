import { expect } from 'chai';
import type { Ref } from '../../idl/index.js';
import type { ClassHandlers, Handlers } from '../../src/model/handlers.js';

/** Type checks alone: where a line marked so compiled, the build would fail. */
describe('the types of handlers', () => {
  const complete: ClassHandlers<'VGPU'> = {
    create: async () => 'OpaqueRef:1' as Ref<'VGPU'>,
    destroy: () => {},
  };

  it('take what has every implemented message', () => {
    expect(Object.keys(complete)).to.deep.equal(['create', 'destroy']);
  });

  it('refuse a missing one', () => {
    // @ts-expect-error destroy is missing
    const missing: ClassHandlers<'VGPU'> = { create: complete.create };
    expect(missing).to.not.equal(complete);
  });

  it('refuse a surplus one', () => {
    const surplus: ClassHandlers<'VGPU'> = {
      ...complete,
      // @ts-expect-error the class has no such message
      explode: () => {},
    };
    expect(surplus).to.not.equal(complete);
  });

  it('refuse parameters and results of another type', () => {
    const wrong: ClassHandlers<'VGPU'> = {
      // @ts-expect-error a reference is wanted
      create: () => 5,
      // @ts-expect-error the parameter is a reference to a VGPU
      destroy: (_context, self: number) => void self,
    };
    expect(wrong).to.not.equal(complete);
  });

  it('refuse a class that is left out', () => {
    const none = (handlers: Omit<Handlers, 'VM'>): Handlers => {
      // @ts-expect-error VM has messages that are implemented
      return handlers;
    };
    expect(none).to.be.a('function');
  });

  it('give the parameters their types', () => {
    type Params = Parameters<ClassHandlers<'VM'>['start']>;
    const live: [vm: Ref<'VM'>, paused: boolean, force: boolean] extends [Params[1], Params[2], Params[3]]
      ? true
      : false = true;
    expect(live).to.equal(true);
  });
});
