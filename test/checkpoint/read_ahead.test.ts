import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { readAhead } from '../../lib/checkpoint/read_ahead.js';
import { native } from '../../lib/native.js';
import { greedy } from '../../lib/recipes/greedy.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const put = (name: string) =>
  putTensors(at(name), [tensor('w', 'F32', [300_000], 1)]).then((path) => path);

/** Bytes of a file in the page cache, as util-linux's fincore has them. */
const cached = (path: string): number =>
  Number(spawnSync('fincore', ['-bnro', 'RES', path], { encoding: 'utf8' }).stdout);

/** Drops a file from the page cache; false where that cannot be done or seen here. */
function drop(path: string): boolean {
  spawnSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0']);
  return cached(path) === 0;
}

/** Waits for a file to be in the page cache, whole. */
async function arrives(path: string, size: number): Promise<boolean> {
  for (let i = 0; i < 500; i++) {
    if (cached(path) >= size) return true;
    await setTimeout(10);
  }
  return false;
}

/** Whether the page cache can be looked into here; before any test, so in a folder of its own. */
async function cacheIsVisible(): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'stockpot-probe-'));
  try {
    return drop(
      await putTensors(join(folder, 'probe.safetensors'), [tensor('w', 'F32', [50_000], 1)]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

const canSee = await cacheIsVisible();

describe('reading ahead', () => {
  it('asks for all of the files', async () => {
    const c = await openCheckpoint(await put('a.safetensors'));
    expect(await readAhead(c).done).toBe(c.files[0]?.size);
  });

  it('stops, and is harmless where files are gone', async () => {
    const c = await openCheckpoint(await put('b.safetensors'));
    const reading = readAhead(c);
    reading.stop();
    reading.stop();
    expect(await reading.done).toBe(0);
    await rm(c.path);
    expect(await readAhead(c).done).toBe(0);
  });

  it('takes only tables that fit', () => {
    const call = (files: number[], bytes: number[]) => () =>
      native().readAhead({ files: Float64Array.from(files), bytes: Float64Array.from(bytes) });
    expect(call([0], [])).toThrow(TypeError);
    expect(call([-1], [1])).toThrow(TypeError);
    expect(call([0], [-1])).toThrow(TypeError);
  });

  it.skipIf(!canSee)('brings the next candidate’s file while one is evaluated', async () => {
    const names = ['0', '1', '2', '3'].map((n) => `next-${n}.safetensors`);
    const paths = await Promise.all(names.map(put));
    const came: boolean[] = [];
    await greedy(paths, at('soup.safetensors'), {
      order: 'given',
      evaluator: async (soup) => {
        const next = paths[soup.members.length];
        if (next === undefined) return 1;
        // Duplicates are looked for first, which reads a little of all files.
        came.push(await arrives(next, 1_200_000));
        for (const later of paths.slice(soup.members.length + 1)) expect(drop(later)).toBe(true);
        return 1;
      },
    });
    expect(came).toEqual([true, true, true]);
  });
});
