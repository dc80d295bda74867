/** A progress bar on standard error, where that is a terminal. */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  /** @param fraction 0 to 1 */
  update(fraction: number): void;
  /** Take the bar away, and make the terminal what it was; once or more often. */
  stop(): void;
}

const signals = ['SIGINT', 'SIGTERM'] as const;

/**
 * @param label what goes on, shown before the bar
 * @param screen the terminal; none where there is none
 */
export function openProgress(label: string, screen: NodeJS.WriteStream | undefined): Progress {
  if (screen === undefined) return { update: () => undefined, stop: () => undefined };
  const format = `${label} {bar} {percentage}% {duration_formatted}`;
  const options = { stream: screen, format, clearOnComplete: true, hideCursor: true, gracefulExit: false };
  const bar = new SingleBar(options, Presets.shades_grey);
  bar.start(100, 0);
  // A signal takes the bar away, so that the cursor does not stay hidden, and then does what it does without us.
  const restore = (signal: NodeJS.Signals): void => {
    bar.stop();
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  for (const signal of signals) process.once(signal, restore);
  return {
    update: (fraction) => bar.update(Math.floor(fraction * 100)),
    stop() {
      for (const signal of signals) process.off(signal, restore);
      bar.stop();
    },
  };
}

/** Standard error, where it is a terminal. */
export function screenOf(process: NodeJS.Process): NodeJS.WriteStream | undefined {
  return process.stderr.isTTY ? process.stderr : undefined;
}
