import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DTYPES,
  type DType,
  openCheckpoint,
  type UniformOptions,
  uniform,
} from '../../lib/index.js';
import { bytesOf, decode, encode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import {
  asObject,
  numbers,
  put,
  putShards,
  type ReadFile,
  readBack,
  readShards,
  safetensors,
  type Tensor,
  tensor,
} from '../helpers/safetensors.js';

const at = useFolder();
let files = 0;
const fresh = (ending = '.safetensors') => at(`${files++}${ending}`);
const RUNS = { numRuns: 40 };

const oddNames = fc.constantFrom(
  '__proto__',
  'constructor',
  'toString',
  '0',
  '10',
  '-1',
  '',
  '.',
  '..',
  '/',
  '🍲.weight',
  'a"b\\c',
  'new\nline',
  'module',
  'weight ',
  'é',
  'e\u0301',
  '\ud800',
  'length',
);
const plainName = fc.stringMatching(/^[a-z]{1,5}(\.\d{1,2})?\.(weight|bias)$/);
// What has a meaning of its own is tested by itself.
const MEANING =
  /^__metadata__$|^(module|_orig_mod|model)\.|num_batches_tracked$|LayerNorm|\.(SCB|g_idx|absmax)$/;
const anyName = fc
  .oneof(oddNames, plainName, fc.string({ maxLength: 8 }))
  .filter((name) => !MEANING.test(name));
const floats = DTYPES.filter((d) => d.startsWith('F') || d === 'BF16');

/** Elements of a type from random bytes, all finite and far from overflow. */
function elements(dtype: DType, count: number, seed: Uint8Array): Buffer {
  const raw = Buffer.alloc(count * bytesOf(dtype));
  // Xorshift, so that few random bytes give many.
  let state = seed.reduce((x, b) => (x * 31 + b) >>> 0, 1) || 1;
  for (let i = 0; i < raw.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    raw[i] = state;
  }
  if (dtype === 'BOOL') return Buffer.from(raw.map((b) => b & 1));
  if (!floats.includes(dtype)) return raw;
  return encode(
    dtype,
    decode(dtype, raw).map((x) => (Math.abs(x) < 1e300 ? x : 1)),
  );
}

interface Described {
  name: string;
  dtype: DType;
  shape: number[];
}
interface Model {
  described: Described[];
  seeds: Uint8Array[];
  /** Some order of the tensors, one an ingredient. */
  orders: number[][];
  padding: number;
}

/** The tensors of the i-th ingredient; integers are equal in all. */
const ingredient = ({ described, seeds }: Model, i: number): Tensor[] =>
  described.map((d, j) => {
    const seed = floats.includes(d.dtype) ? (seeds[i] as Uint8Array) : Buffer.of(1);
    const count = d.shape.reduce((n, x) => n * x, 1);
    return { ...d, bytes: elements(d.dtype, count, Buffer.of(j, ...seed)) };
  });

/** What k ingredients have in common, and what makes them differ. */
const models = (k: number): fc.Arbitrary<Model> =>
  fc
    .uniqueArray(
      fc.record({
        name: anyName,
        dtype: fc.constantFrom(...DTYPES.filter((d) => !d.startsWith('F8'))),
        shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
      }),
      { minLength: 1, maxLength: 7, selector: (t) => t.name },
    )
    .chain((described) => {
      const places = described.map((_, i) => i);
      const n = places.length;
      return fc.record({
        described: fc.constant(described),
        seeds: fc.array(fc.uint8Array({ minLength: 4, maxLength: 4 }), {
          minLength: k,
          maxLength: k,
        }),
        orders: fc.array(fc.shuffledSubarray(places, { minLength: n, maxLength: n }), {
          minLength: k,
          maxLength: k,
        }),
        padding: fc.nat(20),
      });
    });

const asFile = (tensors: readonly Tensor[]) => ({
  tensors: new Map(tensors.map((t) => [t.name, t])),
  metadata: {},
});
const inOrder = (tensors: readonly Tensor[], places: readonly number[]) =>
  places.map((i) => tensors[i] as Tensor);

/** The i-th ingredient as a file, its tensors and its header in other orders. */
const write = (model: Model, i: number): Promise<string> => {
  const tensors = inOrder(ingredient(model, i), model.orders[i] as number[]);
  const headerOrder = model.orders[(i + 1) % model.orders.length] as number[];
  return put(fresh(), safetensors(tensors, { headerOrder, padding: model.padding }));
};
/** The i-th ingredient as a folder of shards, cut after so many tensors. */
const writeShards = (model: Model, i: number, cut: number): Promise<string> => {
  const tensors = inOrder(ingredient(model, i), model.orders[i] as number[]);
  const shards = [tensors.slice(0, cut), tensors.slice(cut)].filter((s) => s.length > 0);
  return putShards(fresh(''), shards);
};
async function soup(paths: string[], options: UniformOptions = {}): Promise<ReadFile> {
  const out = fresh();
  await uniform(paths, out, options);
  return readBack(out);
}

describe('properties', () => {
  it('reading gives what was written, and a soup of one is the same bits', async () => {
    const property = fc.asyncProperty(models(1), async (model) => {
      const tensors = ingredient(model, 0);
      const path = await write(model, 0);
      const open = await openCheckpoint(path);
      expect(open.tensors.size).toBe(tensors.length);
      for (const t of tensors)
        expect(open.tensors.get(t.name)).toMatchObject({ dtype: t.dtype, shape: t.shape });
      expect(asObject(await soup([path]))).toEqual(asObject(asFile(tensors)));
    });
    await fc.assert(property, RUNS);
  });

  it('behaviour 1: copies of a model give that model, bit for bit', async () => {
    const property = fc.asyncProperty(
      models(1),
      fc.integer({ min: 2, max: 9 }),
      async (model, k) => {
        const path = await write(model, 0);
        const made = await soup(Array<string>(k).fill(path));
        expect(asObject(made)).toEqual(asObject(asFile(ingredient(model, 0))));
      },
    );
    await fc.assert(property, RUNS);
  });

  it('behaviour 1: equal weights do not depend on the order of the ingredients', async () => {
    const property = fc.asyncProperty(
      models(4),
      fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4, maxLength: 4 }),
      async (model, order) => {
        const paths = await Promise.all([0, 1, 2, 3].map((i) => write(model, i)));
        const made = await soup(paths);
        const other = await soup(order.map((i) => paths[i] as string));
        expect(asObject(other)).toEqual(asObject(made));
      },
    );
    await fc.assert(property, RUNS);
  });

  it('behaviour 1: the mean is the float64 sum, divided once, where the sum is exact', async () => {
    const property = fc.asyncProperty(models(3), async (model) => {
      const paths = await Promise.all([0, 1, 2].map((i) => write(model, i)));
      const made = await soup(paths);
      const all = [0, 1, 2].map((i) => ingredient(model, i));
      for (const [j, { name, dtype }] of model.described.entries()) {
        if (dtype !== 'F16') continue;
        const [a, b, c] = all.map((list) => decode(dtype, (list[j] as Tensor).bytes)) as number[][];
        const mean = a?.map((x, i) => (x + (b?.[i] as number) + (c?.[i] as number)) / 3);
        expect(made.tensors.get(name)?.bytes).toEqual(encode(dtype, mean as number[]));
      }
    });
    await fc.assert(property, RUNS);
  });

  it('behaviour 18: ingredients sharded differently give the same tensors', async () => {
    const property = fc.asyncProperty(
      models(2),
      fc.nat(7),
      fc.nat(7),
      fc.integer({ min: 1, max: 100 }),
      async (model, cutA, cutB, maxShardSize) => {
        const whole = await soup([await write(model, 0), await write(model, 1)]);
        const parts = [await writeShards(model, 0, cutA), await writeShards(model, 1, cutB)];
        expect(asObject(await soup(parts))).toEqual(asObject(whole));
        const out = fresh('');
        await uniform(parts, out, { maxShardSize });
        const written = (await readdir(out)).includes('model.safetensors')
          ? await readBack(join(out, 'model.safetensors'))
          : await readShards(out);
        expect(asObject(written)).toEqual(asObject(whole));
      },
    );
    await fc.assert(property, RUNS);
  });

  it('behaviour 5: weights of 1 and 0 give the one ingredient', async () => {
    const property = fc.asyncProperty(models(3), fc.nat(2), async (model, chosen) => {
      const paths = await Promise.all([0, 1, 2].map((i) => write(model, i)));
      const weights = [0, 1, 2].map((i) => (i === chosen ? 1 : 0));
      const made = await soup(paths, { weights });
      expect(asObject(made)).toEqual(asObject(asFile(ingredient(model, chosen))));
    });
    await fc.assert(property, RUNS);
  });

  it('behaviour 5: weights times a power of two give a soup times it', async () => {
    const numbersOf = fc.array(
      fc.integer({ min: -1e6, max: 1e6 }).map((n) => n / 7),
      { minLength: 3, maxLength: 3 },
    );
    const weight = fc.integer({ min: 1, max: 1000 }).map((n) => n / 333);
    const property = fc.asyncProperty(
      numbersOf,
      numbersOf,
      fc.tuple(weight, weight),
      fc.integer({ min: -8, max: 8 }),
      async (a, b, weights, power) => {
        const paths = await Promise.all(
          [a, b].map((values) => put(fresh(), safetensors([tensor('w', 'F64', [3], values)]))),
        );
        const plain = numbers(await soup(paths, { weights }), 'w');
        const scaled = weights.map((w) => w * 2 ** power);
        const made = numbers(await soup(paths, { weights: scaled }), 'w');
        expect(made.map((x) => x / 2 ** power)).toEqual(plain);
      },
    );
    await fc.assert(property, RUNS);
  });
});
