/**
 * The plugin `fault`: rules that break migrations on this host on purpose, at a named step. They are in memory alone, and do
 * nothing unless the configuration says `fault-injection = true`. docs/faults.md tells how to use them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { FaultPlace, Faults } from '../../migrate/faults.js';
import type { Step } from '../../migrate/protocol.js';
import type { ChannelKind } from '../../wire/connection/channel.js';
import { type FaultRule, readRule } from './arguments.js';
import { channels, createFaultChannels, type FaultChannels } from './channels.js';
import { type KillDeps, killTarget } from './kill.js';

export interface FaultRulesDeps extends KillDeps {
  /** Whether the configuration of now allows it. */
  readonly allowed: () => boolean;
  readonly log: Log;
  /** Gives numbers from 0 up to 1; Math.random where absent. */
  readonly random?: () => number;
}

export interface FaultRules extends Faults {
  /**
   * A function of the plugin: `add` (a rule's arguments) gives its id, `list` the rules with how often each was reached and has
   * fired, `clear` (`id`, or none for all) the ids that are gone; as JSON.
   * @throws OPERATION_NOT_ALLOWED where the configuration has it off, INVALID_VALUE, XENAPI_PLUGIN_FAILURE
   */
  call(fn: string, args: Readonly<Record<string, string>>): string;
  /** Let go on what the rules hold up, where a changed configuration has switched the rules off. */
  reload(): void;
  /** Forget all rules; what they hold up goes on. */
  close(): void;
}

interface Entry {
  readonly id: number;
  readonly rule: FaultRule;
  /** Aborted when the rule is to stop what it does. */
  stop: AbortController;
  /** How often a migration came to the rule's step. */
  reached: number;
  fired: number;
}

/** The rules of a host, by their ids. */
interface RuleSet {
  readonly deps: FaultRulesDeps;
  readonly entries: Map<number, Entry>;
  readonly relays: FaultChannels;
  lastId: number;
}

type Arguments = Readonly<Record<string, string>>;

const functions = { add, list, clear } as const;

/** Begin without rules. */
export function createFaultRules(deps: FaultRulesDeps): FaultRules {
  const { allowed } = deps;
  const rules: RuleSet = { deps, entries: new Map(), relays: createFaultChannels(), lastId: 0 };
  return {
    async at(step, place) {
      if (!allowed()) return;
      for (const entry of [...rules.entries.values()]) {
        if (!isAbout(entry.rule, step, place) || !fires(rules, entry)) continue;
        if (!(await act(rules, entry, place))) entry.fired -= 1;
      }
    },
    async channel(kind, place, socket) {
      const isRelayed = allowed() && (couldBreak(rules, kind, place) || rules.relays.awaits(kind, place));
      return isRelayed ? rules.relays.open(kind, place, socket) : socket;
    },
    call: (fn, args) => call(rules, fn, args),
    reload() {
      if (!allowed()) for (const entry of rules.entries.values()) release(entry);
    },
    close: () => void remove(rules, undefined),
  };
}

function call(rules: RuleSet, fn: string, args: Arguments): string {
  if (!Object.hasOwn(functions, fn)) {
    const known = Object.keys(functions).join(', ');
    throw new XapiError('XENAPI_PLUGIN_FAILURE', [
      'unknown function',
      '',
      `fault has no function ${fn}; allowed: ${known}`,
    ]);
  }
  if (!rules.deps.allowed()) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [
      'the plugin fault is off on this host; its configuration must have fault-injection = true',
    ]);
  }
  return JSON.stringify(functions[fn as keyof typeof functions](rules, args));
}

function add(rules: RuleSet, args: Arguments): number {
  const rule = readRule(args);
  rules.lastId += 1;
  const id = rules.lastId;
  rules.entries.set(id, { id, rule, stop: new AbortController(), reached: 0, fired: 0 });
  rules.deps.log.warn('fault rule added', { rule: id, side: rule.side, step: rule.step, action: rule.action });
  return id;
}

function list({ entries }: RuleSet, args: Arguments): unknown[] {
  assertNoOther(args, []);
  return [...entries.values()].map(({ id, rule, reached, fired }) => ({ id, ...rule, reached, fired }));
}

function clear(rules: RuleSet, args: Arguments): number[] {
  assertNoOther(args, ['id']);
  return remove(rules, args.id);
}

/** Remove a rule, or all. @returns the ids of those that are gone */
function remove({ entries }: RuleSet, id: string | undefined): number[] {
  const removed = [...entries.values()].filter((entry) => id === undefined || String(entry.id) === id);
  if (id !== undefined && removed.length === 0) throw invalidValue('id', id, 'the id of a rule');
  for (const entry of removed) {
    entries.delete(entry.id);
    release(entry);
  }
  return removed.map((entry) => entry.id);
}

/** Let go on what a rule holds up. */
function release(entry: Entry): void {
  entry.stop.abort();
  entry.stop = new AbortController();
}

/** Count that a migration has come to a rule's step. @returns whether the rule does something there */
function fires({ deps: { random = Math.random } }: RuleSet, entry: Entry): boolean {
  entry.reached += 1;
  const { count, probability } = entry.rule;
  if ((count > 0 && entry.fired >= count) || random() >= probability) return false;
  entry.fired += 1;
  return true;
}

/** Whether a rule could yet break a channel. */
function couldBreak({ entries }: RuleSet, kind: ChannelKind, place: FaultPlace): boolean {
  return [...entries.values()].some(({ rule, fired }) => {
    const isOpen = rule.count === 0 || fired < rule.count;
    return isOpen && 'channel' in rule && channels[rule.channel] === kind && isOfSide(rule, place);
  });
}

/** Do what a rule says. @returns whether there was something to act on @throws the rule's error */
async function act({ deps, relays }: RuleSet, { id, rule, stop }: Entry, place: FaultPlace): Promise<boolean> {
  const { side, step } = rule;
  const log = deps.log.child({ rule: id, migration: place.migrationId, vm: place.uuid, side, step });
  const signal = AbortSignal.any([stop.signal, place.signal]);
  switch (rule.action) {
    case 'fail':
      log.warn('fault rule: the migration fails here');
      if (await over(signal, rule.delay ?? 0)) throw new XapiError(rule.error, rule.params);
      return true;
    case 'stall':
      log.warn('fault rule: the migration stalls here');
      await over(signal, rule.delay);
      return true;
    case 'kill':
      return background(log, stop.signal, rule.delay, () => killTarget(deps, rule, place, log));
    case 'cut':
    case 'corrupt':
      return background(log, stop.signal, rule.delay, async () => {
        log.warn(`fault rule: ${rule.how} on the ${rule.channel} channel`, { after: rule.after });
        const found = await relays.damage(rule, place, step);
        if (!found) log.warn(`fault rule: no ${rule.channel} channel is open that the rule could break`);
        return found;
      });
  }
}

function isAbout(rule: FaultRule, reached: Step, place: FaultPlace): boolean {
  return rule.step === reached && isOfSide(rule, place);
}

function isOfSide({ side, vm }: FaultRule, place: FaultPlace): boolean {
  return side === place.side && (vm === undefined || vm === place.uuid);
}

function assertNoOther(args: Arguments, known: readonly string[]): void {
  const other = Object.keys(args).find((name) => !known.includes(name));
  if (other === undefined) return;
  const allowed = known.length === 0 ? 'no arguments' : known.join(', ');
  throw invalidValue(other, args[other], allowed);
}

/** Wait so many seconds, or for good. @returns whether the time is over; else the wait was stopped */
async function over(signal: AbortSignal, seconds: number | undefined): Promise<boolean> {
  const forGood = 2 ** 31 - 1;
  try {
    do await delay(seconds === undefined ? forGood : seconds * 1000, undefined, { signal });
    while (seconds === undefined);
    return true;
  } catch {
    return false;
  }
}

/**
 * Act now, or after a delay while the step goes on.
 * @returns whether there was something to act on; true where there is a delay
 */
async function background(
  log: Log,
  signal: AbortSignal,
  delay: number | undefined,
  work: () => Promise<boolean>,
): Promise<boolean> {
  if (delay === undefined || delay === 0) return work();
  void over(signal, delay)
    .then((due) => due && work())
    .catch((error: unknown) => log.error('fault rule: it could not act', { error }));
  return true;
}
