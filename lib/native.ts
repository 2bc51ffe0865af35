import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { addonFailure, isCutOff } from './addon_failure.js';
import type { Taps } from './data/filters.js';
import type { Graph } from './models/graph.js';

/** What the addon tells about something in the data (native/stream/merge_plan.h). */
export interface Finding {
  kind: 'nonfinite' | 'overflow' | 'unequal' | 'differs';
  segment: number;
  /** Position of the ingredient, or -1. */
  input: number;
  /** Elements concerned. */
  count: number;
  /** Lowest row-major index of one, or -1 where unknown. */
  first: number;
  largest: number;
  sumOfSquares: number;
}

export interface NativeProgress {
  bytesRead: number;
  bytesWritten: number;
}

export interface NativeJob<T> {
  /** Rejects with a {@link NativeFailure}. */
  promise: Promise<T>;
  abort(): void;
  progress(): NativeProgress;
}

export interface NativeFailure {
  kind: 'read' | 'short-read' | 'write' | 'aborted' | 'memory' | 'input' | 'device' | 'internal';
  errno: number;
  strerror: string;
  /** Positions in the tables that were passed, or -1. */
  file: number;
  segment: number;
  output: number;
  what: string;
}

/** Where many tensors lie; parallel arrays, one entry a source. */
export interface SourceTable {
  /** Open file descriptors. */
  files: Float64Array;
  sourceFile: Float64Array;
  sourceDtype: Float64Array;
  sourceOffset: Float64Array;
  /** Position in `views`, or -1 for row-major contiguous elements. */
  sourceView: Float64Array;
  views: { shape: Float64Array; strides: Float64Array }[];
  /** In place of files: the tensors lie here; `sourceFile` is 0 for those that take part. */
  held?: HeldHandle;
  /** Beside files: a block on a device, and where in it each source lies too, or -1. */
  deviceBlock?: HeldHandle;
  deviceOffset?: Float64Array;
}

export interface MergeTable extends SourceTable {
  k: number;
  threads: number;
  memory: number;
  /** Bytes of output computed at a time; 0 lets the addon choose. */
  chunkBytes: number;
  /** Kernel variant, or '' for the fastest. */
  variant: string;
  sink: 'file' | 'pipe' | 'compare' | 'network' | 'discard';
  /** With the sink `network`: the handle, and the weight that each segment is. */
  network?: NetworkHandle;
  networkWeights?: Float64Array;
  /** Rows of k. */
  weights: Float64Array;
  outputs: { fd: number; prefix: Uint8Array; offset: number }[];
  /** One a file: -1, or the bytes before its first tensor, and the file is hashed on the way. */
  hashPrefix: Float64Array;
  /** Where means are computed: a backend's library and its device. None: the processor. */
  deviceLibrary?: string;
  deviceIndex?: number;
  op: Float64Array;
  outDtype: Float64Array;
  elements: Float64Array;
  output: Float64Array;
  weightSet: Float64Array;
}

/** Numbers of native/stream/merge_plan.h's Op. */
export const OP = { mean: 0, same: 1, max: 2, compare: 3 } as const;

export interface MergeResult {
  findings: Finding[];
  /** One an output; hex. Empty strings where nothing is written. */
  sha256: string[];
  /** One a file, "" where `hashPrefix` was -1. */
  inputSha256: string[];
  bytesRead: number;
  bytesWritten: number;
}

/** A window of a scaled image, as planes. */
export interface ResampleTable {
  sourceWidth: number;
  sourceHeight: number;
  /** Interleaved RGB. */
  rgb: Uint8Array;
  /** How the window's columns and rows are made of the source's. */
  columns: Taps;
  rows: Taps;
  /** Of the output, and where the window lies in it. */
  width: number;
  height: number;
  left: number;
  top: number;
  /** [3, height, width]; only the window is written. */
  planes: Uint8Array;
  /** '' for the fastest. */
  variant: string;
}

/** Inner products of k inputs, the first of which is the reference (native/stream/gram_job.h). */
export interface GramTable extends SourceTable {
  k: number;
  threads: number;
  memory: number;
  /** Kernel variant, or '' for the fastest. */
  variant: string;
  groups: number;
  /** One a segment. */
  group: Float64Array;
  elements: Float64Array;
}

export interface GramResult {
  /** A row a group: the products (0,0), (0,1) … (0,k−1), (1,1) … */
  products: Float64Array;
  /** Inputs that hold NaN or infinity. */
  nonfinite: { segment: number; input: number; count: number; first: number }[];
  bytesRead: number;
}

/** A network's plan and memory in the addon; freed when it is no longer referenced. */
export type NetworkHandle = { readonly __network: unique symbol };

/** A GPU that networks run on and ingredients are held on; closed by `closeDevice`, or when nothing refers to it. */
export type DeviceHandle = { readonly __device: unique symbol };

/** Examples that stay on a GPU; freed by `freeSet`, or when it is no longer referenced. */
export type SetHandle = { readonly __set: unique symbol };

/** A table of a set: an input of a network, a row an example. */
export interface SetTable {
  rowBytes: number;
  /** int32; else float32. */
  integers: boolean;
  /** Rows are bytes, which stand for these: float32 [channels, 256]. */
  values?: Float32Array;
}

/** An input of a batch: its values, or rows of a table of a set, or their first columns. */
export type NetworkInput =
  | Float32Array
  | Int32Array
  | { set: SetHandle; table: number; rows: Int32Array };

/** Memory that tensors are held in between passes; freed by `releaseHeld`, or when it is no longer referenced. */
export type HeldHandle = { readonly __held: unique symbol };

/** Memory that counts as taken until it is released, or nothing refers to it. */
export type HeldMemory = { readonly __memory: unique symbol };

export interface Addon {
  /** Bytes that the jobs and networks of this process hold, worker threads included. */
  memoryHeld(): { buffers: number; networks: number };
  /** Bytes that are left for a network of a run that may hold `limit`. */
  roomForNetwork(limit: number): number;
  /** Counts bytes as a network's; null where there are not so many left. */
  holdMemory(bytes: number, limit: number): HeldMemory | null;
  releaseMemory(held: HeldMemory): void;
  /** Frees a network now, and not when it is collected. */
  freeNetwork(network: NetworkHandle): void;
  /**
   * Plans a graph for at most `batch` examples at a time. `variant` '' takes the fastest. With `floats`, for training:
   * what a backward pass needs is kept where that fits into so many floats an example, else computed again. With
   * `device`, on a GPU. Throws a RangeError where memory is short, and an Error with `device: true` where the GPU fails.
   */
  createNetwork(
    graph: Graph,
    batch: number,
    threads: number,
    variant: string,
    floats?: number,
    device?: DeviceHandle,
  ): { handle: NetworkHandle; bytes: number; variant: string };
  /** The memory of a plan for training within `floats` an example, or (undefined) of one for inference. */
  planNetwork(
    graph: Graph,
    batch: number,
    threads: number,
    floats?: number,
    device?: DeviceHandle,
  ): { bytes: number; floats: number; segments: number; variant: string };
  /**
   * Adds to the weights' gradients (made 0 before, where `fresh`): `dout` is the derivative by the output of the forward
   * pass just before, of the same inputs and batch.
   */
  backward(
    network: NetworkHandle,
    inputs: NetworkInput[],
    batch: number,
    dout: Float32Array,
    fresh: boolean,
  ): NativeJob<void>;
  /** Dot products of weights' gradients (`networkWeights`, one a segment) with each of a segment's k sources. */
  dot(
    table: SourceTable & {
      k: number;
      threads: number;
      /** Bytes of buffers, where the network is on a device. */
      memory: number;
      network: NetworkHandle;
      networkWeights: Float64Array;
    },
  ): NativeJob<{ sums: Float64Array; bytesRead: number }>;
  /** A copy of a weight's gradient, as the weight is stored. */
  gradient(network: NetworkHandle, weight: number): Float32Array;
  /** Of a shared input of floats (class features); null where nothing depends on it. */
  inputGradient(network: NetworkHandle, input: number): Float32Array | null;
  /** `number`: 0 float32, 1 bfloat16, 2 float16. Throws an Error with `device: true` where it cannot be opened. */
  openDevice(library: string, index: number, number: number): DeviceHandle;
  closeDevice(device: DeviceHandle): void;
  /** Bytes that are free. */
  deviceMemory(device: DeviceHandle): number;
  /** Null where the GPU's library has no sets. Throws as `createNetwork`. */
  createSet(device: DeviceHandle, rows: number, tables: SetTable[]): SetHandle | null;
  /** Copies the next rows of each table there. */
  fillSet(
    set: SetHandle,
    rows: number,
    data: (Uint8Array | Float32Array | Int32Array)[],
  ): NativeJob<void>;
  freeSet(set: SetHandle): void;
  createHeld(bytes: number, device?: DeviceHandle): HeldHandle;
  releaseHeld(block: HeldHandle): void;
  /** Reads sources into a held block, each to its `blockOffset`, row-major. Resolves with the bytes read. */
  hold(
    table: SourceTable & {
      threads: number;
      /** Bytes of buffers, where the block is on a device. */
      memory?: number;
      elements: Float64Array;
      block: HeldHandle;
      blockOffset: Float64Array;
    },
  ): NativeJob<number>;
  /**
   * Runs a batch: one array an input of the graph; `out` gets a row of logits an example. On a GPU two may be under way
   * on one network, where it is not for training.
   */
  forward(
    network: NetworkHandle,
    inputs: NetworkInput[],
    batch: number,
    out: Float32Array,
  ): NativeJob<void>;
  merge(table: MergeTable): NativeJob<MergeResult>;
  hash(
    table: SourceTable & { threads: number; elements: Float64Array },
  ): NativeJob<{ sha256: string[] }>;
  /** Asks the system for the first `bytes` of each open file; resolves with how many it asked for. */
  readAhead(table: { files: Float64Array; bytes: Float64Array }): NativeJob<number>;
  /** Scales an image; see lib/data/resample.ts. */
  resample(table: ResampleTable): NativeJob<void>;
  gram(table: GramTable): NativeJob<GramResult>;
  /** In memory, for tests: products of at most 512 elements. */
  gramBlock(variant: string, inputs: Uint8Array[], dtypes: number[]): Float64Array;
  meanBlock(
    variant: string,
    inputs: Uint8Array[],
    dtypes: number[],
    weights: number[] | null,
    outDtype: number,
  ): { out: Uint8Array; nonfinite: boolean; overflows: number };
  /** What a backend's library finds on this machine; may crash with a broken driver (lib/cuda.ts). */
  probeBackend(library: string): object;
  variants(): string[];
  sha256Plain(bytes: Uint8Array): string;
  lock(fd: number): boolean;
  exchange(a: string, b: string): boolean;
  pipe(): [number, number];
  guard(path: string): void;
  unguard(path: string): void;
}

/** The package's root: the folder above this file, in lib/ as in dist/. */
export const packageRoot = fileURLToPath(new URL('..', import.meta.url));

const require = createRequire(import.meta.url);
let loaded: Addon | undefined;

/**
 * The native addon: a prebuild, or what `node-gyp rebuild` made.
 * @throws StockpotError NATIVE with what was found, what is needed and what to run
 */
export function native(): Addon {
  if (loaded) return loaded;
  try {
    const file = require('node-gyp-build').resolve(packageRoot) as string;
    if (isCutOff(file)) throw new Error(`${file} is not complete`);
    loaded = require(file) as Addon;
    return loaded;
  } catch (cause) {
    throw addonFailure(packageRoot, cause);
  }
}
