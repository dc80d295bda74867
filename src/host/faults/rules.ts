/**
 * The plugin `fault`: rules that break migrations on this host on purpose, at a named step. They are in memory alone, and do
 * nothing unless the configuration says `fault-injection = true`. docs/faults.md tells how to use them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { FaultPlace, Faults } from '../../migrate/faults.js';
import type { Step } from '../../migrate/protocol.js';
import { type FaultRule, readRule } from './arguments.js';
import { channels, createFaultChannels } from './channels.js';
import { type KillDeps, killTarget } from './kill.js';

export interface FaultRulesDeps extends KillDeps {
  /** Whether the configuration of now allows it. */
  readonly allowed: () => boolean;
  readonly log: Log;
  /** 0 up to 1. */
  readonly random?: () => number;
}

export interface FaultRules extends Faults {
  /**
   * A function of the plugin: `add` (a rule's arguments) gives its id, `list` the rules with how often each was reached and has
   * fired, `clear` (`id`, or none for all) the ids that are gone; as JSON.
   * @throws OPERATION_NOT_ALLOWED where the configuration has it off, INVALID_VALUE, XENAPI_PLUGIN_FAILURE
   */
  call(fn: string, args: Readonly<Record<string, string>>): string;
  /** The configuration has changed: where it has the rules off now, what they hold up goes on. */
  reload(): void;
  /** Forget all rules; what they hold up goes on. */
  close(): void;
}

interface Entry {
  readonly id: number;
  readonly rule: FaultRule;
  /** Aborted when what it does is to end. */
  stop: AbortController;
  /** How often a migration came to its step. */
  reached: number;
  fired: number;
}

const functions = ['add', 'list', 'clear'] as const;

/** Begin without rules. */
export function createFaultRules(deps: FaultRulesDeps): FaultRules {
  const { allowed, log, random = Math.random } = deps;
  const entries = new Map<number, Entry>();
  const relays = createFaultChannels();
  let lastId = 0;

  function fires(entry: Entry): boolean {
    entry.reached += 1;
    const { count, probability } = entry.rule;
    if ((count > 0 && entry.fired >= count) || random() >= probability) return false;
    entry.fired += 1;
    return true;
  }

  /** @returns whether there was something to act on */
  async function act({ id, rule, stop }: Entry, place: FaultPlace): Promise<boolean> {
    const about = log.child({
      rule: id,
      migration: place.migrationId,
      vm: place.uuid,
      side: rule.side,
      step: rule.step,
    });
    const signal = AbortSignal.any([stop.signal, place.signal]);
    switch (rule.action) {
      case 'fail':
        about.warn('fault rule: the migration fails here');
        if (await over(signal, rule.delay ?? 0)) throw new XapiError(rule.error, rule.params);
        return true;
      case 'stall':
        about.warn('fault rule: the migration stalls here');
        await over(signal, rule.delay);
        return true;
      case 'kill':
        return background(about, stop.signal, rule.delay, () => killTarget(deps, rule, place, about));
      case 'cut':
      case 'corrupt':
        return background(about, stop.signal, rule.delay, async () => {
          about.warn(`fault rule: ${rule.how} on the ${rule.channel} channel`, { after: rule.after });
          const found = await relays.damage(rule, place, rule.step);
          if (!found) about.warn(`fault rule: no ${rule.channel} channel is open that the rule could break`);
          return found;
        });
    }
  }

  const release = (entry: Entry): void => {
    entry.stop.abort();
    entry.stop = new AbortController();
  };
  const clear = (id: string | undefined): number[] => {
    const cleared = [...entries.values()].filter((entry) => id === undefined || String(entry.id) === id);
    if (id !== undefined && cleared.length === 0) throw invalidValue('id', id, 'the id of a rule');
    for (const entry of cleared) {
      entries.delete(entry.id);
      release(entry);
    }
    return cleared.map((entry) => entry.id);
  };
  const call: Readonly<Record<(typeof functions)[number], (args: Readonly<Record<string, string>>) => unknown>> = {
    add(args) {
      const rule = readRule(args);
      lastId += 1;
      entries.set(lastId, { id: lastId, rule, stop: new AbortController(), reached: 0, fired: 0 });
      log.warn('fault rule added', { rule: lastId, side: rule.side, step: rule.step, action: rule.action });
      return lastId;
    },
    list(args) {
      assertNoOther(args, []);
      return [...entries.values()].map(({ id, rule, reached, fired }) => ({ id, ...rule, reached, fired }));
    },
    clear(args) {
      assertNoOther(args, ['id']);
      return clear(args.id);
    },
  };
  return {
    async at(step, place) {
      if (!allowed()) return;
      for (const entry of [...entries.values()]) {
        if (!isAbout(entry.rule, step, place) || !fires(entry)) continue;
        if (!(await act(entry, place))) entry.fired -= 1;
      }
    },
    async channel(kind, place, socket) {
      const couldFire = [...entries.values()].some(({ rule, fired }) => {
        const isOpen = rule.count === 0 || fired < rule.count;
        return isOpen && 'channel' in rule && channels[rule.channel] === kind && isOfSide(rule, place);
      });
      const relayed = allowed() && (couldFire || relays.awaits(kind, place));
      return relayed ? relays.open(kind, place, socket) : socket;
    },
    call(fn, args) {
      const known = functions.find((name) => name === fn);
      if (known === undefined) {
        throw new XapiError('XENAPI_PLUGIN_FAILURE', [
          'unknown function',
          '',
          `fault has no function ${fn}; allowed: ${functions.join(', ')}`,
        ]);
      }
      if (!allowed()) {
        throw new XapiError('OPERATION_NOT_ALLOWED', [
          'the plugin fault is off on this host; its configuration must have fault-injection = true',
        ]);
      }
      return JSON.stringify(call[known](args));
    },
    reload() {
      if (!allowed()) for (const entry of entries.values()) release(entry);
    },
    close: () => void clear(undefined),
  };
}

function isAbout(rule: FaultRule, reached: Step, place: FaultPlace): boolean {
  return rule.step === reached && isOfSide(rule, place);
}

function isOfSide({ side, vm }: FaultRule, place: FaultPlace): boolean {
  return side === place.side && (vm === undefined || vm === place.uuid);
}

function assertNoOther(args: Readonly<Record<string, string>>, known: readonly string[]): void {
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

/** Act now, or after a delay while the step goes on. @returns whether there was something to act on; later is taken as such */
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
