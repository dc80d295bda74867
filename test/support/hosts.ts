/**
 * Whole hosts in the test's own process, each with a real hypervisor, a real port and real helpers; only the pool's database is
 * left out. Closing a host ends its hypervisor and removes its state.
 */

import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { logFailure } from '../../src/api/failure-log.js';
import { createHttpApi } from '../../src/api/http-api.js';
import { emuProgram } from '../../src/backend/emu-manager.js';
import { checkSpec } from '../../src/backend/simulator/content.js';
import { createSimulator, type Simulator } from '../../src/backend/simulator/simulator.js';
import { type LoadedConfig, readConfig } from '../../src/base/config/config.js';
import { defined } from '../../src/base/defined.js';
import type { DomainSpec } from '../../src/base/domain.js';
import type { Log, LogRecord } from '../../src/base/log.js';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { openStore } from '../../src/base/store/store.js';
import { type HostEngine, type HostEngineInit, openHostEngine } from '../../src/host/engine.js';
import { createHostRpc } from '../../src/host/rpc/server.js';
import type { MigrateRequest, MigrationOutcome } from '../../src/migrate/request.js';
import type { DispatchDeps } from '../../src/model/dispatch-deps.js';
import type { ChannelHead } from '../../src/wire/connection/channel.js';
import { xenopsPath } from '../../src/wire/connection/channel.js';
import { createListener } from '../../src/wire/connection/listener.js';
import { type CapturedLog, captureLog } from './log.js';

export interface TestHost {
  readonly uuid: string;
  readonly url: string;
  readonly stateDir: string;
  readonly engine: HostEngine;
  readonly simulator: Simulator;
  readonly log: CapturedLog;
  /** The heads of the migration channels that came in. */
  readonly heads: ChannelHead[];
  /** The URL that the host gives to others, e.g. that of a proxy in front of it. */
  advertise(url: string): void;
  /** Change the configuration, as a reload does. */
  configure(options: Record<string, string>): void;
  close(): Promise<void>;
}

export interface TestHostInit {
  /** Options as on the command line. */
  readonly options?: Record<string, string>;
  readonly announce?: HostEngineInit['announce'];
  readonly lookup?: HostEngineInit['lookup'];
  /** Given the engine before others reach it. */
  readonly onEngine?: (engine: HostEngine) => void;
  /** Told each record of its log, at once. */
  readonly onLog?: (record: LogRecord) => void;
}

const secret = 'the secret of the pool';

/** Open a host on a free port of the loopback. */
export async function openTestHost(init: TestHostInit = {}): Promise<TestHost> {
  const stateDir = await mkdtemp(path.join(tmpdir(), 'xenferry-host-'));
  const uuid = randomUUID();
  const captured = captureLog(init.onLog);
  const { log } = captured;
  let loaded = configOf(stateDir, init.options ?? {});
  const simulator = await createSimulator({
    stateDir,
    memoryBytes: loaded.config.simulatorMemory,
    memoryDirs: [loaded.config.memoryDir],
    timeoutMs: () => loaded.config.backendTimeout * 1000,
    emuProgram: () => emuProgram(loaded.config.emuManager),
  });
  const store = openStore(path.join(stateDir, 'db'));
  let url = '';
  const heads: ChannelHead[] = [];
  const engine = await openHostEngine({
    uuid,
    name: 'test-host',
    url: () => url,
    config: () => loaded.config,
    compressorWarning: () => loaded.valueWarnings['migration-compressor'],
    store,
    backend: simulator,
    secrets: () => [secret],
    log,
    ...defined({ announce: init.announce, lookup: init.lookup }),
  });
  init.onEngine?.(engine);
  await engine.recover();
  const rpc = createHostRpc({
    ...engine,
    secrets: () => [secret],
    hostUuid: uuid,
    logFailure: (call, error) => logFailure(log, call, error),
  });
  const listener = createListener({
    log,
    keepAliveMs: () => loaded.config.keepaliveTime * 1000,
    onRequest: createHttpApi(noPool(log), { others: { [xenopsPath]: rpc } }),
    onChannel(head, socket) {
      heads.push(head);
      engine.rendezvous.deliver(head, socket);
    },
  });
  url = `http://127.0.0.1:${await listener.listen(0, '127.0.0.1')}`;
  return {
    uuid,
    get url() {
      return url;
    },
    stateDir,
    engine,
    simulator,
    log: captured,
    heads,
    advertise(other) {
      url = other;
    },
    configure(options) {
      loaded = configOf(stateDir, { ...init.options, ...options });
    },
    async close() {
      await engine.close();
      await listener.close();
      await simulator.quit();
      await store.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

function configOf(stateDir: string, options: Record<string, string>): LoadedConfig {
  const all = { 'state-dir': stateDir, 'simulator-memory': '2GiB', 'migration-digest': 'true', ...options };
  return readConfig({ args: Object.entries(all).map(([key, value]) => `--${key}=${value}`) });
}

/** The XenAPI's own door stays shut: these tests speak to hosts. */
function noPool(log: Log): DispatchDeps {
  return {
    log,
    coordinatorAddress: () => 'http://127.0.0.1',
    isHostLevel: () => false,
  } as unknown as DispatchDeps;
}

/** A domain for a test; busy unless told otherwise. */
export function testDomain(overrides: Partial<SimulatedSpec> = {}): SimulatedSpec {
  const spec: SimulatedSpec = {
    uuid: randomUUID(),
    name: 'guest',
    memoryBytes: 32 * 1024 * 1024,
    vcpus: 1,
    profile: { zero: 0.35, program: 0.33, text: 0.22, random: 0.1 },
    workload: { dirtyPagesPerSecond: 500, workingSet: 0.1 },
    seed: 7,
    vgpus: [],
    ...overrides,
  };
  return checkSpec(spec);
}

/** The request that moves a domain from one host to another, as the pool would make it. */
export function requestTo(destination: TestHost, domain: DomainSpec, compress: boolean): MigrateRequest {
  return {
    migrationId: randomUUID(),
    task: 'OpaqueRef:task',
    uuid: domain.uuid,
    source: 'source',
    destination: { kind: 'pool', hostUuid: destination.uuid, url: destination.url },
    metadata: { version: 1, domain, vifs: [] },
    compress,
  };
}

/** Migrate and wait for the end. */
export async function migrate(source: TestHost, request: MigrateRequest): Promise<MigrationOutcome> {
  await source.engine.service.migrate(request);
  return outcomeOf(source, request.migrationId);
}

/** Wait for a migration's end by the host's events. */
export async function outcomeOf(source: TestHost, migrationId: string): Promise<MigrationOutcome> {
  for (let since = 0; ; ) {
    const { events, next } = await source.engine.service.events(since, 30);
    for (const event of events) {
      if (event.kind === 'migration-ended' && event.migrationId === migrationId) return event.outcome;
    }
    since = next;
  }
}

/** The VM runs at the source as if nothing had been, nothing is left at the destination. */
export async function goesOn(source: TestHost, destination: TestHost, domain: SimulatedSpec): Promise<void> {
  const [here, ...more] = await source.simulator.list();
  expect(more).to.deep.equal([]);
  expect(here).to.include({ uuid: domain.uuid, state: 'running' });
  if (here !== undefined) expect(await source.simulator.verify(here.handle)).to.include({ badPages: 0 });
  expect(await destination.simulator.list()).to.deep.equal([]);
  const { total, free } = await destination.simulator.memory();
  expect(free).to.equal(total);
}
