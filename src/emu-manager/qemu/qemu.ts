/** Saving and restoring domains of QEMU, which a program for another back end does not load. */
export { restoreQemu } from './restore.js';
export { saveQemu } from './save.js';
