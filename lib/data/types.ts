import type { Mismatch } from '../errors.js';

/** A small tensor in memory. */
export interface TensorData {
  dtype: 'f32' | 'i32';
  shape: readonly number[];
  /** Row-major. */
  data: Float32Array | Int32Array;
}

/** An input that every example has its own of. */
export interface DataInput {
  /** As the networks' libraries name it: pixel_values, input_ids, attention_mask, token_type_ids. */
  name: string;
  dtype: 'f32' | 'i32';
  /** Of one example. */
  shape: readonly number[];
}

/**
 * Images as bytes, for a backend that keeps them on its device and normalises there: a quarter of the float32 ones.
 * `table[channel * 256 + byte]` is the element of `pixel_values`, to the bit.
 */
export interface Pixels {
  /** [channels, height, width] */
  shape: readonly [number, number, number];
  /** Float32 [channels, 256]. */
  table: Float32Array;
  /** uint8 [indices.length, channels, height, width]. */
  read(indices: ArrayLike<number>): Promise<Uint8Array>;
}

/** Labelled examples, ready for a network. Examples have positions 0 … count − 1, always in the same order. */
export interface DataSet {
  /** As it was given; for messages. */
  readonly path: string;
  readonly count: number;
  /** One class an example, ≥ 0. */
  readonly labels: Int32Array;
  /** By class, where the data names them. */
  readonly classNames?: readonly string[];
  readonly inputs: readonly DataInput[];
  /** The same for every example: class_input_ids, class_attention_mask [classes, L], label_ids [classes, L]. */
  readonly shared: Readonly<Record<string, TensorData>>;
  /** For images that stockpot prepared. */
  readonly pixels?: Pixels;
  /** Bytes of prepared examples in memory. */
  readonly heldBytes?: number;
  /** For texts: tokens of each example, padding left out. */
  readonly tokens?: Int32Array;
  /**
   * Each input as [indices.length, …shape], row-major, in the order of `indices`. Texts are padded to the inputs' shape,
   * or to `length` tokens where it is given; none of the examples may be longer.
   */
  batch(
    indices: ArrayLike<number>,
    length?: number,
  ): Promise<Record<string, Float32Array | Int32Array>>;
  /** SHA-256 (hex) of everything that the examples are made of: bytes, labels, order, preparation. */
  readonly contentHash: string;
  /** What `skipBad` left out. */
  readonly skipped: readonly Mismatch[];
  /** Things worth telling the user that are no errors; one sentence each. */
  readonly notes: readonly string[];
  /** Closes its files. Batches cannot be made afterwards. */
  close(): Promise<void>;
}
