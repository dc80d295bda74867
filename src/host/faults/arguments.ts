/** A fault rule as `host.call_plugin` gives it: a map of texts, checked as a whole. docs/faults.md has the table. */
import { invalidValue, isErrorCode, type XapiErrorCode } from '../../base/errors.js';
import { type Side, type Step, steps } from '../../migrate/protocol.js';
import type { Damage, DamageKind } from '../../wire/connection/relay.js';
import { type Channel, channels as channelKinds } from './channels.js';

/** Which steps a rule is about, and how often it fires there. */
interface When {
  readonly side: Side;
  readonly step: Step;
  /** The VM's uuid; any where absent. */
  readonly vm?: string;
  /** How probable it is that the rule fires when it could, 0 to 1. */
  readonly probability: number;
  /** How often the rule fires at most; 0: without an end. */
  readonly count: number;
  /** How long to wait before the rule acts, in seconds. */
  readonly delay?: number;
}

export type Target = 'emu-manager' | 'zstd' | 'daemon' | 'hypervisor';

/** What a rule does. */
type Action =
  | { readonly action: 'fail'; readonly error: XapiErrorCode; readonly params: readonly string[] }
  | { readonly action: 'stall' }
  | { readonly action: 'kill'; readonly target: Target; readonly signal: 'SIGKILL' | 'SIGSTOP' | 'SIGTERM' }
  | ({ readonly action: 'cut' | 'corrupt'; readonly channel: Channel } & Damage);

export type FaultRule = When & Action;

type Arguments = Readonly<Record<string, string>>;

const sides = ['source', 'destination'] as const;
const channels = Object.keys(channelKinds) as Channel[];
const targets = ['emu-manager', 'zstd', 'daemon', 'hypervisor'] as const;
const signals = ['KILL', 'STOP', 'TERM'] as const;
const damages: Readonly<Record<'cut' | 'corrupt', readonly DamageKind[]>> = {
  cut: ['reset', 'close', 'silent', 'slow'],
  corrupt: ['flip', 'truncate', 'trailing'],
};
const longestDelay = 86_400;

const ofEveryAction = ['step', 'side', 'vm', 'action', 'probability', 'count', 'delay'];
const ofAction: Readonly<Record<Action['action'], readonly string[]>> = {
  fail: ['message', 'error', 'params'],
  stall: [],
  kill: ['target', 'signal'],
  cut: ['channel', 'how', 'after'],
  corrupt: ['channel', 'how', 'after'],
};
const actions = Object.keys(ofAction) as Action['action'][];

/** Check a rule. @throws INVALID_VALUE [argument, value]; the error's cause says for the log what is allowed */
export function readRule(args: Arguments): FaultRule {
  const action = choice(args, 'action', actions);
  const allowed = [...ofEveryAction, ...ofAction[action]];
  for (const name of Object.keys(args)) {
    if (!allowed.includes(name))
      throw invalidValue(name, args[name], `with the action ${action}: ${allowed.join(', ')}`);
  }
  const { vm } = args;
  if (vm !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(vm)) {
    throw invalidValue('vm', vm, 'the uuid of a VM, in lower case');
  }
  return {
    ...readStep(args),
    ...(vm === undefined ? {} : { vm }),
    probability: number(args, 'probability', 1, 1),
    count: whole(args, 'count', 1),
    ...(args.delay === undefined ? {} : { delay: number(args, 'delay', longestDelay) }),
    ...readAction(args, action),
  };
}

function readAction(args: Arguments, action: Action['action']): Action {
  switch (action) {
    case 'fail':
      return { action, ...readError(args) };
    case 'stall':
      return { action };
    case 'kill':
      return {
        action,
        target: choice(args, 'target', targets),
        signal: `SIG${choice(args, 'signal', signals, 'KILL')}`,
      };
    case 'cut':
    case 'corrupt':
      return { action, channel: choice(args, 'channel', channels), ...readDamage(args, damages[action]) };
  }
}

function readDamage(args: Arguments, allowed: readonly DamageKind[]): Damage {
  const how = choice(args, 'how', allowed);
  if (how === 'trailing' && args.after !== undefined) {
    throw invalidValue('after', args.after, 'without how=trailing, which is behind the end, alone');
  }
  return { how, after: whole(args, 'after', 0) };
}

/** Read which step of which side is meant: a step that both sides have needs `side`. */
function readStep(args: Arguments): { step: Step; side: Side } {
  const step = args.step ?? '';
  const having = sides.filter((side) => namesOf(side).includes(step));
  const given = args.side === undefined ? undefined : choice(args, 'side', sides);
  const known = given === undefined ? [...new Set(sides.flatMap(namesOf))] : namesOf(given);
  if (!known.includes(step)) {
    throw invalidValue(
      'step',
      shown(args.step),
      `${known.join(', ')}${given === undefined ? '' : ` (at the ${given})`}`,
    );
  }
  const side = given ?? having[0];
  if (side === undefined || (given === undefined && having.length > 1)) {
    throw invalidValue('side', shown(args.side), `${sides.join(', ')}, as both have a step ${step}`);
  }
  return { step: step as Step, side };
}

function namesOf(side: Side): readonly string[] {
  return steps[side];
}

function readError({ message, error, params }: Arguments): { error: XapiErrorCode; params: readonly string[] } {
  if (error === undefined) {
    if (params !== undefined) throw invalidValue('params', params, 'together with error alone');
    return { error: 'INTERNAL_ERROR', params: [message ?? 'a fault rule says so'] };
  }
  if (message !== undefined)
    throw invalidValue('message', message, 'without error alone; params has the texts of an error');
  if (!isErrorCode(error)) throw invalidValue('error', error, "a code of the XenAPI's errors");
  return { error, params: params === undefined ? [] : readTexts('params', params) };
}

function readTexts(name: string, text: string): string[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value;
  } catch {}
  throw invalidValue(name, text, 'a list of texts, in JSON');
}

function choice<const T extends string>(args: Arguments, name: string, allowed: readonly T[], absent?: T): T {
  const value = args[name] ?? absent;
  const found = allowed.find((each) => each === value);
  if (found === undefined) throw invalidValue(name, shown(value), allowed.join(', '));
  return found;
}

function number(args: Arguments, name: string, most: number, absent = 0): number {
  const text = args[name];
  if (text === undefined) return absent;
  if (!/^\d{1,15}(\.\d{1,15})?$/.test(text) || Number(text) > most) {
    throw invalidValue(name, text, `a number from 0 to ${most}`);
  }
  return Number(text);
}

function whole(args: Arguments, name: string, absent: number): number {
  const text = args[name] ?? String(absent);
  if (!/^\d{1,15}$/.test(text)) throw invalidValue(name, text, 'a whole number from 0');
  return Number(text);
}

/** Show an argument in an error; one that was not given is shown as nothing. */
function shown(value: string | undefined): string {
  return value ?? '';
}
