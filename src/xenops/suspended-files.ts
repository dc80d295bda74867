/** The files of suspend images, in one directory: `UUID.memory`, and `UUID.vgpu-DEVICE` for each virtual GPU of the VM. */
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { DomainSpec } from '../base/domain.js';
import { XapiError } from '../base/errors.js';
import { makeDirectory, nameFile } from '../base/store/durable-file.js';
import type { RawStream } from '../wire/connection/raw-socket.js';
import type { ImageChannels } from './image.js';
import { createImageFile, openImageFile } from './image-file.js';
import type { TransferInit } from './image-transfer.js';

/** The VM of an image, whose devices say which files it has. */
interface ImageOwner {
  readonly uuid: string;
  readonly spec: DomainSpec;
}

/** Open files by the names of their parts, the memory first. */
export type PartFiles = ReadonlyMap<string, RawStream>;

export interface ImageFiles {
  /**
   * Make room for an image of so many bytes: the directory is there, and the VM's older files are gone.
   * @throws SR_SUSPEND_SPACE_INSUFFICIENT [directory]
   */
  makeRoom(uuid: string, bytes: number): Promise<void>;
  /** Write new files, which have their names and outlive a loss of power when this resolves. */
  write(owner: ImageOwner, fill: (files: PartFiles) => Promise<unknown>): Promise<void>;
  /** Open the files of an image for reading. The caller closes them. */
  open(owner: ImageOwner): Promise<PartFiles>;
  /** The bytes of each part. */
  sizes(owner: ImageOwner): Promise<Record<string, number>>;
  /** Remove the files of a VM; fine where there are none. */
  removeOf(uuid: string): Promise<void>;
  /** Remove the files of every VM but these. */
  removeAllBut(uuids: ReadonlySet<string>): Promise<void>;
}

/** An image has a little more than the memory. */
const headroom = 1.02;

/** @param directory of the files; made when it is needed */
export function createImageFiles(directory: string): ImageFiles {
  const pathOf = (uuid: string, part: string): string => join(directory, `${uuid}.${part}`);
  const partsOf = ({ spec }: ImageOwner): string[] => ['memory', ...spec.vgpus.map((device) => `vgpu-${device}`)];
  const remove = async (isUseless: (name: string) => boolean): Promise<void> => {
    for (const name of await readdir(directory).catch(() => [])) {
      if (isUseless(name)) await rm(join(directory, name), { force: true });
    }
  };
  const removeOf = (uuid: string): Promise<void> => remove((name) => name.startsWith(`${uuid}.`));
  return {
    async makeRoom(uuid, bytes) {
      await makeDirectory(directory);
      await removeOf(uuid);
      const { bavail, bsize } = await statfs(directory);
      if (bavail * bsize < bytes * headroom) throw new XapiError('SR_SUSPEND_SPACE_INSUFFICIENT', [directory]);
    },
    async write(owner, fill) {
      const files = await openParts(partsOf(owner), (part) => createImageFile(pathOf(owner.uuid, `${part}.part`)));
      try {
        await fill(files);
      } finally {
        closeFiles(files);
      }
      for (const part of files.keys()) {
        await nameFile(pathOf(owner.uuid, `${part}.part`), pathOf(owner.uuid, part));
      }
    },
    open: (owner) => openParts(partsOf(owner), (part) => openImageFile(pathOf(owner.uuid, part))),
    async sizes(owner) {
      const sizeOf = async (part: string) => [part, (await stat(pathOf(owner.uuid, part))).size] as const;
      return Object.fromEntries(await Promise.all(partsOf(owner).map(sizeOf)));
    },
    removeOf,
    removeAllBut: (uuids) => remove((name) => !uuids.has(name.slice(0, name.indexOf('.')))),
  };
}

/** Close the files of an image. */
export function closeFiles(files: PartFiles): void {
  for (const file of files.values()) file.destroy();
}

/** Take the files for the channels of a save or a restore: the first has the memory, each other a virtual GPU. */
export function channelsOf(files: PartFiles): ImageChannels {
  const [[, memory], ...rest] = [...files] as [[string, RawStream], ...[string, RawStream][]];
  return { memory, vgpu: new Map(rest.map(([part, file]) => [deviceOf(part), file])) };
}

/**
 * Pair each file with its channel.
 * @param sizes the bytes of each part
 * @throws INTERNAL_ERROR for a part without a channel or a size
 */
export function transferParts(
  files: PartFiles,
  channels: ImageChannels,
  sizes: Readonly<Record<string, number>>,
): TransferInit['parts'] {
  return [...files].map(([part, file]) => {
    const channel = part === 'memory' ? channels.memory : channels.vgpu.get(deviceOf(part));
    const bytes = sizes[part];
    if (channel === undefined || bytes === undefined) {
      throw new XapiError('INTERNAL_ERROR', [`the suspend image has no part ${part}`]);
    }
    return { file, channel, bytes };
  });
}

function deviceOf(part: string): string {
  return part.replace(/^vgpu-/, '');
}

/** Open a file for each part, or none. */
async function openParts(parts: readonly string[], openPart: (part: string) => Promise<RawStream>): Promise<PartFiles> {
  const files = new Map<string, RawStream>();
  try {
    for (const part of parts) files.set(part, await openPart(part));
    return files;
  } catch (error) {
    closeFiles(files);
    throw error;
  }
}
