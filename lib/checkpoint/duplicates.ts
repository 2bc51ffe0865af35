import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { RunOptions } from '../progress.js';
import { byteSize } from './dtype.js';
import { contentHash } from './hash.js';
import { remembering } from './remember.js';
import { elementCount } from './shape.js';
import { fileError } from './system_error.js';
import type { Checkpoint } from './types.js';

const SAMPLES = 16;
const SAMPLE_BYTES = 4096;

/** A hash of the names and of a little of the data of tensors spread over the checkpoint: equal for equal checkpoints. */
async function fingerprint(c: Checkpoint): Promise<string> {
  const hash = createHash('sha256');
  const entries = [...c.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const e of entries) hash.update(`${e.name} ${e.dtype} ${e.shape}\n`);
  const handles: FileHandle[] = [];
  try {
    for (const f of c.files) {
      handles.push(
        await open(f.path, 'r').catch((cause) => {
          throw fileError(f.path, cause);
        }),
      );
    }
    const step = Math.max(1, Math.ceil(entries.length / SAMPLES));
    for (let i = 0; i < entries.length; i += step) {
      const e = entries[i] as (typeof entries)[number];
      // A view's elements lie elsewhere than another file's: only names count for it.
      if (e.strides) continue;
      const n = Math.min(SAMPLE_BYTES, elementCount(e.shape) * byteSize(e.dtype));
      const bytes = Buffer.alloc(n);
      await handles[e.file]?.read(bytes, 0, n, e.offset).catch((cause) => {
        throw fileError(c.files[e.file]?.path ?? c.path, cause);
      });
      hash.update(bytes);
    }
  } finally {
    await Promise.all(handles.map((h) => h.close()));
  }
  return hash.digest('hex');
}

/**
 * Groups of positions of checkpoints that hold the same tensors, bit for bit (behaviour 15). A sample tells most
 * apart; only checkpoints that agree in it are hashed whole.
 */
export const findDuplicates = remembering(find, () => '');

async function find(checkpoints: readonly Checkpoint[], run: RunOptions): Promise<number[][]> {
  const alike = await groupBy(
    checkpoints.map((_, i) => i),
    (i) => fingerprint(checkpoints[i] as Checkpoint),
  );
  const groups: number[][] = [];
  for (const suspects of alike) {
    groups.push(
      ...(await groupBy(suspects, (i) => contentHash(checkpoints[i] as Checkpoint, run))),
    );
  }
  return groups;
}

/** Groups of more than one position with the same key. */
async function groupBy(
  positions: readonly number[],
  key: (i: number) => Promise<string>,
): Promise<number[][]> {
  const groups = new Map<string, number[]>();
  for (const i of positions) {
    const k = await key(i);
    groups.set(k, [...(groups.get(k) ?? []), i]);
  }
  return [...groups.values()].filter((g) => g.length > 1);
}
