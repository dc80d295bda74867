/** A timer for the watch over a copy, which looks when the test says so: no load on the machine makes it look too early. */
import type { Every } from '../../src/xenops/progress-watch.js';

export interface ManualTimer {
  readonly every: Every;
  /** Look, where somebody watches. */
  look(): void;
}

export function openManualTimer(): ManualTimer {
  const looks = new Set<() => void>();
  return {
    every(look) {
      looks.add(look);
      return () => looks.delete(look);
    },
    look() {
      for (const look of looks) look();
    },
  };
}
