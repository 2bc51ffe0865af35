import type { DType } from '../../lib/checkpoint/dtype.js';
import { showShape } from '../../lib/checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../../lib/checkpoint/types.js';

export interface MadeUp {
  shape: readonly number[];
  data: Float64Array;
}

/** Tensors by name, in the order in which they were made. */
export type Tensors = Map<string, MadeUp>;

/** Numbers that look random and are the same every time, between -1 and 1. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** Random tensors of the given shapes; norms' weights lie around 1. */
export function makeUp(shapes: Readonly<Record<string, readonly number[]>>, seed = 1): Tensors {
  const next = randomNumbers(seed);
  return new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const centre = /norm\w*\.weight$/i.test(name) ? 1 : 0;
      const data = Float64Array.from(
        { length: shape.reduce((n, d) => n * d, 1) },
        () => centre + 0.5 * next(),
      );
      return [name, { shape, data }];
    }),
  );
}

export const weightsOf = (tensors: Tensors): Map<string, Float64Array> =>
  new Map([...tensors].map(([name, t]) => [name, t.data]));

/** A checkpoint's structure, without a file. */
export function checkpointOf(
  tensors: ReadonlyMap<string, { shape: readonly number[]; dtype?: DType }>,
  tied: readonly (readonly string[])[] = [],
): Checkpoint {
  const entries = [...tensors].map(([name, { shape, dtype = 'F32' }]): [string, TensorEntry] => [
    name,
    { name, dtype, shape, file: 0, offset: 0 },
  ]);
  return {
    path: 'made-up',
    format: 'safetensors',
    files: [],
    tensors: new Map(entries),
    metadata: {},
    tied,
    notes: [],
  };
}

/** The tensors under other names; null leaves one out. */
export const renamed = (tensors: Tensors, rename: (name: string) => string | null): Tensors =>
  new Map(
    [...tensors].flatMap(([name, t]): [string, MadeUp][] => {
      const other = rename(name);
      return other === null ? [] : [[other, t]];
    }),
  );

/** Takes tensors out and gives one with their elements one after another, along the first dimension. */
export function fuse(tensors: Tensors, names: readonly string[]): MadeUp {
  const parts = names.map((name) => {
    const part = tensors.get(name);
    if (!part) throw new Error(`no tensor ${name}`);
    tensors.delete(name);
    return part;
  });
  const [first] = parts as [MadeUp];
  if (parts.some((p) => showShape(p.shape) !== showShape(first.shape))) throw new Error('shapes');
  return {
    shape: [(first.shape[0] as number) * parts.length, ...first.shape.slice(1)],
    data: Float64Array.from(parts.flatMap((p) => [...p.data])),
  };
}

export function transposed({ shape, data }: MadeUp): MadeUp {
  const [n = 0, m = 0] = shape;
  return {
    shape: [m, n],
    data: Float64Array.from(
      { length: n * m },
      (_, i) => data[(i % n) * m + Math.floor(i / n)] ?? 0,
    ),
  };
}
