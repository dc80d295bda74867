/** A progress bar on standard error, where that is a terminal. */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  /** @param fraction 0 to 1 */
  update(fraction: number): void;
  stop(): void;
}

/**
 * @param label what goes on, shown before the bar
 * @param screen the terminal; none where there is none
 */
export function openProgress(label: string, screen: NodeJS.WriteStream | undefined): Progress {
  if (screen === undefined) return { update: () => undefined, stop: () => undefined };
  const format = `${label} {bar} {percentage}% {duration_formatted}`;
  const bar = new SingleBar({ stream: screen, format, clearOnComplete: true, hideCursor: true }, Presets.shades_grey);
  bar.start(100, 0);
  return { update: (fraction) => bar.update(Math.floor(fraction * 100)), stop: () => bar.stop() };
}

/** Standard error, where it is a terminal. */
export function screenOf(process: NodeJS.Process): NodeJS.WriteStream | undefined {
  return process.stderr.isTTY ? process.stderr : undefined;
}
