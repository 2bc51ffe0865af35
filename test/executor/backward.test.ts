// The backward pass of every operation, against central differences of the float64 interpreter of the graph.
import { describe, expect, it } from 'vitest';
import type { Activation, Graph, Op } from '../../lib/models/graph.js';
import { native } from '../../lib/native.js';
import { useFolder } from '../helpers/folder.js';
import { randomNumbers } from '../models/made_up.js';
import { runGraph } from '../models/reference.js';
import { loadWeights } from './load.js';

const at = useFolder();
const BATCH = 3;

interface Case {
  graph: Graph;
  /** Integers below this number in integer inputs. */
  ids?: number;
  /** A weight is used by several operations. */
  tied?: boolean;
}

type Shape = [rows: number, columns: number];

/** A small graph in which every value's size is given with the operation that makes it. */
function graph(
  inputs: Graph['inputs'],
  weights: Record<string, number[]>,
  ops: readonly (readonly [Op, Shape])[],
): Graph {
  return {
    inputs,
    weights: Object.entries(weights).map(([name, shape]) => ({ name, shape })),
    values: ops.map(([, [rows, columns]]) => ({ rows, columns })),
    ops: ops.map(([op]) => op),
    output: ops.length - 1,
  };
}

const pixels = (shape: number[]): Graph['inputs'][0] => ({
  name: 'pixel_values',
  dtype: 'f32',
  shape,
  shared: false,
});
const tokens = (n: number): Graph['inputs'][0] => ({
  name: 'input_ids',
  dtype: 'i32',
  shape: [n],
  shared: false,
});

/** Patches [4, 12] through a linear layer [4, d]: what most cases begin with. Values 0 and 1; weight 0. */
const image = pixels([3, 4, 4]);
const start = (d: number): (readonly [Op, Shape])[] => [
  [{ op: 'patches', input: 0, channels: 3, height: 4, width: 4, patch: 2, out: 0 }, [4, 12]],
  [{ op: 'linear', x: 0, weight: 0, transposed: false, activation: 'none', out: 1 }, [4, d]],
];
const linear = (activation: Activation, more: object, transposed = false): Case => ({
  graph: graph(
    [image],
    {
      first: [6, 12],
      w: transposed ? [6, 5] : [5, 6],
      b: [5],
      scale: [5],
      up: [5, 6],
      residual: [5, 6],
    },
    [
      ...start(6),
      [{ op: 'linear', x: 1, weight: 4, transposed: false, activation: 'none', out: 2 }, [4, 5]],
      [{ op: 'linear', x: 1, weight: 5, transposed: false, activation: 'none', out: 3 }, [4, 5]],
      [{ op: 'linear', x: 1, weight: 1, transposed, bias: 2, activation, ...more, out: 4 }, [4, 5]],
      // What is multiplied and added is used by others too.
      [{ op: 'add', a: 3, b: 4, out: 5 }, [4, 5]],
      [{ op: 'add', a: 5, b: 2, out: 6 }, [4, 5]],
      [{ op: 'mean_rows', x: 6, from: 1, out: 7 }, [1, 5]],
    ],
  ),
});

/** Attention whose queries, keys and values are value 1's columns, `width` each. */
const fused = (width: number) => ({
  op: 'attention' as const,
  q: 1,
  k: 1,
  v: 1,
  q_column: 0,
  k_column: width,
  v_column: 2 * width,
  heads: 2,
  width: 8,
  scale: 0.4,
  groups: 1,
  shared_kv: false,
  causal: false,
});

const attention = (more: object, weights: Record<string, number[]> = {}): Case => ({
  graph: graph([image], { first: [48, 12], ...weights }, [
    ...start(48),
    [
      {
        ...fused(16),
        out: 2,
        ...more,
      },
      [4, 16],
    ],
    [{ op: 'mean_rows', x: 2, from: 0, out: 3 }, [1, 16]],
  ]),
});

/** More rows than are done at a time. */
const long: Case = {
  graph: graph([pixels([1, 24, 24])], { first: [24, 4] }, [
    [{ op: 'patches', input: 0, channels: 1, height: 24, width: 24, patch: 2, out: 0 }, [144, 4]],
    [{ op: 'linear', x: 0, weight: 0, transposed: false, activation: 'none', out: 1 }, [144, 24]],
    [{ ...fused(8), heads: 1, causal: true, out: 2 }, [144, 8]],
    [{ op: 'mean_rows', x: 2, from: 0, out: 3 }, [1, 8]],
  ]),
};

const rowwise = (op: Op, weights: Record<string, number[]> = {}): Case => ({
  graph: graph([image], { first: [6, 12], ...weights }, [
    ...start(6),
    [op, [4, 6]],
    // Its input is used by another as well.
    [{ op: 'add', a: 1, b: 2, out: 3 }, [4, 6]],
    [{ op: 'mean_rows', x: 3, from: 0, out: 4 }, [1, 6]],
  ]),
});

const CASES: Record<string, Case> = {
  'linear without anything': linear('none', {}),
  'linear, transposed': linear('none', {}, true),
  ...Object.fromEntries(
    (['gelu', 'gelu_tanh', 'quick_gelu', 'relu', 'tanh', 'silu'] as const).map((a) => [
      `linear, ${a}`,
      linear(a, {}),
    ]),
  ),
  'linear with residual': linear('none', { residual: 3 }),
  'linear with all': linear('gelu', { scale: 3, multiply: 2, residual: 3 }),
  'linear, gated, its own branch as the residual': linear('silu', { multiply: 2, residual: 2 }),
  'linear, LayerScale': linear('none', { scale: 3, residual: 3 }),
  layer_norm: rowwise(
    { op: 'layer_norm', x: 1, weight: 1, bias: 2, epsilon: 1e-5, out: 2 },
    { w: [6], b: [6] },
  ),
  rms_norm: rowwise({ op: 'rms_norm', x: 1, weight: 1, epsilon: 1e-6, out: 2 }, { w: [6] }),
  l2_normalize: rowwise({ op: 'l2_normalize', x: 1, out: 2 }),
  'scale by a number': rowwise({ op: 'scale', x: 1, by: 0.7, out: 2 }),
  'scale by exp of a weight': rowwise({ op: 'scale', x: 1, by: 0.7, exp: 1, out: 2 }, { s: [] }),
  add_rows: rowwise({ op: 'add_rows', x: 1, table: 1, first: 2, out: 2 }, { t: [1, 6, 6] }),
  add_row: rowwise({ op: 'add_row', x: 1, table: 1, row: 1, out: 2 }, { t: [3, 6] }),
  'add of a value to itself': rowwise({ op: 'add', a: 1, b: 1, out: 2 }),
  attention: attention({}),
  'attention, causal': attention({ causal: true }),
  'attention with relative positions': attention(
    { bias: { table: 1, buckets: Array.from({ length: 16 }, (_, i) => (i * 5) % 3) } },
    { bias: [3, 2] },
  ),
  'attention in groups': attention({ groups: 2 }),
  'attention over many rows': long,
  prepend_row: {
    graph: graph([image], { first: [6, 12], token: [1, 1, 6] }, [
      ...start(6),
      [{ op: 'prepend_row', x: 1, row: 1, out: 2 }, [5, 6]],
      [{ op: 'select_row', x: 2, index: 0, out: 3 }, [1, 6]],
      [{ op: 'select_row', x: 2, index: 3, out: 4 }, [1, 6]],
      [{ op: 'add', a: 3, b: 4, out: 5 }, [1, 6]],
    ]),
  },
  'embedding, a tied output, keys for all groups, the mask, rows by ids': {
    ids: 7,
    tied: true,
    graph: graph(
      [
        tokens(4),
        { name: 'attention_mask', dtype: 'i32', shape: [4], shared: false },
        { name: 'decoder_input_ids', dtype: 'i32', shape: [6], shared: true },
        { name: 'label_targets', dtype: 'i32', shape: [3, 2], shared: true },
      ],
      { table: [7, 16], q: [16, 16], p: [16, 16] },
      [
        [{ op: 'embedding', input: 0, table: 0, out: 0 }, [4, 16]],
        [{ op: 'embedding', input: 2, table: 0, out: 1 }, [6, 16]],
        [{ op: 'linear', x: 1, weight: 1, transposed: false, activation: 'none', out: 2 }, [6, 16]],
        [
          {
            op: 'attention',
            q: 2,
            k: 0,
            v: 0,
            q_column: 0,
            k_column: 0,
            v_column: 0,
            heads: 2,
            width: 8,
            scale: 1,
            groups: 3,
            shared_kv: true,
            causal: false,
            mask: 1,
            out: 3,
          },
          [6, 16],
        ],
        [{ op: 'linear', x: 3, weight: 0, transposed: false, activation: 'none', out: 4 }, [6, 7]],
        [{ op: 'log_likelihood', x: 4, input: 3, classes: 3, out: 5 }, [1, 3]],
        [{ op: 'select_row_by_id', x: 0, input: 0, equal: null, out: 6 }, [1, 16]],
        [{ op: 'select_row_by_id', x: 0, input: 0, equal: 2, out: 7 }, [1, 16]],
        [
          {
            op: 'linear',
            x: 6,
            weight: 2,
            transposed: true,
            activation: 'none',
            residual: 7,
            out: 8,
          },
          [1, 16],
        ],
        [{ op: 'similarity', x: 8, input: 4, out: 9 }, [1, 3]],
        [{ op: 'add', a: 5, b: 9, out: 10 }, [1, 3]],
      ],
    ),
  },
};
CASES['embedding, a tied output, keys for all groups, the mask, rows by ids']?.graph.inputs.push({
  name: 'class_features',
  dtype: 'f32',
  shape: [3, 16],
  shared: true,
});

/** Inputs, weights and coefficients of the loss Σ c·output. */
function numbersFor({ graph, ids = 2 }: Case, seed: number) {
  const next = randomNumbers(seed);
  const real = (n: number) => Float32Array.from({ length: n }, () => next());
  const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const inputs = Object.fromEntries(
    graph.inputs.map(({ name, dtype, shape, shared }) => {
      const n = product(shape) * (shared ? 1 : BATCH);
      let data: Float32Array | Int32Array = real(n);
      if (dtype === 'i32') data = Int32Array.from(data, (x) => Math.floor(((x + 1) / 2) * ids));
      if (name === 'attention_mask') data = data.map((_, i) => Number(i % 4 !== 2)) as Int32Array;
      if (name === 'input_ids') for (let e = 0; e < BATCH; e++) data[4 * e + 1] = 2;
      if (name === 'label_targets') data[1] = -1;
      return [name, { shape: shared ? shape : [BATCH, ...shape], data }];
    }),
  );
  const weights = new Map(graph.weights.map((w) => [w.name, real(product(w.shape))]));
  const out = graph.values[graph.output]?.columns as number;
  return { inputs, weights, coefficients: real(BATCH * out) };
}

/** Natively: the gradient of every weight, by name, and of class features. */
async function gradients(
  name: string,
  { graph }: Case,
  { inputs, weights, coefficients }: ReturnType<typeof numbersFor>,
  { variant = '', threads = 1, floats = Number.MAX_SAFE_INTEGER, parts = [BATCH] } = {},
) {
  const { handle } = native().createNetwork(graph, BATCH, threads, variant, floats);
  await loadWeights(at(`${name.replaceAll('/', ' ')}.safetensors`), graph, weights, handle);
  const columns = coefficients.length / BATCH;
  let from = 0;
  for (const batch of parts) {
    const arrays = graph.inputs.map(({ name, shared, shape }) => {
      const data = inputs[name]?.data as Float32Array;
      const n = shape.reduce((a, b) => a * b, 1);
      return shared ? data : data.slice(from * n, (from + batch) * n);
    });
    const out = new Float32Array(batch * columns);
    await native().forward(handle, arrays, batch, out).promise;
    const dout = coefficients.slice(from * columns, (from + batch) * columns);
    await native().backward(handle, arrays, batch, dout, from === 0).promise;
    from += batch;
  }
  const features = graph.inputs.findIndex((i) => i.name === 'class_features');
  return {
    ...Object.fromEntries(graph.weights.map((w, i) => [w.name, native().gradient(handle, i)])),
    ...(features >= 0 && { class_features: native().inputGradient(handle, features) }),
  } as Record<string, Float32Array>;
}

/** By central differences of the reference: each element alone. */
function differences({ graph }: Case, n: ReturnType<typeof numbersFor>): Record<string, number[]> {
  const weights = new Map([...n.weights].map(([k, v]) => [k, Float64Array.from(v)]));
  const inputs = Object.fromEntries(
    Object.entries(n.inputs).map(([k, v]) => [k, { ...v, data: Float64Array.from(v.data) }]),
  );
  const loss = () =>
    runGraph(graph, weights, inputs).reduce((s, y, i) => s + y * (n.coefficients[i] as number), 0);
  const by = (x: Float64Array) =>
    Array.from(x, (was, i) => {
      const step = 1e-5;
      x[i] = was + step;
      const above = loss();
      x[i] = was - step;
      const below = loss();
      x[i] = was;
      return (above - below) / (2 * step);
    });
  const result = Object.fromEntries([...weights].map(([k, x]) => [k, by(x)]));
  if (inputs.class_features) result.class_features = by(inputs.class_features.data);
  return result;
}

const variants = ['', 'portable', ...(process.arch === 'x64' ? ['avx2'] : [])];

describe('the backward pass of', () => {
  it.each(Object.entries(CASES))(
    '%s agrees with differences, to 2e-5 of the largest',
    async (name, c) => {
      const numbers = numbersFor(c, 7);
      const expected = differences(c, numbers);
      for (const variant of variants) {
        const found = await gradients(name, c, numbers, { variant });
        for (const [weight, e] of Object.entries(expected)) {
          const largest = Math.max(...e.map(Math.abs), 1e-3);
          const g = found[weight] as Float32Array;
          const error = Math.max(...e.map((x, i) => Math.abs(x - (g[i] as number))));
          expect(error / largest, `${variant} ${weight}`).toBeLessThan(2e-5);
        }
      }
    },
  );

  it.each(Object.entries(CASES))(
    '%s has the same bits for any threads and memory',
    async (name, c) => {
      const numbers = numbersFor(c, 8);
      const one = await gradients(name, c, numbers);
      expect(await gradients(name, c, numbers, { threads: 4 })).toEqual(one);
      expect(await gradients(name, c, numbers, { floats: 0 })).toEqual(one);
    },
  );

  it.each(Object.entries(CASES))(
    '%s adds up over parts of a batch, to the same bits',
    async (name, c) => {
      const numbers = numbersFor(c, 9);
      const whole = await gradients(name, c, numbers);
      const parts = await gradients(name, c, numbers, { parts: [2, 1] });
      // A table that several operations use gets their sums in another order.
      if (!c.tied) expect(parts).toEqual(whole);
      for (const [weight, e] of Object.entries(whole)) {
        const p = parts[weight] as Float32Array;
        const error = Math.max(...e.map((x, i) => Math.abs(x - (p[i] as number))));
        expect(error / Math.max(...e.map(Math.abs), 1e-3)).toBeLessThan(1e-6);
      }
    },
  );
});
