import { StockpotError } from '../errors.js';
import { REMEDY } from './config.js';
import type { Activation, Graph, GraphInput, InputId, Op, ValueId, WeightId } from './graph.js';
import type { Weights } from './weights.js';

/** The tensors of x·Wᵀ + b: a module's name (`NAME.weight`, `NAME.bias`), or the tensors' own. */
export type Affine = string | { weight: string; bias?: string };

export interface LinearOptions {
  /** Number of outputs: the weight is [columns, inputs], or [inputs, columns] where `transposed`. */
  columns: number;
  transposed?: boolean;
  /** The weight's shape where it is no matrix (a convolution's). */
  shape?: readonly number[];
  activation?: Activation;
  /** Name of a vector that each output is multiplied by (LayerScale). */
  scale?: string;
  /** The other branch of a gated feed-forward. */
  multiply?: ValueId;
  residual?: ValueId;
}

export interface AttentionOptions {
  heads: number;
  /** Of a head. */
  width: number;
  /** Of q·k; 1/√width by default. */
  scale?: number;
  /** Where q, k and v begin among the columns of their values; 0 by default. */
  columns?: readonly [number, number, number];
  groups?: number;
  sharedKv?: boolean;
  causal?: boolean;
  mask?: InputId;
  bias?: { table: string; buckets: number[]; count: number };
}

/** Writes a graph down operation by operation: allocates values, lists each weight once, checks it against the file. */
export class GraphBuilder {
  private readonly inputs: GraphInput[] = [];
  private readonly values: { rows: number; columns: number }[] = [];
  private readonly ops: Op[] = [];
  private readonly weightIds = new Map<string, WeightId>();
  private readonly listed: Graph['weights'] = [];

  constructor(readonly weights: Weights) {}

  input(
    name: string,
    dtype: GraphInput['dtype'],
    shape: readonly number[],
    shared = false,
  ): InputId {
    return this.inputs.push({ name, dtype, shape: [...shape], shared }) - 1;
  }

  rows(x: ValueId): number {
    return this.value(x).rows;
  }

  columns(x: ValueId): number {
    return this.value(x).columns;
  }

  /** The patches of an image input [channels, height, width], a row each. */
  patches(input: InputId, patch: number): ValueId {
    const [channels, height, width] = this.shapeOf(input) as [number, number, number];
    const rows = Math.floor(height / patch) * Math.floor(width / patch);
    if (rows === 0) {
      const { path } = this.weights.checkpoint;
      throw new StockpotError(
        'UNSUPPORTED',
        `${path}: an image of ${height} × ${width} has no patch of ${patch} × ${patch}`,
        { file: path, remedy: REMEDY },
      );
    }
    const out = this.allocate(rows, channels * patch * patch);
    return this.push({ op: 'patches', input, channels, height, width, patch, out });
  }

  /** Rows of a table of `entries` vectors, by the ids of an input. */
  embedding(input: InputId, table: string, entries: number, columns: number): ValueId {
    const weight = this.weight(table, [entries, columns]);
    const rows = this.shapeOf(input).reduce((n, d) => n * d, 1);
    return this.push({ op: 'embedding', input, table: weight, out: this.allocate(rows, columns) });
  }

  /** Adds rows `first`… of a table of positions; `shape` is the table's. */
  addRows(x: ValueId, table: string, shape: readonly number[], first = 0): ValueId {
    return this.push({
      op: 'add_rows',
      x,
      table: this.weight(table, shape),
      first,
      out: this.like(x),
    });
  }

  /** Adds row `row` of a table of `entries` vectors to every row. */
  addRow(x: ValueId, table: string, entries: number, row: number): ValueId {
    const weight = this.weight(table, [entries, this.columns(x)]);
    return this.push({ op: 'add_row', x, table: weight, row, out: this.like(x) });
  }

  add(a: ValueId, b: ValueId): ValueId {
    return this.push({ op: 'add', a, b, out: this.like(a) });
  }

  /** Puts a learned token before the rows; `shape` is the token's. */
  prependRow(x: ValueId, row: string, shape: readonly number[]): ValueId {
    const out = this.allocate(this.rows(x) + 1, this.columns(x));
    return this.push({ op: 'prepend_row', x, row: this.weight(row, shape), out });
  }

  linear(x: ValueId, affine: Affine, options: LinearOptions): ValueId {
    const { columns, transposed = false, activation = 'none', multiply, residual } = options;
    const { weight, bias } =
      typeof affine === 'string' ? { weight: `${affine}.weight`, bias: `${affine}.bias` } : affine;
    const inputs = this.columns(x);
    const shape = options.shape ?? (transposed ? [inputs, columns] : [columns, inputs]);
    return this.push({
      op: 'linear',
      x,
      weight: this.weight(weight, shape),
      transposed,
      ...(bias !== undefined && { bias: this.weight(bias, [columns]) }),
      activation,
      ...(options.scale !== undefined && { scale: this.weight(options.scale, [columns]) }),
      ...(multiply !== undefined && { multiply }),
      ...(residual !== undefined && { residual }),
      out: this.allocate(this.rows(x), columns),
    });
  }

  /** `name`.weight and `name`.bias. */
  layerNorm(x: ValueId, name: string, epsilon: number): ValueId {
    const weight = this.weight(`${name}.weight`, [this.columns(x)]);
    const bias = this.weight(`${name}.bias`, [this.columns(x)]);
    return this.push({ op: 'layer_norm', x, weight, bias, epsilon, out: this.like(x) });
  }

  rmsNorm(x: ValueId, name: string, epsilon: number): ValueId {
    const weight = this.weight(`${name}.weight`, [this.columns(x)]);
    return this.push({ op: 'rms_norm', x, weight, epsilon, out: this.like(x) });
  }

  attention(q: ValueId, k: ValueId, v: ValueId, options: AttentionOptions): ValueId {
    const { heads, width, columns = [0, 0, 0], mask, bias } = options;
    return this.push({
      op: 'attention',
      q,
      k,
      v,
      q_column: columns[0],
      k_column: columns[1],
      v_column: columns[2],
      heads,
      width,
      scale: options.scale ?? 1 / Math.sqrt(width),
      groups: options.groups ?? 1,
      shared_kv: options.sharedKv ?? false,
      causal: options.causal ?? false,
      ...(mask !== undefined && { mask }),
      ...(bias && {
        bias: { table: this.weight(bias.table, [bias.count, heads]), buckets: bias.buckets },
      }),
      out: this.allocate(this.rows(q), heads * width),
    });
  }

  selectRow(x: ValueId, index: number): ValueId {
    return this.push({ op: 'select_row', x, index, out: this.oneRow(x) });
  }

  /** The row at the first position where the ids are `equal`, or, for null, where they are largest. */
  selectRowById(x: ValueId, input: InputId, equal: number | null): ValueId {
    return this.push({ op: 'select_row_by_id', x, input, equal, out: this.oneRow(x) });
  }

  meanRows(x: ValueId, from: number): ValueId {
    return this.push({ op: 'mean_rows', x, from, out: this.oneRow(x) });
  }

  l2Normalize(x: ValueId): ValueId {
    return this.push({ op: 'l2_normalize', x, out: this.like(x) });
  }

  scale(x: ValueId, by: number): ValueId {
    return this.push({ op: 'scale', x, by, out: this.like(x) });
  }

  /** x · exp(weight), for a weight without dimensions. */
  scaleByExp(x: ValueId, weight: string): ValueId {
    return this.push({ op: 'scale', x, by: 1, exp: this.weight(weight, []), out: this.like(x) });
  }

  similarity(x: ValueId, input: InputId): ValueId {
    const [n] = this.shapeOf(input) as [number];
    return this.push({ op: 'similarity', x, input, out: this.allocate(this.rows(x), n) });
  }

  logLikelihood(x: ValueId, input: InputId, classes: number): ValueId {
    return this.push({ op: 'log_likelihood', x, input, classes, out: this.allocate(1, classes) });
  }

  finish(output: ValueId): Graph {
    return {
      inputs: this.inputs,
      weights: this.listed,
      values: this.values,
      ops: this.ops,
      output,
    };
  }

  private weight(name: string, shape: readonly number[]): WeightId {
    const stored = this.weights.use(name, shape);
    let id = this.weightIds.get(stored.name);
    if (id === undefined) {
      id = this.listed.push(stored) - 1;
      this.weightIds.set(stored.name, id);
    }
    return id;
  }

  private value(x: ValueId): { rows: number; columns: number } {
    return this.values[x] as { rows: number; columns: number };
  }

  private shapeOf(input: InputId): readonly number[] {
    return (this.inputs[input] as GraphInput).shape;
  }

  private allocate(rows: number, columns: number): ValueId {
    return this.values.push({ rows, columns }) - 1;
  }

  private like(x: ValueId): ValueId {
    return this.allocate(this.rows(x), this.columns(x));
  }

  private oneRow(x: ValueId): ValueId {
    return this.allocate(1, this.columns(x));
  }

  private push(op: Op): ValueId {
    this.ops.push(op);
    return op.out;
  }
}
