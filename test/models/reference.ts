import type { Activation, Graph, Network, Op, ValueId } from '../../lib/models/graph.js';

/** One input's elements: an example after another, or in all where the graph shares it. */
export interface ReferenceInput {
  shape: readonly number[];
  data: ArrayLike<number>;
}

/** A weight's elements in row-major order, by its name in the checkpoint. */
export type ReferenceWeights = ReadonlyMap<string, ArrayLike<number>>;

type Inputs = Readonly<Record<string, ReferenceInput>>;

/**
 * Runs a network in float64, an operation and an element at a time: the definition that every executor is held to.
 * @returns the logits [examples, numClasses]
 */
export function runReference(
  network: Network,
  weights: ReferenceWeights,
  inputs: Inputs,
): Float64Array {
  const all: Record<string, ReferenceInput> = { ...inputs };
  for (const [name, data] of Object.entries(network.constants ?? {})) {
    all[name] = { shape: [data.length], data };
  }
  if (network.classes) {
    const data = runGraph(network.classes, weights, all);
    all.class_features = { shape: [network.numClasses, data.length / network.numClasses], data };
  }
  return runGraph(network.graph, weights, all);
}

/** The output's rows, one an example. */
export function runGraph(graph: Graph, weights: ReferenceWeights, inputs: Inputs): Float64Array {
  const ids = graph.inputs.map((input) => {
    const given = inputs[input.name];
    if (!given) throw new Error(`no input ${input.name}`);
    return given.data;
  });
  const batch = batchOf(graph, inputs);
  const tensors = graph.weights.map(({ name, shape }) => {
    const found = weights.get(name);
    if (found?.length !== product(shape)) throw new Error(`${name}: ${found?.length} elements`);
    return found;
  });
  for (const [i, { shape, shared, name }] of graph.inputs.entries()) {
    const expected = product(shape) * (shared ? 1 : batch);
    if (ids[i]?.length !== expected) throw new Error(`${name}: ${ids[i]?.length} of ${expected}`);
  }
  const values = new Map<ValueId, Float64Array>();
  for (const op of graph.ops) {
    const { rows, columns } = graph.values[op.out] as { rows: number; columns: number };
    const out = new Float64Array(batch * rows * columns);
    run(op, { graph, batch, inputs: ids, weights: tensors, values }, out);
    if (values.has(op.out)) throw new Error(`value ${op.out} is written twice`);
    values.set(op.out, out);
  }
  const output = graph.values[graph.output];
  if (output?.rows !== 1) throw new Error('the output has more than one row an example');
  return values.get(graph.output) as Float64Array;
}

function batchOf(graph: Graph, inputs: Inputs): number {
  const own = graph.inputs.find((input) => !input.shared);
  if (!own) return 1;
  const given = inputs[own.name] as ReferenceInput;
  return given.data.length / product(own.shape);
}

interface Scene {
  graph: Graph;
  batch: number;
  inputs: readonly ArrayLike<number>[];
  weights: readonly ArrayLike<number>[];
  values: ReadonlyMap<ValueId, Float64Array>;
}

function run(op: Op, scene: Scene, out: Float64Array): void {
  const { graph, batch } = scene;
  const size = (x: ValueId) => graph.values[x] as { rows: number; columns: number };
  const value = (x: ValueId): Float64Array => {
    const found = scene.values.get(x);
    if (!found) throw new Error(`value ${x} is read before it is written`);
    return found;
  };
  const weight = (w: number) => scene.weights[w] as ArrayLike<number>;
  const input = (i: number) => scene.inputs[i] as ArrayLike<number>;
  const shared = (i: number) => graph.inputs[i]?.shared === true;
  const { rows, columns } = size(op.out);

  switch (op.op) {
    case 'patches': {
      const { channels, height, width, patch } = op;
      const image = input(op.input);
      const down = Math.floor(height / patch);
      const across = Math.floor(width / patch);
      let at = 0;
      for (let b = 0; b < batch; b++)
        for (let py = 0; py < down; py++)
          for (let px = 0; px < across; px++)
            for (let c = 0; c < channels; c++)
              for (let y = 0; y < patch; y++)
                for (let x = 0; x < patch; x++)
                  out[at++] = num(
                    image,
                    ((b * channels + c) * height + py * patch + y) * width + px * patch + x,
                  );
      return;
    }
    case 'embedding': {
      const ids = input(op.input);
      const table = weight(op.table);
      for (let r = 0; r < batch * rows; r++) {
        const id = num(ids, shared(op.input) ? r % rows : r);
        for (let c = 0; c < columns; c++) out[r * columns + c] = num(table, id * columns + c);
      }
      return;
    }
    case 'add_rows': {
      const x = value(op.x);
      const table = weight(op.table);
      for (let r = 0; r < batch * rows; r++)
        for (let c = 0; c < columns; c++)
          out[r * columns + c] =
            num(x, r * columns + c) + num(table, (op.first + (r % rows)) * columns + c);
      return;
    }
    case 'add_row': {
      const x = value(op.x);
      const table = weight(op.table);
      for (let i = 0; i < out.length; i++)
        out[i] = num(x, i) + num(table, op.row * columns + (i % columns));
      return;
    }
    case 'add': {
      const a = value(op.a);
      const b = value(op.b);
      for (let i = 0; i < out.length; i++) out[i] = num(a, i) + num(b, i);
      return;
    }
    case 'prepend_row': {
      const x = value(op.x);
      const row = weight(op.row);
      for (let b = 0; b < batch; b++)
        for (let r = 0; r < rows; r++)
          for (let c = 0; c < columns; c++)
            out[(b * rows + r) * columns + c] =
              r === 0 ? num(row, c) : num(x, (b * (rows - 1) + r - 1) * columns + c);
      return;
    }
    case 'linear': {
      const x = value(op.x);
      const w = weight(op.weight);
      const n = size(op.x).columns;
      for (let r = 0; r < batch * rows; r++) {
        for (let c = 0; c < columns; c++) {
          let sum = op.bias === undefined ? 0 : num(weight(op.bias), c);
          for (let i = 0; i < n; i++)
            sum += num(x, r * n + i) * num(w, op.transposed ? i * columns + c : c * n + i);
          let y = activate(op.activation, sum);
          if (op.scale !== undefined) y *= num(weight(op.scale), c);
          if (op.multiply !== undefined) y *= num(value(op.multiply), r * columns + c);
          if (op.residual !== undefined) y += num(value(op.residual), r * columns + c);
          out[r * columns + c] = y;
        }
      }
      return;
    }
    case 'layer_norm': {
      const x = value(op.x);
      for (let r = 0; r < batch * rows; r++) {
        let mean = 0;
        for (let c = 0; c < columns; c++) mean += num(x, r * columns + c) / columns;
        let variance = 0;
        for (let c = 0; c < columns; c++)
          variance += (num(x, r * columns + c) - mean) ** 2 / columns;
        for (let c = 0; c < columns; c++)
          out[r * columns + c] =
            ((num(x, r * columns + c) - mean) / Math.sqrt(variance + op.epsilon)) *
              num(weight(op.weight), c) +
            num(weight(op.bias), c);
      }
      return;
    }
    case 'rms_norm': {
      const x = value(op.x);
      for (let r = 0; r < batch * rows; r++) {
        let square = 0;
        for (let c = 0; c < columns; c++) square += num(x, r * columns + c) ** 2 / columns;
        for (let c = 0; c < columns; c++)
          out[r * columns + c] =
            (num(x, r * columns + c) / Math.sqrt(square + op.epsilon)) * num(weight(op.weight), c);
      }
      return;
    }
    case 'attention': {
      attend(op, scene, out);
      return;
    }
    case 'select_row': {
      const x = value(op.x);
      const n = size(op.x).rows;
      for (let b = 0; b < batch; b++)
        for (let c = 0; c < columns; c++)
          out[b * columns + c] = num(x, (b * n + op.index) * columns + c);
      return;
    }
    case 'select_row_by_id': {
      const x = value(op.x);
      const ids = input(op.input);
      const n = size(op.x).rows;
      for (let b = 0; b < batch; b++) {
        const own = Array.from({ length: n }, (_, i) => num(ids, b * n + i));
        const index = own.indexOf(op.equal ?? Math.max(...own));
        if (index < 0) throw new Error(`example ${b} has no id ${op.equal}`);
        for (let c = 0; c < columns; c++)
          out[b * columns + c] = num(x, (b * n + index) * columns + c);
      }
      return;
    }
    case 'mean_rows': {
      const x = value(op.x);
      const n = size(op.x).rows;
      for (let b = 0; b < batch; b++)
        for (let r = op.from; r < n; r++)
          for (let c = 0; c < columns; c++)
            out[b * columns + c] =
              num(out, b * columns + c) + num(x, (b * n + r) * columns + c) / (n - op.from);
      return;
    }
    case 'l2_normalize': {
      const x = value(op.x);
      for (let r = 0; r < batch * rows; r++) {
        let square = 0;
        for (let c = 0; c < columns; c++) square += num(x, r * columns + c) ** 2;
        for (let c = 0; c < columns; c++)
          out[r * columns + c] = num(x, r * columns + c) / Math.sqrt(square);
      }
      return;
    }
    case 'scale': {
      const x = value(op.x);
      const by = op.by * (op.exp === undefined ? 1 : Math.exp(num(weight(op.exp), 0)));
      for (let i = 0; i < out.length; i++) out[i] = num(x, i) * by;
      return;
    }
    case 'similarity': {
      const x = value(op.x);
      const y = input(op.input);
      const n = size(op.x).columns;
      for (let r = 0; r < batch * rows; r++)
        for (let c = 0; c < columns; c++) {
          let sum = 0;
          for (let i = 0; i < n; i++) sum += num(x, r * n + i) * num(y, c * n + i);
          out[r * columns + c] = sum;
        }
      return;
    }
    case 'log_likelihood': {
      const x = value(op.x);
      const targets = input(op.input);
      const { rows: n, columns: vocabulary } = size(op.x);
      const length = n / op.classes;
      for (let b = 0; b < batch; b++)
        for (let c = 0; c < op.classes; c++)
          for (let t = 0; t < length; t++) {
            const target = num(targets, c * length + t);
            if (target < 0) continue;
            const row = x.subarray((b * n + c * length + t) * vocabulary).slice(0, vocabulary);
            const top = row.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
            const sum = row.reduce((a, v) => a + Math.exp(v - top), 0);
            out[b * op.classes + c] =
              num(out, b * op.classes + c) + num(row, target) - top - Math.log(sum);
          }
      return;
    }
  }
}

/** softmax(scale · q kᵀ + bias) v for each example, group and head; a row whose keys are all hidden is 0. */
function attend(op: Extract<Op, { op: 'attention' }>, scene: Scene, out: Float64Array): void {
  const { graph, batch } = scene;
  const { heads, width, groups } = op;
  const q = scene.values.get(op.q) as Float64Array;
  const k = scene.values.get(op.k) as Float64Array;
  const v = scene.values.get(op.v) as Float64Array;
  const size = (x: ValueId) => graph.values[x] as { rows: number; columns: number };
  const kvGroups = op.shared_kv ? 1 : groups;
  const queries = size(op.q).rows / groups;
  const keys = size(op.k).rows / kvGroups;
  const mask = op.mask === undefined ? undefined : (scene.inputs[op.mask] as ArrayLike<number>);
  const table = op.bias && (scene.weights[op.bias.table] as ArrayLike<number>);
  for (let b = 0; b < batch; b++)
    for (let g = 0; g < groups; g++)
      for (let h = 0; h < heads; h++)
        for (let i = 0; i < queries; i++) {
          const row = (b * groups + g) * queries + i;
          const kvRow = (j: number) => (b * kvGroups + (op.shared_kv ? 0 : g)) * keys + j;
          const scores: number[] = [];
          for (let j = 0; j < keys; j++) {
            const hidden = (op.causal && j > i) || (mask && num(mask, b * keys + j) === 0);
            if (hidden) {
              scores.push(Number.NEGATIVE_INFINITY);
              continue;
            }
            let dot = 0;
            for (let c = 0; c < width; c++)
              dot +=
                num(q, row * size(op.q).columns + op.q_column + h * width + c) *
                num(k, kvRow(j) * size(op.k).columns + op.k_column + h * width + c);
            let score = dot * op.scale;
            if (op.bias && table)
              score += num(table, num(op.bias.buckets, i * keys + j) * heads + h);
            scores.push(score);
          }
          const top = Math.max(...scores);
          if (top === Number.NEGATIVE_INFINITY) continue;
          const powers = scores.map((s) => Math.exp(s - top));
          const sum = powers.reduce((a, p) => a + p, 0);
          for (let c = 0; c < width; c++) {
            let mixed = 0;
            for (let j = 0; j < keys; j++)
              mixed +=
                (num(powers, j) / sum) *
                num(v, kvRow(j) * size(op.v).columns + op.v_column + h * width + c);
            out[row * heads * width + h * width + c] = mixed;
          }
        }
}

function activate(activation: Activation, x: number): number {
  switch (activation) {
    case 'none':
      return x;
    case 'gelu':
      return (x / 2) * (1 + erf(x / Math.SQRT2));
    case 'gelu_tanh':
      return (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case 'quick_gelu':
      return x / (1 + Math.exp(-1.702 * x));
    case 'relu':
      return Math.max(x, 0);
    case 'tanh':
      return Math.tanh(x);
    case 'silu':
      return x / (1 + Math.exp(-x));
  }
}

/** 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!: all terms have one sign, so nothing cancels. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const product = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** An element that must be there. */
function num(values: ArrayLike<number>, i: number): number {
  const x = values[i];
  if (x === undefined) throw new Error(`element ${i} of ${values.length}`);
  return x;
}
