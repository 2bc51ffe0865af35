// uniform --device cuda from disk to disk on a device that is this processor (host_backend.cc): the bytes, hashes,
// findings and failures are those of --device cpu.
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type StockpotError, uniform, verify } from '../../lib/index.js';
import { makeSoup } from '../../lib/soup/make.js';
import { useFolder } from '../helpers/folder.js';
import { putShards, putTensors, tensor } from '../helpers/safetensors.js';
import { useHostBackend } from './host_backend.js';

const at = useFolder();
const backend = useHostBackend();
let files = 0;
const fresh = (name = 'x.safetensors') => at(`${files++}`, name);

beforeAll(() => {
  process.env.STOCKPOT_CUDA_LIBRARY = backend.library;
});
afterAll(() => {
  delete process.env.STOCKPOT_CUDA_LIBRARY;
  delete process.env.STOCKPOT_TEST_BACKEND;
});

/** Numbers like weights that are the same in every run. */
function numbers(n: number, seed: number): number[] {
  let state = seed * 2654435761;
  return Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) / 7;
  });
}

type Change = (name: string, values: number[]) => number[];

/** Tensors of all kinds, among them odd sizes, an empty one and a scalar. */
const model = (seed: number, change: Change = (_, v) => v) => {
  const float = (name: string, dtype: 'F32' | 'F16' | 'BF16' | 'F64', shape: number[]) =>
    tensor(
      name,
      dtype,
      shape,
      change(
        name,
        numbers(
          shape.reduce((a, b) => a * b, 1),
          seed,
        ),
      ),
    );
  return [
    float('a.double', 'F64', [5]),
    float('b.weight', 'F32', [130, 77]),
    float('c.bias', 'F32', [3]),
    tensor('d.ids', 'I64', [9], 7),
    float('e.half', 'F16', [33, 1001]),
    tensor('f.empty', 'F32', [0, 4], []),
    float('g.brain', 'BF16', [4097]),
    tensor('h.num_batches_tracked', 'I64', [], seed),
    float('i.scalar', 'F32', []),
  ];
};

const ingredients = (k: number, change?: (i: number) => Change) =>
  Promise.all(Array.from({ length: k }, (_, i) => putTensors(fresh(), model(i + 1, change?.(i)))));

/** Makes a soup on both and compares everything but times. */
async function both(paths: string[], options: Parameters<typeof makeSoup>[3]) {
  const made = [];
  for (const device of ['cpu', 'cuda']) {
    const out = fresh('soup.safetensors');
    const soup = await makeSoup('uniform', paths, out, { ...options, device });
    made.push({ soup, bytes: await readFile(out) });
  }
  const [cpu, cuda] = made as [(typeof made)[0], (typeof made)[0]];
  expect(cuda.bytes.equals(cpu.bytes)).toBe(true);
  expect(cuda.soup.sha256).toBe(cpu.soup.sha256);
  expect(cuda.soup.warnings).toEqual(cpu.soup.warnings);
  return cuda.soup;
}

describe('the same bytes as on the processor', () => {
  it.each([1, 2, 3, 5, 9])('of %d ingredients', async (k) => {
    await both(await ingredients(k), {});
  });

  it.each([
    { threads: 1 },
    { threads: 1, memory: 2 ** 20 },
    { threads: 5, memory: 2 ** 20 },
    { threads: 2, tuning: { chunkBytes: 4096 } },
    { threads: 4, tuning: { chunkBytes: 1000 } },
    { tuning: { chunkBytes: 1 << 20 } },
  ])('with %o', async (options) => {
    await both(await ingredients(4), options);
  });

  it.each(['f32', 'f16', 'bf16'] as const)('as %s', async (dtype) => {
    await both(await ingredients(3), { dtype });
  });

  it('with weights, one of them 0', async () => {
    await both(await ingredients(3), { weights: [0.25, 0, 1.5] });
  });

  it.each([1, 3])('with the hashes of the ingredients, %d threads', async (threads) => {
    await both(await ingredients(3), { hash: true, threads, tuning: { chunkBytes: 4096 } });
  });

  it('of shards, mixed types, and tensors in another order', async () => {
    const a = await putTensors(fresh(), model(1));
    const b = at(`${files++}`);
    await putShards(b, [model(2).slice(4).reverse(), model(2).slice(0, 4)]);
    const c = await putTensors(
      fresh(),
      model(3).map((t) =>
        t.name === 'b.weight' ? tensor(t.name, 'BF16', t.shape, numbers(10010, 9)) : t,
      ),
    );
    await both([a, b, c], {});
  });

  it('where NaN and infinity are let through', async () => {
    const change = (i: number) => (name: string, v: number[]) =>
      name === 'e.half' && i === 1
        ? v.map((x, j) => (j === 20000 ? Number.NaN : j === 30000 ? Number.POSITIVE_INFINITY : x))
        : v;
    const soup = await both(await ingredients(3, change), { allowNonfinite: true });
    expect(soup.warnings.join()).toContain('2 NaN or infinite values, the first at index 20000');
  });

  it('where exponents lie so far apart that float64 sums are not exact', async () => {
    const change = (i: number) => (_: string, v: number[]) =>
      v.map((x, j) => ((i + j) % 3 ? x * 2 ** -40 : x));
    await both(await ingredients(5, change), {});
  });
});

it('verify proves it, on either', async () => {
  const out = fresh('soup.safetensors');
  await uniform(await ingredients(3), out, { device: 'cuda:0', hash: true });
  for (const device of ['cpu', 'cuda']) expect((await verify(out, { device })).verified).toBe(true);
});

const failure = (promise: Promise<unknown>): Promise<StockpotError> =>
  promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (e) => e,
  );

it('refuses NaN as the processor does', async () => {
  const change = (i: number) => (name: string, v: number[]) =>
    i === 1 && name === 'b.weight' ? v.map((x, j) => (j === 77 ? Number.NaN : x)) : v;
  const paths = await ingredients(3, change);
  const cpu = await failure(uniform(paths, fresh(), {}));
  const cuda = await failure(uniform(paths, fresh(), { device: 'cuda' }));
  expect(cuda).toMatchObject({ code: 'NONFINITE', file: paths[1], tensor: 'b.weight' });
  expect(cuda.message).toBe(cpu.message);
});

it('refuses overflow as the processor does', async () => {
  const paths = await ingredients(2, () => (_, v) => v.map((x) => x + 60000));
  const options = { weights: [1, 1], dtype: 'f16' } as const;
  const cpu = await failure(uniform(paths, fresh(), options));
  const cuda = await failure(uniform(paths, fresh(), { ...options, device: 'cuda' }));
  expect(cuda.code).toBe('OVERFLOW');
  expect(cuda.message).toBe(cpu.message);
  expect(cpu.remedy).toContain('--dtype f32 or bf16');
  // No type that is written is wider.
  const wide = { weights: [1e38, 1e38], dtype: 'f32' } as const;
  expect((await failure(uniform(paths, fresh(), wide))).remedy).toMatch(/smaller --weights/);
});

it.each([
  ['no-memory', /out of memory \(asked for .* GB, free are 0.00 GB\)/, '--memory'],
  ['fail-copy', /copying: it fell off/, '--device cpu'],
])('a device that fails is an error that says so: %s', async (pretends, words, remedy) => {
  process.env.STOCKPOT_TEST_BACKEND = pretends;
  const error = await failure(uniform(await ingredients(3), fresh(), { device: 'cuda' }));
  process.env.STOCKPOT_TEST_BACKEND = '';
  expect(error.code).toBe('DEVICE');
  expect(error.message).toMatch(words);
  expect(error.remedy).toContain(remedy);
});

it('can be aborted at any moment, and goes on after', async () => {
  const paths = await ingredients(6);
  for (const after of [0, 1, 3, 10, 30]) {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), after);
    const run = makeSoup('uniform', paths, fresh(), {
      device: 'cuda',
      signal: stop.signal,
      tuning: { chunkBytes: 512 },
    });
    await run.catch((e) => expect(e.code).toBe('ABORTED'));
  }
  await both(paths, {});
});
