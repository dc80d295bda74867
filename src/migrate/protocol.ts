/**
 * The migration protocol. This head is its document; source/phases.ts and destination/phases.ts have one function a phase.
 *
 * ```
 * source                                            destination
 *   | prepare    VM.receive(migration_id, metadata) -> |  checks, reserves memory, journals `reserved`
 *   |            (TOO_BUSY: asks again until its turn) |
 *   |            <- URLs, token, what it accepts       |
 *   | opens the control channel ---------------------> |
 *   | opens a vGPU channel for each vGPU ------------> |
 *   |            <- 1-vgpu          (on that channel)  |
 *   | 1-vgpu ACK ->                 (control)          |
 *   |            <- 1               (control)          |  domain created under the temporary uuid
 *   | opens the memory channel ----------------------> |
 *   |            <- 1-mem           (memory)           |
 *   | 1-mem ACK ->                  (control)          |
 *   | copy ==========================================> |  suspend image: pre-copy rounds, suspend, last round
 *   | 2: old copy renamed, stream closed               |  2: image received whole
 *   |            <- 2-restored      (control, if both) |
 *   | journals `going`                                 |
 *   | 3 ->                          (control)          |  journals `taken`
 *   |                                                  |  renames, journals `unpausing`, unpauses
 *   |            <- 4               (control)          |
 *   | journals `done`, destroys the old copy           |  journals `done`
 * ```
 *
 * The rounds of the copy are emu-manager's; it is told the rule by which they end (convergence.ts) and says how they go, which
 * the source passes on as events. A rule that lets the copy fail, or slow the guest down, does so before the guest is
 * suspended: the source aborts the helper as after any failure of the copy, and the guest is at full speed as soon as the
 * helper is gone.
 *
 * A guest that ends by itself at the source, as long as it runs there, ends the migration as a cancel does.
 *
 * A VM that does not run goes to another pool by the same steps (`rest` in the metadata), without a domain on either side. Of a
 * suspended one its suspend image goes over the memory and vGPU channels as it is, into files that count from `taken` on; of a halted
 * one nothing is copied, so there are the control channel and points 1, 2-restored, 3 and 4. What says that the destination has it is the
 * row `done` alone; it stays until the source and the destination's coordinator know. A destination that took it and was interrupted
 * asks the source before it is done, as it asks before it runs.
 *
 * A synchronisation point is a handshake (wire/connection/handshake.ts): Success, or an Error with a text. 2-restored and 4 are the same
 * bytes, so 2-restored is sent only if VM.receive's reply announced it and the control channel's head asked for it. Each side
 * listens all the time: an Error ends the migration at once, and a Success before its time is an error too, as no side
 * can have reached a point that depends on what the other has not done. (Without 2-restored point 3 may come while the
 * destination still reads the image.)
 *
 * Behind the head of a channel the source sends nothing before the destination's first point on it, but for an Error on the control
 * channel: bytes behind the head of another channel are refused.
 *
 * Steps, with what is journaled before each takes effect and how it is undone:
 *
 * | step | source journals | destination journals | undo at the source | undo at the destination |
 * |---|---|---|---|---|
 * | prepare | `preparing` | `reserved` | nothing to undo | release the reservation |
 * | 1-vgpu, 1 | | `created` with the domain's handle | close the channels | destroy that handle |
 * | 1-mem, copy | `copying`, `suspended` | | abort the helper, resume the VM | abort the helper, destroy the handle |
 * | 2 | | `restored` | rename the old copy back | destroy the handle |
 * | 3, the commit point | `going` | `taken` | none: the destination decides from here | none: it runs |
 * | run | | `unpausing` | | none: once unpaused, failures are warnings |
 * | 4 | `done` | `done` | | |
 * | clean-up | | | none: retried until the old copy is gone | |
 *
 * Before the commit point the source can always resume. From it on the source acts only on an outcome: point 4, or what
 * `settle` answers, which the destination records for good. `refused` resumes at the source, `taken` completes there, no answer
 * leaves the VM paused and in doubt, and `settle` is sent again for as long as it takes, across restarts. A destination that
 * has taken the VM and was interrupted before it ran asks the source (`mayRun`) before it runs it: an operator may have settled
 * the source by force meanwhile. What either side has left to do after a failure is in source/recovery.ts and
 * destination/recovery.ts; that it never runs two copies, nor loses the only one, is argued in docs/safety.md.
 *
 * The caller may have chosen the route to the destination (Destination's `xenops`): then every channel and call goes
 * there, but for VM.receive across pools, which goes to the other pool's coordinator. A call that finds nobody there goes to
 * the address in VM.receive's reply.
 *
 * Temporary uuids are the VM's uuid with the last group replaced (xapi): at the destination until the rename, and for the old
 * copy at the source from point 2. They are a function of the VM's uuid, so they cannot tell two attempts apart: the
 * migration_id does, in VM.receive, in a cookie on every channel and in every journal row.
 */

/** The synchronisation points, as both sides' logs name them. */
export type SynchronisationPoint =
  | '1-vgpu'
  | '1-vgpu ACK'
  | '1'
  | '1-mem'
  | '1-mem ACK'
  | '2'
  | '2-restored'
  | '3'
  | '4';

/** The phases of a migration as progress and errors name them; `queued` until it is its turn, here and at the destination. */
export type Phase = 'queued' | 'prepare' | 'connect' | 'copy' | 'restore' | 'commit' | 'run' | 'clean-up';

export type Side = 'source' | 'destination';

/**
 * The steps of each side in their order, by the moment at which a side says that it has reached them (see faults.ts). At the
 * source: VM.receive is about to be called; it has answered; 1-vgpu is here; 1 is here; 1-mem is here; emu-manager is about to
 * write the first page; `suspended` is journaled and the guest about to be paused; it is paused; the image is out; `going` is
 * about to be journaled; it is, and 3 about to be sent; 3 is out; 4 is here, or settled as taken; `done` is journaled and the
 * old copy about to be destroyed. At the destination: the memory is reserved; 1-vgpu is about to be sent; the domain is
 * created and 1 about to be sent; 1-mem is about to be sent; emu-manager is about to read the first page; the image is here;
 * 2-restored is about to be sent; 3 is here; `taken` is journaled; `unpausing` is journaled; the VM runs and 4 is about to be
 * sent; 4 is out and `done` about to be journaled.
 */
export const steps = {
  source: [
    ...['prepare', 'connect', '1-vgpu ACK', '1', '1-mem ACK', 'copy', 'suspend', 'last round', '2', 'going', '3'],
    ...['run', '4', 'clean-up'],
  ],
  destination: [
    ...['prepare', '1-vgpu', '1', '1-mem', 'copy', '2', '2-restored', '3', 'taken', 'unpausing', '4', 'done'],
  ],
} as const;
export type Step = (typeof steps)[Side][number];

/** States of a source's journal row, in order. */
const sourceStates = ['preparing', 'copying', 'suspended', 'going', 'done'] as const;
export type SourceState = (typeof sourceStates)[number] | 'failed';

/** States of a destination's journal row, in order. */
const destinationStates = ['reserved', 'created', 'restored', 'taken', 'unpausing', 'done'] as const;
export type DestinationState = (typeof destinationStates)[number] | 'refused';

/** Whether the destination has taken point 3: from then on it never refuses. */
export function hasTaken(state: DestinationState): boolean {
  return state === 'taken' || state === 'unpausing' || state === 'done';
}

/** The answer of `settle`: one for each attempt, for good. `unknown` is no answer. */
export type Settlement = 'taken' | 'refused' | 'unknown';

/** What a destination's attempt has come to, as its coordinator asks. */
export type Fate = 'open' | 'done' | 'refused' | 'unknown';

/** The answer of `mayRun`: `no` where the VM goes on at the source, `unknown` where that cannot be said. */
export type Permission = 'yes' | 'no' | 'unknown';

/** Where a VM is to run, by an operator's word: on this host, or anywhere but here. */
export type RunsWhere = 'here' | 'elsewhere';

/** The uuid of the incoming copy at the destination, until it is the VM (xapi). */
export function temporaryUuid(uuid: string): string {
  return `${uuid.slice(0, 24)}000000000001`;
}

/** The uuid of the source's old copy, from point 2 until it is gone (xapi). */
export function oldCopyUuid(uuid: string): string {
  return `${uuid.slice(0, 24)}000000000000`;
}

/** The version of the memory stream, in the cookie `mem_migration`. */
export const memoryMigrationVersion = '1';
