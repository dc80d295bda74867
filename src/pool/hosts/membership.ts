/** What the pool layer knows of membership: the secret that hosts share, and how one of them joins or leaves. */
import type { MemberControl } from '../../host/rpc/client.js';
import type { Secrets } from '../../host/service/secrets.js';

export interface PoolMembership {
  readonly secrets: Secrets;
  /** Make them the pool's secrets, durably; for other hosts `control` does it. */
  takeSecrets(secrets: readonly string[]): Promise<void>;
  control(url: string): MemberControl;
  /** Become a member of the pool of another coordinator, durably. This pool ends soon after. */
  join(coordinator: string, secrets: readonly string[]): Promise<void>;
}
