// Inputs that change after a run has looked at them: an error, at whatever step, and no soup.
import { cpSync, utimesSync } from 'node:fs';
import { mkdir, open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tensorFile } from '../../lib/data/tensor_file.js';
import { greedy, learned, nativeEvaluator } from '../../lib/index.js';
import { root } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const digits = join(root, 'examples/digits');
const touch = (path: string) => utimesSync(path, 5, 5);

describe('behaviour 21: an ingredient changes', () => {
  it('while a greedy recipe evaluates soups', async () => {
    const [a, b] = await Promise.all(
      ['a', 'b'].map((n) => putTensors(at(`${n}.safetensors`), [tensor('w', 'F32', [2], 1)])),
    );
    await mkdir(at('greedy'));
    let asked = 0;
    const evaluator = async () => {
      if (++asked === 2) touch(b as string);
      return 1;
    };
    const soup = greedy([a as string, b as string], at('greedy/soup'), { evaluator });
    expect((await failure(soup, 'CHANGED')).file).toBe(b);
    expect(asked).toBeGreaterThan(1);
    expect(await listing(at('greedy'))).toEqual([]);
  });

  it('between the steps of a learned recipe', async () => {
    const paths = ['ft00', 'ft01'].map((name) => at('learned', name));
    for (const path of paths)
      cpSync(join(digits, 'ingredients', path.split('/').at(-1) as string), path, {
        recursive: true,
      });
    const file = join(paths[1] as string, 'model.safetensors');
    const evaluator = await nativeEvaluator(paths, { data: join(digits, 'heldout') });
    try {
      const onStep = ({ step }: { step: number }) => {
        if (step === 1) touch(file);
      };
      const soup = learned(paths, at('learned/soup'), { evaluator, steps: 3, onStep });
      expect((await failure(soup, 'CHANGED')).file).toBe(file);
    } finally {
      await evaluator.close();
    }
    expect(await listing(at('learned'))).toEqual(['ft00', 'ft01']);
  });
});

describe('behaviour 21: data that are read from their file when they are wanted', () => {
  const SIZE = 8;
  const put = (name: string) =>
    putTensors(at(name), [
      tensor('labels', 'I64', [2], 0),
      tensor('pixel_values', 'F32', [2, 3, SIZE, SIZE], 1),
    ]);

  it('are written to', async () => {
    const path = await put('written.safetensors');
    const data = await tensorFile(path, { cacheMemory: 0 });
    await data.batch([0, 1]);
    const handle = await open(path, 'r+');
    const { size } = await handle.stat();
    await handle.write(Buffer.of(1), 0, 1, size - 1);
    await handle.close();
    touch(path);
    expect((await failure(data.batch([0, 1]), 'CHANGED')).file).toBe(path);
    await data.close();
  });

  it('shrink', async () => {
    const path = await put('shrunk.safetensors');
    const data = await tensorFile(path, { cacheMemory: 0 });
    await truncate(path, 400);
    const error = await failure(data.batch([0, 1]), 'IO');
    expect(error.message).toBe(`${path}: the file became shorter while it was read`);
    await data.close();
  });
});
