import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type UniformOptions, uniform } from '../../lib/index.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { numbers, putTensors, readBack, type Tensor, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const fixture = (name: string) => join(import.meta.dirname, '../fixtures/pytorch', name);
let sets = 0;
async function files(...lists: Tensor[][]): Promise<string[]> {
  const set = `set ${sets++}`;
  return Promise.all(lists.map((list, i) => putTensors(at(set, `${i}.safetensors`), list)));
}
async function soup(ingredients: string[], options: UniformOptions = {}) {
  const out = at(`soup ${sets++}.safetensors`);
  const made = await uniform(ingredients, out, options);
  return { ...made, file: await readBack(out) };
}
const refused = async (
  ingredients: string[],
  options: UniformOptions,
  code: Parameters<typeof failure>[1],
) => failure(uniform(ingredients, at(`soup ${sets++}.safetensors`), options), code);

const two = () => files([tensor('w', 'F64', [2], [1, 10])], [tensor('w', 'F64', [2], [3, 30])]);

describe('behaviour 5: weights', () => {
  it('behaviour 5: are used as they are given, and shown', async () => {
    const { file, weights } = await soup(await two(), { weights: [2, -0.5] });
    expect(numbers(file, 'w')).toEqual([0.5, 5]);
    expect(weights).toEqual([2, -0.5]);
  });

  it('behaviour 5: --normalize divides by their sum', async () => {
    const { file, weights } = await soup(await two(), { weights: [3, 1], normalize: true });
    expect(weights).toEqual([0.75, 0.25]);
    expect(numbers(file, 'w')).toEqual([1.5, 15]);
  });

  it('behaviour 5: --normalize without weights is the plain mean', async () => {
    const paths = await two();
    const plain = await soup(paths);
    const same = await soup(paths, { normalize: true });
    expect(same.weights).toEqual(plain.weights);
    expect(numbers(same.file, 'w')).toEqual([2, 20]);
  });

  it('behaviour 5: normalised equal weights are the mean, bit for bit', async () => {
    const lists = [0.1, 0.7, 0.3].map((x) => [tensor('w', 'F64', [2], [x, x * x])]);
    const paths = await files(...lists);
    const mean = await soup(paths);
    const given = await soup(paths, { weights: [5, 5, 5], normalize: true });
    expect(numbers(given.file, 'w')).toEqual(numbers(mean.file, 'w'));
  });

  it.each([[[1, -1]], [[0, 0]], [[Number.MAX_VALUE, Number.MAX_VALUE]]])(
    'behaviour 5: --normalize refuses %j',
    async (weights) => {
      const error = await refused(await two(), { weights, normalize: true }, 'USAGE');
      expect(error.message).toContain('sum');
      expect(error.remedy).toContain('--normalize');
    },
  );

  it('behaviour 5: weights that sum to 0 are fine as they are', async () => {
    const { file } = await soup(await two(), { weights: [-1, 1] });
    expect(numbers(file, 'w')).toEqual([2, 20]);
  });

  it.each([
    [[1], /one weight an ingredient \(2\) but received 1/],
    [[1, 2, 3], /received 3/],
    [[1, Number.NaN], /NaN/],
    [[1, Number.POSITIVE_INFINITY], /Infinity/],
    [[0, 0], /every weight is 0/],
  ])('behaviour 5: %j are refused', async (weights, message) => {
    expect((await refused(await two(), { weights }, 'USAGE')).message).toMatch(message);
  });

  it('behaviour 4: an ingredient of weight 0 is no member and is not read', async () => {
    const nan = tensor('w', 'F64', [2], [Number.NaN, Number.POSITIVE_INFINITY]);
    const paths = await files([tensor('w', 'F64', [2], [1, 2])], [nan]);
    const made = await soup(paths, { weights: [1, 0] });
    expect(made.members).toEqual([0]);
    expect(made.bytesRead).toBe(16);
    expect(numbers(made.file, 'w')).toEqual([1, 2]);
  });

  it('behaviour 4: a NaN where initialisations are compared refuses nothing by itself', async () => {
    const matrix = (x: number) => [tensor('w', 'F32', [16, 16], x)];
    const paths = await files(matrix(1), matrix(3), matrix(Number.NaN));
    const { file, warnings } = await soup(paths, { weights: [0.5, 0.5, 0] });
    expect(numbers(file, 'w')).toEqual(Array(256).fill(2));
    expect(warnings).toEqual([]);
    const allowed = await soup(paths, { allowNonfinite: true });
    expect(numbers(allowed.file, 'w').every(Number.isNaN)).toBe(true);
    await refused(paths, {}, 'NONFINITE');
  });
});

describe('behaviour 6: integers', () => {
  const ints = ['I64', 'I32', 'I16', 'I8', 'U64', 'U32', 'U16', 'U8', 'BOOL'] as const;

  it.each(ints)('behaviour 6: %s tensors that are equal are copied', async (dtype) => {
    const list = () => [tensor('w', 'F32', [1], 1), tensor('ids', dtype, [3], [1, 0, 1])];
    const { file } = await soup(await files(list(), list(), list()), { dtype: 'bf16' });
    expect(file.tensors.get('ids')?.dtype).toBe(dtype);
    expect(numbers(file, 'ids')).toEqual([1, 0, 1]);
  });

  it.each(ints)('behaviour 6: %s tensors that differ are refused', async (dtype) => {
    const list = (x: number) => [
      tensor('w', 'F32', [1], 1),
      tensor('embeddings.position_ids', dtype, [3], [1, 0, x]),
    ];
    const paths = await files(list(1), list(1), list(0));
    const error = await refused(paths, {}, 'MISMATCH');
    expect(error.file).toBe(paths[2]);
    expect(error.tensor).toBe('embeddings.position_ids');
    expect(error.message).toContain(`differs from ${paths[0]} in 1 element, the first at index 2`);
    expect(error.remedy).toContain('--exclude');
  });

  it('behaviour 6: integers that no double holds are copied and compared exactly', async () => {
    const big = (low: number): Tensor => ({
      name: 'n',
      dtype: 'I64',
      shape: [1],
      bytes: Buffer.from([low, 0, 0, 0, 0, 0, 0x20, 0x40]),
    });
    const { file } = await soup(await files([big(1)], [big(1)]));
    expect(file.tensors.get('n')?.bytes).toEqual(big(1).bytes);
    await refused(await files([big(1)], [big(0)]), {}, 'MISMATCH');
  });

  it('behaviour 6: num_batches_tracked takes the maximum, in any type', async () => {
    for (const dtype of ['I64', 'I32'] as const) {
      const list = (n: number) => [tensor('bn.num_batches_tracked', dtype, [], n)];
      const { file } = await soup(await files(list(3), list(70_000), list(-5)));
      expect(numbers(file, 'bn.num_batches_tracked')).toEqual([70_000]);
    }
  });

  it('behaviour 6: every tensor that differs is listed', async () => {
    const list = (x: number) => [tensor('a', 'I32', [1], x), tensor('b', 'U8', [2], x)];
    const error = await refused(await files(list(1), list(2)), {}, 'MISMATCH');
    expect(error.details.map((d) => d.tensor).sort()).toEqual(['a', 'b']);
    expect(error.message).toContain('(and 1 more)');
  });

  it('behaviour 6: an integer type that differs is refused even where the values agree', async () => {
    const paths = await files([tensor('a', 'I32', [1], 1)], [tensor('a', 'I64', [1], 1)]);
    const error = await refused(paths, {}, 'MISMATCH');
    expect(error.message).toContain('is I64, expected I32');
  });
});

describe('behaviour 7: batch-norm statistics', () => {
  it('behaviour 7: are averaged, with a warning', async () => {
    const list = (x: number) => [
      tensor('bn.running_mean', 'F32', [2], x),
      tensor('bn.running_var', 'F32', [2], x + 2),
    ];
    const { file, warnings } = await soup(await files(list(1), list(3)));
    expect(numbers(file, 'bn.running_mean')).toEqual([2, 2]);
    expect(numbers(file, 'bn.running_var')).toEqual([4, 4]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/Batch-norm/);
  });

  it('behaviour 7: of a PyTorch file too', async () => {
    const { warnings } = await soup([fixture('data_parallel.pt')]);
    expect(warnings.join()).toMatch(/Batch-norm/);
  });

  it('behaviour 7: no warning where there are none, or where they are left out', async () => {
    const list = (x: number) => [
      tensor('w', 'F32', [2], x),
      tensor('bn.running_mean', 'F32', [2], x),
    ];
    const paths = await files(list(1), list(3));
    expect((await soup(paths, { exclude: ['*.running_mean'] })).warnings).toEqual([]);
  });
});

describe('behaviour 8: shapes', () => {
  it.each(['F64', 'F32', 'F16', 'BF16'] as const)('behaviour 8: 0-dim %s', async (dtype) => {
    const list = (x: number) => [tensor('logit_scale', dtype, [], x)];
    const { file } = await soup(await files(list(4), list(6)));
    expect(file.tensors.get('logit_scale')?.shape).toEqual([]);
    expect(numbers(file, 'logit_scale')).toEqual([5]);
  });

  it('behaviour 8: a 0 in the shape', async () => {
    const list = (x: number) => [
      tensor('none', 'F32', [0], []),
      tensor('w', 'F32', [1], x),
      tensor('also', 'F16', [3, 0, 2], []),
      tensor('ids', 'I64', [0, 4], []),
    ];
    const { file, parameters } = await soup(await files(list(1), list(3)));
    expect(file.tensors.get('none')?.shape).toEqual([0]);
    expect(file.tensors.get('also')?.shape).toEqual([3, 0, 2]);
    expect(file.tensors.get('ids')?.shape).toEqual([0, 4]);
    expect(numbers(file, 'w')).toEqual([2]);
    expect(parameters).toBe(1);
  });

  it('behaviour 8: nothing but empty tensors', async () => {
    const list = () => [tensor('none', 'F32', [0], [])];
    const { file, bytesRead } = await soup(await files(list(), list()));
    expect(file.tensors.size).toBe(1);
    expect(bytesRead).toBe(0);
  });

  it('behaviour 8: shapes that differ only where there are no elements still differ', async () => {
    const paths = await files([tensor('w', 'F32', [0, 2], [])], [tensor('w', 'F32', [2, 0], [])]);
    await refused(paths, {}, 'MISMATCH');
  });

  it('behaviour 8: many dimensions', async () => {
    const shape = [1, 2, 1, 1, 3, 1, 1, 1, 2];
    const list = (x: number) => [tensor('w', 'F32', shape, x)];
    const { file } = await soup(await files(list(1), list(2)));
    expect(file.tensors.get('w')?.shape).toEqual(shape);
    expect(numbers(file, 'w')).toEqual(Array(12).fill(1.5));
  });
});
