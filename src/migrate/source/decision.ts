/** What the source of a migration decides once it has heard the destination. */
import { untilAborted } from '../../base/deadline.js';
import type { EmuFeature } from '../../base/protocol/emu-protocol.js';
import { chooseCompressor, compressionPlan, effectiveCompressor } from '../compressor.js';
import { isDefaultRule, notSupported } from '../convergence.js';
import type { ReceiveReply } from '../metadata.js';
import { memoryMigrationVersion } from '../protocol.js';
import type { MigrateRequest } from '../request.js';
import type { Decision, SourceAttempt } from './attempt.js';

/** Decide the effective compressor, and whether the rule of convergence counts; once, before the control channel opens. */
export async function decide(attempt: SourceAttempt, reply: ReceiveReply): Promise<Decision> {
  const { deps, request, settings, log } = attempt;
  const { rest, domain } = request.metadata;
  if (rest === 'halted') return { used: 'none', asked: 'none', cookies: cookiesOf(request, {}), converges: false };
  const asked = chooseCompressor(request.compress, settings.compressor);
  if (request.compress && settings.compressorWarning !== undefined) log.warn(settings.compressorWarning);
  if (rest === 'suspended') {
    const inline = asked === 'xenguest';
    const used = inline ? 'stream' : asked;
    const fallback = inline ? { fallback: 'a suspend image is sent as it is' } : {};
    return {
      used,
      asked,
      ...fallback,
      cookies: cookiesOf(request, compressionPlan({ used }).cookies),
      converges: false,
    };
  }
  const hasVgpus = domain.vgpus.length > 0;
  const supports = (feature: EmuFeature) =>
    deps.helper.supports(feature, { ...settings.limits, signal: attempt.hooks.signal });
  const compressor = effectiveCompressor(
    { compressor: asked, level: settings.compressionLevel, hasVgpus },
    { formats: deps.helper.formats, destinationAccepts: reply.accepts, emuSupports: supports },
  );
  const effect = await untilAborted(compressor, attempt.hooks.signal);
  const { used, fallback } = effect;
  if (fallback !== undefined && used === asked) log.warn(`migration-compressor ${asked}: ${fallback}`);
  else if (fallback !== undefined) log.warn(`migration-compressor ${asked} falls back to ${used}: ${fallback}`);
  const converges = await untilAborted(supports('convergence'), attempt.hooks.signal);
  if (!converges && !isDefaultRule(settings.convergence)) log.warn(notSupported);
  return { ...effect, asked, cookies: cookiesOf(request, compressionPlan(effect).cookies), converges };
}

/** The cookies of each channel's head. */
function cookiesOf({ uuid, task, migrationId }: MigrateRequest, more: Readonly<Record<string, string>>) {
  return {
    instance_id: uuid,
    final_id: uuid,
    dbg: task,
    migration_id: migrationId,
    mem_migration: memoryMigrationVersion,
    ...more,
  };
}
