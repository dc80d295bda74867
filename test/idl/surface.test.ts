import { expect } from 'chai';
import { type ClassModel, classes, errors } from '../../idl/index.js';
import { rolesIn, surface, underscored } from '../../src/model/surface.js';
import { fieldsOf, zeroOf } from '../../src/model/value.js';

function shape(name: string) {
  const found = surface.get(name);
  if (found === undefined) return undefined;
  const { params, result } = found.model;
  return `(${params.map((param) => `${param.name}: ${param.type}`).join(', ')}) -> ${result}`;
}

describe('the message table', () => {
  it('has every message of the published surface, and VM.receive', () => {
    expect(surface.size).to.equal(2258 + 1);
    expect(surface.has('VM.receive')).to.equal(true);
  });

  it('has no two messages of one name, in either form', () => {
    expect(underscored.size).to.equal(surface.size);
    const written = Object.values<ClassModel>(classes).flatMap((cls) =>
      Object.keys(cls.messages).map((method) => `${cls.name}.${method}`),
    );
    for (const name of written) {
      const { action, model } = surface.get(name) ?? {};
      if (model?.accessor !== true) expect(action?.kind, name).to.equal('custom');
    }
  });

  const accessors: [string, object][] = [
    ['VM.add_to_other_config', { kind: 'add_to', field: 'other_config' }],
    ['VM.remove_from_platform', { kind: 'remove_from', field: 'platform' }],
    ['VM.set_blocked_operations', { kind: 'set', field: 'blocked_operations' }],
    ['SR.set_name_label', { kind: 'set', field: 'name_label' }],
  ];
  for (const [name, action] of accessors) {
    it(`answers ${name} from the row, as the model says`, () => {
      expect(surface.get(name)).to.deep.include({ action, implemented: true });
    });
  }

  const derived: [string, string | undefined][] = [
    ['VM.get_record', '(self: ref:VM) -> record:VM'],
    ['VM.get_by_uuid', '(uuid: string) -> ref:VM'],
    ['VM.get_by_name_label', '(label: string) -> set(ref:VM)'],
    ['VM.get_all', '() -> set(ref:VM)'],
    ['VM.get_all_records', '() -> map(ref:VM,record:VM)'],
    ['VM.get_all_where', '(expr: string) -> set(ref:VM)'],
    ['VM.get_all_records_where', '(expr: string) -> map(ref:VM,record:VM)'],
    ['VM.get_power_state', '(self: ref:VM) -> enum:vm_power_state'],
    ['VM.set_power_state', undefined],
    ['VM.set_name_label', '(self: ref:VM, value: string) -> void'],
    ['VM.add_to_VCPUs_params', '(self: ref:VM, key: string, value: string) -> void'],
    ['VM.remove_from_VCPUs_params', '(self: ref:VM, key: string) -> void'],
    ['VM.add_tags', '(self: ref:VM, value: string) -> void'],
    ['VM.remove_tags', '(self: ref:VM, value: string) -> void'],
    ['session.get_all', undefined],
    ['event.get_id', undefined],
    ['VIF.get_by_name_label', undefined],
  ];
  for (const [name, expected] of derived) {
    it(`${expected === undefined ? 'lacks' : 'derives'} ${name}`, () => {
      expect(shape(name)).to.equal(expected);
    });
  }

  it('hides the messages with filters and nothing else that is generic', () => {
    for (const { action, hidden, name } of surface.values()) {
      if (action.kind === 'custom') continue;
      expect(hidden, name).to.equal(action.kind.endsWith('_where'));
    }
  });

  it('has parameters with defaults after all others', () => {
    for (const { params, required, name } of surface.values()) {
      expect(
        params.findIndex((param) => param.makeDefault !== undefined),
        name,
      ).to.be.oneOf([-1, required]);
    }
  });

  it('names errors that exist', () => {
    for (const { model, name } of surface.values()) {
      for (const code of model.errors ?? []) expect(errors, name).to.have.property(code);
    }
  });

  it('gives a default of its own to each call', () => {
    const [options] = surface.get('VM.migrate_send')?.params.slice(-1) ?? [];
    expect(options?.makeDefault?.()).to.deep.equal({});
    expect(options?.makeDefault?.()).to.not.equal(options?.makeDefault?.());
  });
});

describe('the roles of a message', () => {
  const rows: [Parameters<typeof rolesIn>[0], string[]][] = [
    ['local-root', []],
    ['pool-admin', ['pool-admin']],
    ['pool-operator+cert', ['pool-admin', 'pool-operator', 'client-cert']],
    ['vm-power-admin', ['pool-admin', 'pool-operator', 'vm-power-admin']],
    ['vm-operator', ['pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator']],
    [
      'read-only',
      ['pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator', 'client-cert', 'read-only'],
    ],
  ];
  for (const [set, roles] of rows) {
    it(`are ${roles.length} for ${set}`, () => {
      expect(rolesIn(set)).to.deep.equal(roles);
    });
  }
});

describe('the fields of the model', () => {
  it('have a zero each, which of an option is none', () => {
    for (const cls of Object.keys(classes)) {
      for (const field of fieldsOf(cls).values()) {
        const isNone = zeroOf(field.type) === undefined;
        expect(isNone, `${cls}.${field.name}`).to.equal(field.type.kind === 'option');
      }
    }
  });
});
