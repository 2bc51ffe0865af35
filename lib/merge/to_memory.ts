import { Socket } from 'node:net';
import type { Checkpoint } from '../checkpoint/types.js';
import { native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { type Allowances, execute, judge } from './execute.js';
import { type PlannedTensor, tensorBytes } from './plan.js';

/**
 * Mixes tensors into memory, to the byte what a soup on disk would have. Meant for some tensors, or small models: all of
 * it is held.
 * @returns by the tensor's name: its elements in row-major order, little-endian
 * @throws StockpotError as for a soup on disk
 */
export async function mixToMemory(
  checkpoints: readonly Checkpoint[],
  tensors: readonly PlannedTensor[],
  run: RunOptions & Allowances = {},
): Promise<Map<string, Uint8Array>> {
  const total = tensors.reduce((n, t) => n + tensorBytes(t), 0);
  const all = new Uint8Array(total);
  let at = 0;
  const [readEnd, writeEnd] = native().pipe();
  const from = new Socket({ fd: readEnd, readable: true, writable: false });
  const read = new Promise<void>((resolve, reject) => {
    from.on('data', (chunk: Buffer) => {
      all.set(chunk, at);
      at += chunk.length;
    });
    from.on('close', () => resolve());
    from.on('error', reject);
  });
  let open = true;
  try {
    const { findings } = await execute(checkpoints, [{ name: '', tensors: [...tensors] }], {
      ...run,
      // A few tensors; the bytes are the same on any device.
      device: undefined,
      onProgress: undefined,
      sink: 'pipe',
      outputs: [{ fd: writeEnd, prefix: new Uint8Array(), path: '' }],
    });
    closePipe(writeEnd);
    open = false;
    await read;
    judge(findings, tensors, checkpoints, run);
  } finally {
    if (open) closePipe(writeEnd);
    from.destroy();
    await read.catch(() => {});
  }
  const out = new Map<string, Uint8Array>();
  let offset = 0;
  for (const t of tensors) {
    const bytes = tensorBytes(t);
    out.set(t.name, all.subarray(offset, offset + bytes));
    offset += bytes;
  }
  return out;
}

/** Node's files would warn, in a worker thread, of a descriptor that they did not open. */
const closePipe = (fd: number): void => {
  new Socket({ fd, readable: false, writable: true }).destroy();
};
