#!/usr/bin/env node
/**
 * emu-manager: streams the state of one domain into descriptors, or out of them, for the daemon that started it. The Unix socket of
 * the simulated hypervisor is in XENFERRY_HYPERVISOR; where domains are QEMU processes, their directory is in XENFERRY_QEMU. A
 * result line is success; the exit status is 0 after that and after `abort`, 1 after an error.
 */
import path from 'node:path';
import { messageOf, sayingOf } from '../base/errors.js';
import { compileInForeground } from '../base/process/exit-hang.js';
import { emuFeatures } from '../base/protocol/emu-protocol.js';
import { streamFailureOf } from '../base/stream-error.js';
import { closeZstd } from '../base/zstd/zstd.js';
import { parseArguments, type RunArguments, UsageError } from './process/argv.js';
import { type Control, openControl, reportError } from './process/control.js';
import { openSink, openSource } from './process/descriptor.js';
import { openDomain } from './process/domain.js';
import { restore } from './restore/restore.js';
import { save } from './save/save.js';

async function run(args: RunArguments): Promise<void> {
  const fail = async (error: unknown) => {
    if (ending !== undefined) return;
    process.stderr.write(`emu-manager: ${sayingOf(error)}\n`);
    await control.error(sayingOf(error), streamFailureOf(error));
    await end(1);
  };
  const control = openControl({
    inFd: args.controlIn,
    outFd: args.controlOut,
    onAbort: () => void cancel().then(() => end(0)),
    onError: (error) => void fail(error),
  });
  try {
    const qemu = process.env.XENFERRY_QEMU;
    if (qemu === undefined) await streamSimulated(args, control);
    else await streamQemu(args, control, path.join(qemu, String(args.domid)));
    await end(0);
  } catch (error) {
    await fail(error);
  }
}

async function streamSimulated(args: RunArguments, control: Control): Promise<void> {
  const socketPath = process.env.XENFERRY_HYPERVISOR;
  if (socketPath === undefined)
    throw new Error("XENFERRY_HYPERVISOR is not set; it names the hypervisor's Unix socket");
  const domain = await openDomain(socketPath, args.domid);
  if (args.mode === 'save') await save(args, { control, domain, sink: oneEach(openSink) });
  else await restore(args, { control, domain, source: oneEach(openSource) });
}

async function streamQemu(args: RunArguments, control: Control, directory: string): Promise<void> {
  if (args.vgpuFds.length > 0) throw new Error('a domain of QEMU has no virtual GPUs');
  const { saveQemu, restoreQemu } = await import('./qemu/qemu.js');
  if (args.mode === 'restore') return restoreQemu({ control, directory, source: openSource(args.fd) });
  const onCancellable = (how: () => Promise<void>) => {
    cancel = how;
  };
  await saveQemu(args, { control, directory, sink: openSink(args.fd), onCancellable });
}

/** Ends what goes on elsewhere for this program. */
let cancel = async (): Promise<void> => undefined;

/** The exit status, once it is known. */
let ending: number | undefined;

/** Wait for frames that are with other threads, milliseconds at most, and end. What was the first reason counts. */
async function end(code: number): Promise<void> {
  ending ??= code;
  await closeZstd();
  process.exit(ending);
}

function oneEach<T>(open: (fd: number) => T): (fd: number) => T {
  const opened = new Map<number, T>();
  return (fd) => {
    const found = opened.get(fd) ?? open(fd);
    opened.set(fd, found);
    return found;
  };
}

async function main(): Promise<void> {
  compileInForeground();
  try {
    const args = parseArguments(process.argv.slice(2));
    if (args.kind === 'run') return await run(args);
    process.stdout.write(`${emuFeatures.some((feature) => feature === args.feature)}\n`);
  } catch (error) {
    process.stderr.write(`emu-manager: ${messageOf(error)}\n`);
    const controlOut = error instanceof UsageError ? error.controlOut : undefined;
    if (controlOut !== undefined) await reportError(controlOut, messageOf(error));
    process.exit(1);
  }
}

await main();
