/** A guest with Debian's kernel, which counts, writes to its memory and its disk, and checks what it finds. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../../scripts/linux-guest/build.sh', import.meta.url));

/** Whether it can be built: by Debian's packages, from a source that apt knows, and a C compiler. */
export const isBuildable = ['apt-cache show linux-image-amd64 busybox-static', 'cc --version'].every(succeeds);

function succeeds(command: string): boolean {
  try {
    execFileSync('sh', ['-c', command], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Build it into a directory. @returns the settings of a description that boot it with such words of its command line */
export function buildLinuxGuest(directory: string): (...words: string[]) => Readonly<Record<string, string>> {
  execFileSync('sh', [script, directory], { stdio: ['ignore', 'ignore', 'inherit'] });
  return (...words) => ({
    PV_kernel: path.join(directory, 'vmlinuz'),
    PV_ramdisk: path.join(directory, 'initrd.gz'),
    PV_args: ['console=ttyS0,115200', 'quiet', ...words].join(' '),
  });
}

/** What the guest has said on its console. */
export interface Said {
  /** The numbers that it counted, in their order. */
  readonly counted: readonly number[];
  /** The numbers of the blocks that it has written to its disk for sure, in their order. */
  readonly written: readonly number[];
  /** Pages that it has written, and how many of them did not have what they should, as it told last. */
  readonly pages: number;
  readonly wrong: number;
}

/** Read its console. The last line may not be whole yet, and what the kernel says stands between. */
export function readConsole(text: string): Said {
  const lines = text.slice(0, text.lastIndexOf('\n')).split(/\r?\n/);
  const numbersOf = (pattern: RegExp) => lines.flatMap((line) => pattern.exec(line)?.slice(1).map(Number) ?? []);
  const [pages = 0, wrong = 0] = numbersOf(/^memory: (\d+) written, (\d+) wrong$/).slice(-2);
  return { counted: numbersOf(/^count (\d+) /), written: numbersOf(/^written (\d+)$/), pages, wrong };
}

/** The blocks of a disk that do not have the numbers which the guest has written last. */
export function wrongBlocks(image: string, written: readonly number[]): number[] {
  const disk = fs.readFileSync(image);
  const last = new Map(written.map((number) => [number % 4096, number]));
  return [...last].flatMap(([at, number]) => {
    const found = /^block (\d+) /.exec(disk.toString('latin1', at * 4096, at * 4096 + 32));
    return Number(found?.[1]) >= number ? [] : [number];
  });
}
