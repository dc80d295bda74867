/** What keeps a program from hanging when it ends. */
import v8 from 'node:v8';

/**
 * Have V8 compile in the thread that runs the code. Node 24 compiles baseline code beside it, and at its end joins the
 * thread that does so, which may be waiting for the main thread to collect garbage: then the process never ends
 * (nodejs/node issue 54918). To be called first by every program.
 */
export function compileInForeground(): void {
  v8.setFlagsFromString('--no-concurrent-sparkplug');
  v8.setFlagsFromString('--no-concurrent-recompilation');
}
