// Inner products of checkpoints: every variant of the kernel gives the same bits, within the stated bound of the exact
// sums, whatever the threads and the memory.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DTYPES, type DType } from '../../lib/checkpoint/dtype.js';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { comparable, type Gram, gramOf } from '../../lib/merge/gram.js';
import { layerOf as groupOf } from '../../lib/merge/groups.js';
import { matchTensors } from '../../lib/merge/match.js';
import { native } from '../../lib/native.js';
import { failure } from '../helpers/errors.js';
import { decode, encode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { put, putTensors, readBack, safetensors, tensor } from '../helpers/safetensors.js';
import { randomNumbers } from '../models/made_up.js';
import { dot, magnitude } from './exact.js';

const at = useFolder();
const UNIT = 2 ** -53;
/** native/kernels/gram.h and gram_job.h; one unit more for each difference's own rounding. */
const BLOCK_BOUND = (512 / 8 + 4 + 2) * UNIT;
const PASS_BOUND = (512 / 8 + 8 + 2) * UNIT;
const FLOATS: DType[] = ['F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2'];

/** What the kernel's vectors are: the first input, and the others less it. */
const differences = (values: readonly number[][]): number[][] =>
  values.map((v, i) => (i === 0 ? v : v.map((x, e) => x - (values[0]?.[e] as number))));

/** Random finite bytes of a type. */
const block = (dtype: DType, n: number, next: () => number): Buffer =>
  dtype.startsWith('F8')
    ? Buffer.from(Array.from({ length: n }, () => Math.floor(Math.abs(next()) * 0x60)))
    : encode(
        dtype,
        Array.from({ length: n }, () => next() * 2 ** Math.round(next() * 8)),
      );

describe('kernels', () => {
  const cases = fc.record({
    n: fc.integer({ min: 1, max: 512 }),
    types: fc.array(fc.constantFrom(...FLOATS), { minLength: 1, maxLength: 11 }),
    seed: fc.nat(),
  });

  it('every variant: the same bits, within the bound of the exact sums', () => {
    const variants = native().variants();
    expect(variants).toContain('plain');
    fc.assert(
      fc.property(cases, ({ n, types, seed }) => {
        const next = randomNumbers(seed);
        const inputs = types.map((t) => block(t, n, next));
        const numbers = types.map((t) => DTYPES.indexOf(t));
        const found = variants.map((v) => native().gramBlock(v, inputs, numbers));
        for (const f of found) expect(f).toEqual(found.at(-1));
        const vectors = differences(inputs.map((b, i) => decode(types[i] as DType, b)));
        let p = 0;
        for (let i = 0; i < types.length; i++) {
          for (let j = i; j < types.length; j++) {
            const [a, b] = [vectors[i] as number[], vectors[j] as number[]];
            const got = found[0]?.[p++] as number;
            expect(Math.abs(got - dot(a, b))).toBeLessThanOrEqual(BLOCK_BOUND * magnitude(a, b));
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('NaN is not lost, in any lane', () => {
    for (const variant of native().variants()) {
      for (const e of [0, 7, 8, 100, 101]) {
        const x = Array.from({ length: 102 }, () => 1);
        x[e] = Number.NaN;
        const found = native().gramBlock(variant, [encode('F32', x)], [DTYPES.indexOf('F32')]);
        expect(found[0]).toBeNaN();
      }
    }
  });
});

const SIZES: [string, DType, number[]][] = [
  ['vit.encoder.layer.0.a.weight', 'F32', [401, 211]],
  ['vit.encoder.layer.0.b.weight', 'F16', [33_333]],
  ['vit.encoder.layer.11.a.weight', 'BF16', [3, 1031]],
  ['head.weight', 'F64', [513]],
  ['head.bias', 'F32', []],
  ['cls_token', 'F32', [1, 0]],
];

/** A checkpoint near a common point. */
async function checkpoint(name: string, seed: number): Promise<string> {
  const common = randomNumbers(7);
  const own = randomNumbers(seed);
  const tensors = SIZES.map(([n, dtype, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return tensor(
      n,
      dtype,
      shape,
      Array.from({ length: count }, () => common() + own() / 50),
    );
  });
  return putTensors(at(name), [...tensors, tensor('position_ids', 'I64', [2], [0, 1])]);
}

async function products(paths: string[], options: Parameters<typeof gramOf>[2] = {}) {
  const checkpoints = [];
  for (const p of paths) checkpoints.push(await openCheckpoint(p));
  const { tensors } = await matchTensors(checkpoints);
  return gramOf(checkpoints, comparable(tensors), options);
}

const pathsOf = (k: number) =>
  Promise.all(Array.from({ length: k }, (_, i) => checkpoint(`c${i}.safetensors`, i + 1)));

const numbersOf = (gram: Gram): number[] =>
  Array.from({ length: gram.k }, (_, i) =>
    Array.from({ length: gram.k }, (_, j) => gram.at(i, j)),
  ).flat();

describe('a pass over files', () => {
  it('the same numbers whatever threads, memory and variant', async () => {
    const paths = await pathsOf(5);
    const first = await products(paths, { threads: 1, groupOf });
    expect(first.groups.map((g) => g.name)).toEqual([
      'vit.encoder.layer.0',
      'vit.encoder.layer.11',
      'head',
      'cls_token',
    ]);
    const all = first.groups.map((g) => numbersOf(g.gram));
    const variants = native().variants();
    const ways = [
      { threads: 2 },
      { threads: 7 },
      { threads: 3, memory: 2 ** 20 },
      ...variants.map((variant) => ({ threads: 2, variant })),
    ];
    for (const way of ways) {
      const { groups } = await products(paths, { ...way, groupOf });
      expect(groups.map((g) => numbersOf(g.gram))).toEqual(all);
    }
  });

  it('within the bound of the exact sums, by group; distances and weights follow', async () => {
    const paths = await pathsOf(4);
    const { groups } = await products(paths, { groupOf });
    const values = await Promise.all(paths.map(async (p) => (await openCheckpoint(p)).tensors));
    expect(groups.map((g) => g.parameters)).toEqual([401 * 211 + 33_333, 3 * 1031, 514, 0]);
    const files = await Promise.all(paths.map(readBack));
    for (const { name, gram } of groups) {
      const names = [...(values[0]?.keys() ?? [])].filter(
        (n) => groupOf(n) === name && n !== 'position_ids',
      );
      const weights = files.map((f) =>
        names.flatMap((n) => {
          const t = f.tensors.get(n);
          return t ? decode(t.dtype, t.bytes) : [];
        }),
      );
      const vectors = differences(weights);
      for (let i = 0; i < 4; i++) {
        for (let j = i; j < 4; j++) {
          const [a, b] = [vectors[i] as number[], vectors[j] as number[]];
          const error = Math.abs(gram.at(i, j) - dot(a, b));
          expect(error).toBeLessThanOrEqual(PASS_BOUND * magnitude(a, b));
          expect(gram.at(j, i)).toBe(gram.at(i, j));
          const [x, y] = [weights[i] as number[], weights[j] as number[]];
          const between = x.map((v, e) => v - (y[e] as number));
          const exact = Math.sqrt(dot(between, between));
          expect(Math.abs(gram.distance(i, j) - exact)).toBeLessThanOrEqual(1e-12 * exact);
          const product = dot(x, y);
          expect(Math.abs(gram.weights(i, j) - product)).toBeLessThanOrEqual(
            1e-13 * magnitude(x, y),
          );
        }
      }
    }
  });

  it('an error does not grow with the number of elements', async () => {
    // 2^23 additions of 0.1² would drift by thousands of units in one chain.
    const n = 2 ** 21;
    const bytes = Buffer.alloc(n * 4);
    for (let i = 0; i < n; i++) bytes.writeFloatLE(0.1, i * 4);
    const path = await put(
      at('long.safetensors'),
      safetensors([{ name: 'w', dtype: 'F32', shape: [n], bytes }]),
    );
    const { groups } = await products([path]);
    const x = Math.fround(0.1);
    const exact = n * (x * x); // a power of two times a rounded square
    const got = groups[0]?.gram.at(0, 0) as number;
    expect(Math.abs(got - exact)).toBeLessThanOrEqual(PASS_BOUND * exact);
  });

  it('NaN and infinity are refused, naming file, tensor, count and index; overflow too', async () => {
    const good = await putTensors(at('good.safetensors'), [tensor('w', 'F32', [2000], 1)]);
    const values = Array.from({ length: 2000 }, (_, i) =>
      i === 700 ? Number.NaN : i === 1999 ? Number.POSITIVE_INFINITY : 1,
    );
    const bad = await putTensors(at('bad.safetensors'), [tensor('w', 'F32', [2000], values)]);
    const error = await failure(products([good, bad, good]), 'NONFINITE');
    expect(error.message).toBe(
      `${bad}: tensor "w" holds 2 NaN or infinite values, the first at index 700`,
    );
    expect(error.details).toHaveLength(1);
    const huge = await putTensors(at('huge.safetensors'), [tensor('w', 'F64', [3], 1e200)]);
    await failure(products([huge]), 'OVERFLOW');
  });

  it('sums that do not fit the memory are refused; a shrunk file is an error; abort ends it', async () => {
    const many = await putTensors(
      at('many.safetensors'),
      Array.from({ length: 3000 }, (_, i) => tensor(`b.${i}.w`, 'F32', [1], i)),
    );
    const twelve = Array<string>(12).fill(many);
    const error = await failure(products(twelve, { groupOf, memory: 2 ** 20 }), 'USAGE');
    expect(error.remedy).toContain('--memory');
    expect((await products(twelve, { groupOf })).groups).toHaveLength(3000);
    const stop = new AbortController();
    stop.abort();
    await failure(products([many, many], { signal: stop.signal }), 'ABORTED');
  });
});

it('groups of tensors, as the contract has them', () => {
  expect(groupOf('vit.encoder.layer.3.attention.query.weight')).toBe('vit.encoder.layer.3');
  expect(groupOf('decoder.block.1.layer.0.SelfAttention.q.weight')).toBe('decoder.block.1');
  expect(groupOf('cls_token')).toBe('cls_token');
  expect(groupOf('patch_embed.proj.weight')).toBe('patch_embed.proj');
  expect(groupOf('blocks.0')).toBe('blocks.0');
  expect(groupOf('layer1.x.weight')).toBe('layer1.x');
});
