/** What a protocol answers to the body of a request. */
import type { CallOrigin } from '../model/handlers.js';

export interface Answer {
  /**
   * 200 for a success of the API and a failure of the API alike; 500, after which the connection ends, for what is no
   * call.
   */
  readonly status: 200 | 500;
  /** Exactly what the reply's header says; clients compare it as a whole. */
  readonly contentType: 'application/json' | 'text/xml' | 'text/plain';
  readonly text: string;
}

/** Answers one body, whatever it holds. */
export type AnswerBody = (body: Buffer, origin: CallOrigin) => Promise<Answer>;
