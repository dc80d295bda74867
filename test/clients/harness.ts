/** Xen Orchestra's client, connected to a pool and ended with the test, and what it says on the console meanwhile. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { Xapi, type XapiObject, type XapiOptions } from 'xen-api';
import type { Credentials } from '../../src/cli/client/xapi-client.js';

/** Fields of a VM, and what the client adds for them. */
export interface Vm {
  readonly uuid: string;
  readonly name_label: string;
  readonly name_description: string;
  readonly power_state: string;
  readonly resident_on: string;
  readonly VIFs: readonly string[];
  readonly tags: readonly string[];
  readonly other_config: Readonly<Record<string, string>>;
  readonly $resident_on: Host;
  readonly $VIFs: readonly { readonly $network: { readonly name_label: string } }[];
  readonly $pool: { readonly $master: Host };
  set_name_description(text: string): Promise<void>;
  update_other_config(key: string, value: string | null): Promise<void>;
  update_other_config(entries: Readonly<Record<string, string | null>>): Promise<void>;
  add_tags(tag: string): Promise<void>;
  remove_tags(tag: string): Promise<void>;
}

export interface Task {
  readonly name_label: string;
  readonly allowed_operations: readonly string[];
}

export interface Host {
  readonly name_label: string;
  readonly $metrics: { readonly live: boolean };
  readonly $PIFs: readonly { readonly management: boolean; readonly network: string }[];
}

export interface Clients {
  /** A client with short waits, not connected yet. */
  create(to: Credentials, options?: Partial<XapiOptions>): Xapi;
  /** One that has connected, and that has every object. */
  connect(to: Credentials, options?: Partial<XapiOptions>): Promise<Xapi>;
  /** What the clients have warned of on the console, which is where they tell of calls that failed behind the scenes. */
  readonly warnings: readonly string[];
  /** Disconnect them all and stop their servers; then the console is as it was. */
  close(stopServers: () => Promise<unknown>): Promise<void>;
}

/** Clients of one test file, whose warnings go to a list. */
export function openClients(): Clients {
  const open: Xapi[] = [];
  const warnings: string[] = [];
  const { warn } = console;
  console.warn = (...words: unknown[]) => warnings.push(words.map(String).join(' '));
  const create = (to: Credentials, options: Partial<XapiOptions> = {}): Xapi => {
    const auth = { user: to.username, password: to.password };
    const client = new Xapi({ url: to.url, auth, debounce: 10, eventPollDelay: 50, ...options });
    open.push(client);
    return client;
  };
  return {
    create,
    async connect(to, options) {
      const client = create(to, options);
      await client.connect();
      await client.objectsFetched;
      return client;
    },
    warnings,
    async close(stopServers) {
      await Promise.all(open.map((client) => client.disconnect()));
      await stopServers();
      await connectionsEnd();
      console.warn = warn;
    },
  };
}

/** Wait until no connection is left: a client whose server has stopped warns of it only when it has noticed. */
async function connectionsEnd(): Promise<void> {
  for (const until = Date.now() + 5_000; Date.now() < until; await delay(10)) {
    if (!process.getActiveResourcesInfo().includes('TCPSocketWrap')) break;
  }
  await delay(0);
}

/** Wait, by events alone, for an object of a class that is as wanted. */
export function objectState<T>(
  client: Xapi,
  type: string,
  wanted: (object: XapiObject<T>) => boolean,
): Promise<XapiObject<T>> {
  const { objects } = client;
  return new Promise((resolve) => {
    const look = (): void => {
      const all = Object.values(objects.indexes.type[type] ?? {}) as XapiObject<T>[];
      const found = all.find(wanted);
      if (found === undefined) return;
      objects.off('add', look);
      objects.off('update', look);
      resolve(found);
    };
    objects.on('add', look);
    objects.on('update', look);
    look();
  });
}

/** What a promise is rejected with. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => error,
  );
}
