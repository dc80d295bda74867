/** The CPUs of all hosts together, as the pool's row shows them. */
import type { Database } from '../database/database.js';

/** Bring the pool's row up to date, where there is one: a host has joined, has left or has other CPUs. */
export function putPoolCpus(db: Database): void {
  const [pool] = db.all('pool');
  if (pool === undefined) return;
  const infos = db.all('host').map(([, host]) => host.cpu_info);
  const vendors = new Set(infos.map(({ vendor }) => vendor));
  const sum = (key: string): string => String(infos.reduce((total, info) => total + Number(info[key] ?? 0), 0));
  db.update('pool', pool[0], {
    cpu_info: { vendor: [...vendors].join(', '), cpu_count: sum('cpu_count'), socket_count: sum('socket_count') },
  });
}
