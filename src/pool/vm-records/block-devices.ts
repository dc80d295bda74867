/** The names of a VM's block devices: a number, or the name that a Linux guest would give it. */
import { XapiError } from '../../base/errors.js';

/** How many block devices a VM may have. */
const mostDevices = 256;

/** `sda` and `fda` are devices of their own, `hda` is another name of `xvda`; a number of a partition may follow. */
const linuxPattern = /^(xvd|hd|sd|fd)([a-z]{1,2})(\d{1,2})?$/;
/** A device by its number: `0` and `d0` are `xvda`, `d0p1` its first partition. */
const numberPattern = /^(0|[1-9]\d{0,2})$/;
const numberedPattern = /^d(0|[1-9]\d{0,2})(?:p(\d{1,2}))?$/;

/**
 * Where a new block device is.
 * @param asked a number, a name, or `autodetect` or nothing for the first number that is free
 * @param taken those of the VM's other block devices
 * @returns as it was asked for
 * @throws INVALID_DEVICE, DEVICE_ALREADY_EXISTS [device]
 */
export function blockDevice(asked: string, taken: readonly string[]): string {
  if (asked === '' || asked === 'autodetect') {
    const [free] = freeBlockDevices(mostDevices, taken);
    if (free === undefined)
      throw new XapiError('INVALID_DEVICE', ['autodetect'], `all ${mostDevices} devices are taken`);
    return free;
  }
  const name = linuxName(asked);
  if (name === undefined) throw new XapiError('INVALID_DEVICE', [asked]);
  if (taken.some((other) => linuxName(other) === name)) throw new XapiError('DEVICE_ALREADY_EXISTS', [asked]);
  return asked;
}

/** The numbers that are free among the first `count`. */
export function freeBlockDevices(count: number, taken: readonly string[]): string[] {
  const names = new Set(taken.map(linuxName));
  return [...Array(count).keys()].map(String).filter((number) => !names.has(linuxName(number)));
}

/** The name by which a Linux guest has a block device: `xvdb` for 1, `d1` and `hdb`. Undefined for what names none. */
export function linuxName(device: string): string | undefined {
  const [, prefix = '', letters = '', of = ''] = linuxPattern.exec(device) ?? [];
  if (prefix !== '') return `${prefix === 'hd' ? 'xvd' : prefix}${letters}${Number(of) || ''}`;
  const [, digits, partition = ''] = numberPattern.exec(device) ?? numberedPattern.exec(device) ?? [];
  const number = Number(digits ?? mostDevices);
  return number < mostDevices ? `xvd${lettersOf(number)}${Number(partition) || ''}` : undefined;
}

/** The number of a block device, however it is named; undefined for what is not one of the numbered, a partition included. */
export function blockDeviceNumber(device: string): number | undefined {
  const name = linuxName(device);
  return [...Array(mostDevices).keys()].find((each) => `xvd${lettersOf(each)}` === name);
}

/** a to z, then aa, ab and so on. */
function lettersOf(number: number): string {
  const letter = String.fromCharCode(97 + (number % 26));
  return number < 26 ? letter : `${lettersOf(Math.floor(number / 26) - 1)}${letter}`;
}
