import { freemem, platform, totalmem } from 'node:os';

/** What a machine, or its container, can still give. */
export function availableMemory(): number {
  // Elsewhere than on Linux, memory that can be had again counts as used.
  const machine = platform() === 'linux' ? freemem() : totalmem();
  const limit = process.constrainedMemory();
  const container = limit > 0 && limit < totalmem() ? limit - process.memoryUsage.rss() : machine;
  return Math.max(0, Math.min(machine, container));
}
