/**
 * BIOS strings, which guests read as SMBIOS: their names, and what they are where nothing else is said. Facts: xapi's
 * constants.
 */

/** Characters of a value. */
export const longestBiosString = 512;

/** Keys that a caller can set for a VM. */
export const biosKeys = [
  'bios-vendor',
  'bios-version',
  'system-manufacturer',
  'system-product-name',
  'system-version',
  'system-serial-number',
  'baseboard-manufacturer',
  'baseboard-product-name',
  'baseboard-version',
  'baseboard-serial-number',
  'baseboard-asset-tag',
  'baseboard-location-in-chassis',
  'enclosure-asset-tag',
] as const;

/** Those that are the same for every VM; Windows guests look for the second of them. */
export const fixedBiosStrings = {
  'hp-rombios': '',
  'oem-1': 'Xen',
  'oem-2': 'MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d',
} as const;

/** Strings of a VM for which none were set when it starts. */
export const genericBiosStrings: Readonly<Record<string, string>> = {
  ...Object.fromEntries(biosKeys.map((key) => [key, ''])),
  'bios-vendor': 'Xen',
  'system-manufacturer': 'Xen',
  'system-product-name': 'HVM domU',
  ...fixedBiosStrings,
};
