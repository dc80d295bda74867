/** What saves and restores by a program of a test. */
import { createEmuManager, type EmuProgram } from '../../src/backend/emu-manager.js';
import type { SaveHelper } from '../../src/backend/save-helper.js';
import { libxcFormats } from '../../src/base/protocol/stream-formats.js';

export function helperBy(program: EmuProgram, environment: Readonly<Record<string, string>> = {}): SaveHelper {
  return createEmuManager({ program, environment, formats: libxcFormats });
}
