/**
 * A network as a list of operations, built in TypeScript from a config and a tensor table, run by the native executor.
 *
 * Every value is a float32 matrix with a number of rows an example: a batch of B examples has B·rows rows of `columns`.
 * Every operation treats examples apart, so an example's results do not depend on the rest of its batch.
 */

/** Position in `Graph.values`. */
export type ValueId = number;
/** Position in `Graph.weights`. */
export type WeightId = number;
/** Position in `Graph.inputs`. */
export type InputId = number;

export type Activation = 'none' | 'gelu' | 'gelu_tanh' | 'quick_gelu' | 'relu' | 'tanh' | 'silu';

export interface GraphInput {
  /** As in a tensor file: pixel_values, input_ids, attention_mask, token_type_ids, … */
  name: string;
  dtype: 'f32' | 'i32';
  /** Elements an example, row-major; or in all, where `shared`. */
  shape: number[];
  /** The same for every example of every batch (class prompts' features, label words). */
  shared: boolean;
}

export interface GraphWeight {
  /** Name in the checkpoint's tensor table. */
  name: string;
  /** As stored. */
  shape: number[];
}

export type Op =
  /** Cuts images [C, H, W] into P×P patches, row by row; columns in the order c, y, x (as a convolution's weight is stored). */
  | {
      op: 'patches';
      input: InputId;
      channels: number;
      height: number;
      width: number;
      patch: number;
      out: ValueId;
    }
  /** Row i is row `ids[i]` of the table [V, D]. A shared input gives every example the same rows. */
  | { op: 'embedding'; input: InputId; table: WeightId; out: ValueId }
  /** Adds a table [rows, D] (positions) to each example; leading dimensions of 1 are allowed. `first`: rows [first, first + x.rows) of it. */
  | { op: 'add_rows'; x: ValueId; table: WeightId; first: number; out: ValueId }
  /** Adds row `row` of a table [n, D] to every row (token type 0). */
  | { op: 'add_row'; x: ValueId; table: WeightId; row: number; out: ValueId }
  | { op: 'add'; a: ValueId; b: ValueId; out: ValueId }
  /** Puts a learned token (its D elements) before each example's rows. */
  | { op: 'prepend_row'; x: ValueId; row: WeightId; out: ValueId }
  /**
   * activation(x·Wᵀ + bias) · scale · multiply + residual. W is [out, in] ([in, out] where `transposed`), `scale` [out]
   * (LayerScale), `multiply` the other branch of a gated feed-forward. Dimensions after the first count as one (convolutions).
   */
  | {
      op: 'linear';
      x: ValueId;
      weight: WeightId;
      transposed: boolean;
      bias?: WeightId;
      activation: Activation;
      scale?: WeightId;
      multiply?: ValueId;
      residual?: ValueId;
      out: ValueId;
    }
  | {
      op: 'layer_norm';
      x: ValueId;
      weight: WeightId;
      bias: WeightId;
      epsilon: number;
      out: ValueId;
    }
  /** T5's: no mean, no bias. */
  | { op: 'rms_norm'; x: ValueId; weight: WeightId; epsilon: number; out: ValueId }
  /**
   * softmax(scale · q kᵀ + bias + masks) v, for each of `groups` and heads. q has groups·Lq rows an example; k and v have
   * groups·Lk, or Lk for all groups where `shared_kv`. Head h takes columns [column + h·width, column + (h+1)·width).
   */
  | {
      op: 'attention';
      q: ValueId;
      k: ValueId;
      v: ValueId;
      q_column: number;
      k_column: number;
      v_column: number;
      heads: number;
      /** Of a head. */
      width: number;
      scale: number;
      groups: number;
      shared_kv: boolean;
      /** Position i sees j ≤ i. */
      causal: boolean;
      /** An input [Lk] an example (not a group): 0 is hidden. */
      mask?: InputId;
      /** Relative positions: bias of (i, j) and head h is table[bucket[i·Lk + j]][h]. */
      bias?: { table: WeightId; buckets: number[] };
      out: ValueId;
    }
  | { op: 'select_row'; x: ValueId; index: number; out: ValueId }
  /** The row at the first position where the ids are largest (`equal` null) or equal to `equal`. */
  | { op: 'select_row_by_id'; x: ValueId; input: InputId; equal: number | null; out: ValueId }
  /** Mean of rows [from, rows). */
  | { op: 'mean_rows'; x: ValueId; from: number; out: ValueId }
  /** Each row divided by its L2 norm. */
  | { op: 'l2_normalize'; x: ValueId; out: ValueId }
  /** x · by, or x · exp(weight) for a 0-dim weight (logit_scale). */
  | { op: 'scale'; x: ValueId; by: number; exp?: WeightId; out: ValueId }
  /** x·yᵀ against a shared f32 input y [n, D]: n columns. */
  | { op: 'similarity'; x: ValueId; input: InputId; out: ValueId }
  /**
   * Sum over a class's tokens of log softmax(x)[token]: x has classes·L rows an example; the shared i32 input holds
   * [classes, L] token ids, negative ones count nothing. One row of `classes` columns.
   */
  | { op: 'log_likelihood'; x: ValueId; input: InputId; classes: number; out: ValueId };

export interface Graph {
  inputs: GraphInput[];
  weights: GraphWeight[];
  values: { rows: number; columns: number }[];
  ops: Op[];
  /** One row an example. */
  output: ValueId;
}

/**
 * What classifies: the graph, and for zero-shot classification the graph that makes the classes' features first
 * (once for each set of weights), which becomes the shared input `class_features` of the first.
 */
export interface Network {
  graph: Graph;
  classes?: Graph;
  /** Shared inputs of `graph` whose elements the network itself gives, by name (the label words of text-to-text). */
  constants?: Readonly<Record<string, Int32Array>>;
  /** Number of columns of the output. */
  numClasses: number;
}

/** All graphs of a network: the classifier's, and the class prompts' where there is one. */
export const graphsOf = ({ graph, classes }: Network): Graph[] =>
  classes ? [graph, classes] : [graph];
