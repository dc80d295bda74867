/**
 * How many migrations a destination takes at once, and whose turn it is. A source whose VM.receive is refused as too busy asks
 * again, and keeps its place in the line for as long as it asks. Nothing is reserved for that source and no deadline runs meanwhile.
 */

export interface Admission {
  /**
   * Take a place in the line, or keep it.
   * @returns whether it is the migration's turn: `admit` will say yes while the place is kept
   */
  isTurn(migrationId: string, uuid: string): boolean;
  /**
   * @param uuid of the VM; another attempt for the same VM does not count, as this one ends it
   * @returns whether the migration may begin. From then on it counts, until `end`
   */
  admit(migrationId: string, uuid: string): boolean;
  /** The VM of a migration that counts. */
  vmOf(migrationId: string): string | undefined;
  /** The longest wait of a migration in the line for a place, in milliseconds. */
  longestWait(): number;
  /** Count a migration no more; fine where it did not count. */
  end(migrationId: string): void;
}

/** How long a source keeps its place without asking, in milliseconds: sources ask every half second at least. */
const patienceMs = 3_000;

/**
 * @param limit how many at once; asked each time
 * @param now a clock, in milliseconds
 */
export function createAdmission(limit: () => number, now: () => number = () => performance.now()): Admission {
  const admitted = new Map<string, string>();
  const line = new Map<string, { readonly uuid: string; readonly since: number; readonly askedAt: number }>();
  const isTurn = (migrationId: string, uuid: string): boolean => {
    if (admitted.has(migrationId)) return true;
    for (const [id, other] of line) {
      const replaced = other.uuid === uuid && id !== migrationId;
      if (replaced || now() - other.askedAt > patienceMs) line.delete(id);
    }
    const waiting = [...line.keys()];
    const ahead = line.has(migrationId) ? waiting.indexOf(migrationId) : waiting.length;
    const others = [...admitted.values()].filter((each) => each !== uuid).length;
    // A migration that is in the line already keeps its place there.
    line.set(migrationId, { uuid, since: line.get(migrationId)?.since ?? now(), askedAt: now() });
    return others + ahead < limit();
  };
  return {
    isTurn,
    admit(migrationId, uuid) {
      if (!isTurn(migrationId, uuid)) return false;
      line.delete(migrationId);
      admitted.set(migrationId, uuid);
      return true;
    },
    vmOf: (migrationId) => admitted.get(migrationId),
    longestWait() {
      if (admitted.size < limit()) return 0;
      const waiting = [...line.values()].filter(({ askedAt }) => now() - askedAt <= patienceMs);
      return Math.max(0, ...waiting.map(({ since }) => now() - since));
    },
    end(migrationId) {
      admitted.delete(migrationId);
    },
  };
}
