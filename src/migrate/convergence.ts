/**
 * What `migration-max-downtime`, `migration-max-rounds` and `migration-convergence` come to, pure. They are for emu-manager, which
 * counts pages and has the rounds; one that does not support them goes by its own rule. See emu-manager/save/convergence.ts.
 */
import { configKeys } from '../base/config/keys.js';
import { XapiError } from '../base/errors.js';
import type { ConvergenceRule } from '../base/protocol/emu-protocol.js';

/** The warning where a rule is configured and the source's emu-manager does not answer `-supports convergence` with true. */
export const notSupported =
  'the emu-manager of the source does not support -convergence: migration-max-downtime, migration-max-rounds and migration-convergence do not count';

/** Whether the rule is that of a configuration in which none of its keys is set. */
export function isDefaultRule({ maxDowntimeMs, maxRounds, strategy }: ConvergenceRule): boolean {
  return (
    String(maxDowntimeMs) === configKeys['migration-max-downtime'].default &&
    String(maxRounds) === configKeys['migration-max-rounds'].default &&
    strategy === configKeys['migration-convergence'].default
  );
}

/** The error of a guest that wrote too fast, with what can be done. */
export function withAdvice(error: XapiError): XapiError {
  const advice =
    'raise migration-max-downtime, or set migration-convergence to throttle or proceed, or migrate when the VM writes less';
  return new XapiError(error.code, [`${error.params.join(' ')}; ${advice}`], error);
}
