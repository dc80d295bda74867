/** The words in which the classes that xe shows are written down. Nothing here runs. */
import type { ClassName } from '../../../../idl/index.js';

/** Read-only or read-write; of a plain value, a set (S) or a map (M). */
export type Kind = 'RO' | 'RW' | 'SRO' | 'SRW' | 'MRO' | 'MRW';

export interface XeField {
  readonly kind: Kind;
  /**
   * Where its value comes from: a field of the record, or a path through references (`VM.name_label`), and through sets
   * of them to several values. Without it, the field whose name has underscores for the dashes.
   */
  readonly from?: string;
  /** Shown where a reference on the path is null, a call fails, or the server lacks the field. */
  readonly none?: string;
  /** Shown where the path meets a set of more than one reference. */
  readonly many?: string;
  /** A message that takes the object alone; its result is the value. */
  readonly call?: string;
  /**
   * A message that takes the object alone and is refused where something is not so: `true`, or `false` with the reason.
   */
  readonly assert?: string;
  /**
   * What is shown for the value, where that is not its plain text; undefined leaves one of several values out.
   * @param owner the record that has the value
   * @param ref the object whose field this is
   */
  readonly text?: (value: unknown, owner: Readonly<Record<string, unknown>>, ref: string) => string | undefined;
  /** A field of every host; the value that all of them have. */
  readonly everyHost?: string;
  /** The message of the class that sets one key of a read-only map. */
  readonly setKey?: string;
  /** Name of one member of the set in messages that add and remove. */
  readonly member?: string;
  /** A set or map that has no messages for its parts: it is set as a whole. */
  readonly whole?: true;
  /** Not shown in lists unless asked for by name in param-get. */
  readonly hidden?: true;
  readonly deprecated?: true;
  /** Not computed in lists. */
  readonly expensive?: true;
  /** Filters ignore case. */
  readonly caseless?: true;
}

/** A class of objects as xe shows it: its commands are made from this alone. */
export interface XeClass {
  /** Beginning of the names of the class's commands. */
  readonly command: string;
  readonly class: ClassName;
  /** The fields that its list shows where `params` says nothing. */
  readonly columns: readonly string[] | 'all';
  /** A set of the record; only objects where it has members are listed. */
  readonly filled?: string;
  /** Filters that its list always has. */
  readonly where?: Readonly<Record<string, string>>;
  /** Fields in the order in which they are shown. A kind alone is a field with nothing special. */
  readonly fields: Readonly<Record<string, Kind | XeField>>;
}
