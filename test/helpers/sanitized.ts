/**
 * Whether the addon is watched by AddressSanitizer (scripts/sanitize.sh), which keeps freed memory back and takes much of its
 * own: what a process holds says nothing then.
 */
export const sanitized = /libasan/.test(process.env.LD_PRELOAD ?? '');

/** LD_PRELOAD with a library more; sanitizers must be the first. */
export const preloaded = (library: string): string =>
  [process.env.LD_PRELOAD, library].filter(Boolean).join(' ');
