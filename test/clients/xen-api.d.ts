/** What the tests use of Xen Orchestra's client, which has no types of its own. */
declare module 'xen-api' {
  import type { EventEmitter } from 'node:events';

  export interface XapiOptions {
    /** Of a server: scheme, address and port. */
    readonly url: string;
    readonly auth: { readonly user: string; readonly password: string };
    /** `auto`, the default, is JSON-RPC, and XML-RPC once an answer at /jsonrpc was not JSON. */
    readonly transport?: 'auto' | 'json-rpc' | 'xml-rpc';
    /** Milliseconds between two calls of event.from. */
    readonly debounce?: number;
    /** Milliseconds until event.from is called again after it failed. */
    readonly eventPollDelay?: number;
    /** Whether to follow every object, which is the default. */
    readonly watchEvents?: boolean;
  }

  /** A record with what the client adds to it: a method or an object for each field, under names made from the field's. */
  export type XapiObject<T> = T & {
    readonly $ref: string;
    readonly $type: string;
    $call<R = unknown>(method: string, ...params: unknown[]): Promise<R>;
    $callAsync<R = unknown>(method: string, ...params: unknown[]): Promise<R>;
  };

  /** Told of changes with the objects concerned, by id. */
  export interface ObjectCollection extends EventEmitter {
    readonly indexes: { readonly type: Readonly<Record<string, Readonly<Record<string, XapiObject<object>>>>> };
  }

  export class Xapi extends EventEmitter {
    constructor(options: XapiOptions);
    readonly sessionId: string;
    readonly status: 'connected' | 'connecting' | 'disconnected';
    readonly pool: XapiObject<{ readonly master: string }>;
    readonly objects: ObjectCollection;
    /** Resolves when every object is there. */
    readonly objectsFetched: Promise<void>;
    connect(): Promise<void>;
    disconnect(): Promise<void>;
    call<R = unknown>(method: string, ...params: unknown[]): Promise<R>;
    /** The result of the task, which is followed by events; `cancel` asks the task to stop. */
    callAsync<R = unknown>(method: string, ...params: unknown[]): Promise<R> & { cancel(): void };
    /** Resolves when every event up to this call is there. */
    barrier(): Promise<void>;
    barrier<T>(ref: string): Promise<XapiObject<T>>;
    createTask(name: string, description?: string): Promise<string>;
    watchTask(ref: string): Promise<unknown>;
    getField<R = unknown>(type: string, ref: string, field: string): Promise<R>;
    getRecord<T>(type: string, ref: string): Promise<XapiObject<T>>;
    getRecordByUuid<T>(type: string, uuid: string): Promise<XapiObject<T>>;
    getAllRecords<T>(type: string): Promise<XapiObject<T>[]>;
    setField(type: string, ref: string, field: string, value: unknown): Promise<void>;
    setFieldEntry(type: string, ref: string, field: string, key: string, value: unknown): Promise<void>;
    setFieldEntries(
      type: string,
      ref: string,
      field: string,
      entries: Readonly<Record<string, unknown>>,
    ): Promise<void>;
    getObject<T>(idOrUuidOrRef: string): XapiObject<T>;
    getObject<T, D>(idOrUuidOrRef: string, otherwise: D): XapiObject<T> | D;
  }
}
