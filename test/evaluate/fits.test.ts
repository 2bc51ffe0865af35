import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { evaluate, predict, probe } from '../../lib/index.js';
import { packageRoot } from '../../lib/native.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const base = join(packageRoot, 'examples/digits/base');

/** n images of channels × height × width whose pixel (e, c, y, x) does not depend on the size. */
async function images(name: string, shape: [number, number, number, number], dtype = 'F32') {
  const [n, channels, height, width] = shape;
  const values: number[] = [];
  for (let e = 0; e < n; e++)
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) values.push(Math.sin(e * 100 + c * 37 + y * 11 + x * x));
  const pixels = tensor('pixel_values', dtype as 'F32', shape, values);
  return putTensors(at(name), [pixels, tensor('labels', 'I64', [n], Array(n).fill(0))]);
}

describe('data of another shape than the network takes', () => {
  it('is refused, naming the tensor and both shapes', async () => {
    // As many elements as there should be, in another order: would be run, and mean nothing.
    for (const [name, shape] of [
      ['nhwc', [2, 8, 8, 3]],
      ['small', [2, 3, 8, 4]],
      ['large', [2, 3, 16, 16]],
    ] as const) {
      const data = await images(`${name}.safetensors`, [...shape]);
      const error = await failure(evaluate([base], { data }), 'MISMATCH');
      expect(error).toMatchObject({ file: data, tensor: 'pixel_values' });
      expect(error.message).toContain(`found [${shape.slice(1).join(', ')}]`);
      await failure(probe(base, at('head.safetensors'), { data }), 'MISMATCH');
    }
  });

  it('is refused where an input is missing, or an example has no element', async () => {
    const ids = await putTensors(at('ids.safetensors'), [
      tensor('input_ids', 'I64', [1, 2], [1, 2]),
      tensor('labels', 'I64', [1], [0]),
    ]);
    const missing = await failure(evaluate([base], { data: ids }), 'MISMATCH');
    expect(missing).toMatchObject({ file: ids, tensor: 'pixel_values' });
    const none = await images('none.safetensors', [2, 3, 0, 8]);
    await failure(evaluate([base], { data: none }), 'FORMAT');
  });
});

describe('an image that is no multiple of the patch', () => {
  it('is cut as a convolution cuts it: what is left over is in no patch', async () => {
    const config = JSON.parse(await readFile(join(base, 'config.json'), 'utf8'));
    const wider = at('wider');
    await cp(base, wider, { recursive: true });
    await writeFile(join(wider, 'config.json'), JSON.stringify({ ...config, image_size: [9, 8] }));
    const [small, large] = [at('of-8.safetensors'), at('of-9.safetensors')];
    await predict(base, small, { data: await images('a.safetensors', [3, 3, 8, 8]) });
    await predict(wider, large, { data: await images('b.safetensors', [3, 3, 9, 8]) });
    expect((await readBack(large)).tensors).toEqual((await readBack(small)).tensors);
  });
});
