import { expect } from 'chai';
import { readRule } from '../../../src/host/faults/arguments.js';
import { refusalOf } from '../../support/refusal.js';

type Arguments = Record<string, string>;

const vm = '11111111-2222-4333-8444-555555555555';
const fail = { step: 'going', action: 'fail' };
const cut = { step: 'going', action: 'cut', channel: 'memory' };

describe('the arguments of a fault rule', () => {
  const rules: [what: string, args: Arguments, rule: object][] = [
    [
      'a failure, with what is taken for granted',
      fail,
      {
        ...{ step: 'going', side: 'source', action: 'fail', probability: 1, count: 1 },
        ...{ error: 'INTERNAL_ERROR', params: ['a fault rule says so'] },
      },
    ],
    [
      'a failure with a text, at one of two sides, of one VM, now and then, for ever, late',
      {
        ...{ step: 'copy', side: 'destination', vm, action: 'fail', message: 'no more' },
        ...{ probability: '0.25', count: '0', delay: '1.5' },
      },
      {
        ...{ step: 'copy', side: 'destination', vm, action: 'fail', probability: 0.25, count: 0, delay: 1.5 },
        ...{ error: 'INTERNAL_ERROR', params: ['no more'] },
      },
    ],
    [
      'a failure with an error of the XenAPI',
      { ...fail, error: 'HOST_NOT_ENOUGH_FREE_MEMORY', params: '["5","4"]' },
      {
        ...{ step: 'going', side: 'source', action: 'fail', probability: 1, count: 1 },
        ...{ error: 'HOST_NOT_ENOUGH_FREE_MEMORY', params: ['5', '4'] },
      },
    ],
    [
      'a stall at a step that one side alone has',
      { step: 'taken', action: 'stall', delay: '3' },
      { step: 'taken', side: 'destination', action: 'stall', probability: 1, count: 1, delay: 3 },
    ],
    [
      'a kill',
      { step: 'last round', action: 'kill', target: 'zstd' },
      {
        ...{ step: 'last round', side: 'source', action: 'kill', probability: 1, count: 1 },
        ...{ target: 'zstd', signal: 'SIGKILL' },
      },
    ],
    [
      'a stop',
      { step: '1-vgpu', action: 'kill', target: 'emu-manager', signal: 'STOP' },
      {
        ...{ step: '1-vgpu', side: 'destination', action: 'kill', probability: 1, count: 1 },
        ...{ target: 'emu-manager', signal: 'SIGSTOP' },
      },
    ],
    [
      'a cut',
      { step: 'suspend', action: 'cut', channel: 'control', how: 'silent' },
      {
        ...{ step: 'suspend', side: 'source', action: 'cut', probability: 1, count: 1 },
        ...{ channel: 'control', how: 'silent', after: 0 },
      },
    ],
    [
      'a corruption',
      { step: '2-restored', action: 'corrupt', channel: 'memory', how: 'flip', after: '1000' },
      {
        ...{ step: '2-restored', side: 'destination', action: 'corrupt', probability: 1, count: 1 },
        ...{ channel: 'memory', how: 'flip', after: 1000 },
      },
    ],
  ];
  for (const [what, args, rule] of rules) {
    it(`make ${what}`, () => expect(readRule(args)).to.deep.equal(rule));
  }

  const sourceSteps =
    'prepare, connect, 1-vgpu ACK, 1, 1-mem ACK, copy, suspend, last round, 2, going, 3, run, 4, clean-up';
  const destinationSteps = 'prepare, 1-vgpu, 1, 1-mem, copy, 2, 2-restored, 3, taken, unpausing, 4, done';
  const allSteps = `${sourceSteps}, 1-vgpu, 1-mem, 2-restored, taken, unpausing, done`;
  const aPoint = 'step, side, vm, action, probability, count, delay';
  const refusals: [args: Arguments, name: string, says: string][] = [
    [{}, 'action', '; allowed: fail, stall, kill, cut, corrupt'],
    [{ step: 'copy', action: 'explode' }, 'action', 'explode; allowed: fail, stall, kill, cut, corrupt'],
    [{ ...fail, target: 'zstd' }, 'target', `zstd; allowed: with the action fail: ${aPoint}, message, error, params`],
    [{ step: 'taken', action: 'stall', why: '' }, 'why', `; allowed: with the action stall: ${aPoint}`],
    [{ action: 'stall' }, 'step', `; allowed: ${allSteps}`],
    [{ action: 'stall', step: 'copying' }, 'step', `copying; allowed: ${allSteps}`],
    [{ action: 'stall', step: 'taken', side: 'source' }, 'step', `taken; allowed: ${sourceSteps} (at the source)`],
    [
      { action: 'stall', step: 'going', side: 'destination' },
      'step',
      `going; allowed: ${destinationSteps} (at the destination)`,
    ],
    [{ action: 'stall', step: 'copy' }, 'side', '; allowed: source, destination, as both have a step copy'],
    [{ action: 'stall', step: 'copy', side: 'both' }, 'side', 'both; allowed: source, destination'],
    [{ ...fail, vm: 'my-vm' }, 'vm', 'my-vm; allowed: the uuid of a VM, in lower case'],
    [{ ...fail, probability: '1.01' }, 'probability', '1.01; allowed: a number from 0 to 1'],
    [{ ...fail, probability: '-1' }, 'probability', '-1; allowed: a number from 0 to 1'],
    [{ ...fail, probability: '' }, 'probability', '; allowed: a number from 0 to 1'],
    [{ ...fail, count: '1.5' }, 'count', '1.5; allowed: a whole number from 0'],
    [{ ...fail, count: 'ever' }, 'count', 'ever; allowed: a whole number from 0'],
    [{ ...fail, delay: '1e3' }, 'delay', '1e3; allowed: a number from 0 to 86400'],
    [{ ...fail, delay: '86401' }, 'delay', '86401; allowed: a number from 0 to 86400'],
    [{ ...fail, error: 'NO_SUCH' }, 'error', "NO_SUCH; allowed: a code of the XenAPI's errors"],
    [{ ...fail, params: '[]' }, 'params', '[]; allowed: together with error alone'],
    [
      { ...fail, message: 'm', error: 'VDI_IN_USE' },
      'message',
      'm; allowed: without error alone; params has the texts of an error',
    ],
    [{ ...fail, error: 'VDI_IN_USE', params: '[1]' }, 'params', '[1]; allowed: a list of texts, in JSON'],
    [{ ...fail, error: 'VDI_IN_USE', params: 'x' }, 'params', 'x; allowed: a list of texts, in JSON'],
    [{ step: 'going', action: 'kill' }, 'target', '; allowed: emu-manager, zstd, daemon, hypervisor'],
    [{ step: 'going', action: 'kill', target: 'daemon', signal: 'HUP' }, 'signal', 'HUP; allowed: KILL, STOP, TERM'],
    [{ ...cut, channel: 'disk' }, 'channel', 'disk; allowed: control, memory, vgpu'],
    [{ ...cut, how: 'flip' }, 'how', 'flip; allowed: reset, close, silent, slow'],
    [{ ...cut, action: 'corrupt', how: 'reset' }, 'how', 'reset; allowed: flip, truncate, trailing'],
    [{ ...cut, how: 'reset', after: '-1' }, 'after', '-1; allowed: a whole number from 0'],
    [
      { ...cut, action: 'corrupt', how: 'trailing', after: '0' },
      'after',
      '0; allowed: without how=trailing, which is behind the end, alone',
    ],
  ];
  for (const [args, name, says] of refusals) {
    it(`are refused: ${name} in ${JSON.stringify(args)}`, () => {
      const { code, params, cause } = refusalOf(() => readRule(args));
      const [given, allowed] = says.split(/; (?=allowed: )/);
      expect([code, ...params, cause]).to.deep.equal(['INVALID_VALUE', name, given, allowed]);
    });
  }
});
