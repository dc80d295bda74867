/** Frames of a simulated domain's rings for xenstore and console: nothing reads them, the protocol wants their numbers. */
export const storePfn = 1;
export const consolePfn = 2;
