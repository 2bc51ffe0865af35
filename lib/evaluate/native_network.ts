import { runJob, throwIfAborted } from '../checkpoint/job.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import { execute, judge } from '../merge/execute.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { Graph, Network } from '../models/graph.js';
import { type NetworkHandle, native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { assign, type Bucket } from './buckets.js';
import type { RunnableNetwork } from './network.js';

/** Examples at a time, unless a batch of them would take more memory than this. */
const BATCH = 128;
const BATCH_BYTES = 1 << 30;

export interface NetworkOptions {
  threads?: number;
  /** Most examples at a time. */
  batch?: number;
  /** For tests: the variant of the operations. */
  variant?: string;
  /** The same network for shorter texts, their lengths rising. */
  shorter?: readonly Bucket<Graph>[];
}

/** One graph's plan and memory in the addon. */
class Runner {
  readonly columns: number;
  private constructor(
    readonly graph: Graph,
    readonly batch: number,
    readonly handle: NetworkHandle,
    readonly bytes: number,
    readonly variant: string,
  ) {
    this.columns = graph.values[graph.output]?.columns ?? 0;
  }

  static create(graph: Graph, largest: number, options: NetworkOptions): Runner {
    const perExample = graph.values.reduce((n, v) => n + v.rows * v.columns * 4, 0);
    const room = BATCH_BYTES / (1 + (options.shorter?.length ?? 0));
    const batch = Math.max(1, Math.min(largest, Math.floor(room / Math.max(1, perExample))));
    const threads = resolveThreads(options.threads);
    try {
      const made = native().createNetwork(graph, batch, threads, options.variant ?? '');
      return new Runner(graph, batch, made.handle, made.bytes, made.variant);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      const weights = graph.weights.reduce((n, w) => n + w.shape.reduce((a, b) => a * b, 4), 0);
      throw new StockpotError(
        'IO',
        `out of memory: the network needs ${weights} bytes for weights and ${perExample * batch} for a batch of ${batch}`,
        {
          cause,
          remedy: 'Lower --batch-size, or use a machine with more memory.',
        },
      );
    }
  }

  /** Runs `n` examples; `inputs` by name. */
  async run(
    inputs: Record<string, Float32Array | Int32Array>,
    n: number,
    out: Float32Array,
    run: RunOptions,
  ) {
    const arrays = this.graph.inputs.map((i) => {
      const data = inputs[i.name];
      if (!data)
        throw new StockpotError('USAGE', `the data has no ${i.name}, which the network needs`);
      return data;
    });
    await runJob(
      () => native().forward(this.handle, arrays, n, out),
      { file: () => '', tensor: () => undefined },
      { signal: run.signal },
      'evaluate',
      0,
    );
  }
}

/**
 * A network on the CPU whose weights can be replaced by a checkpoint's, or by a mix of several, without a new plan.
 * Logits of an example do not depend on the rest of its batch, its place in it, or the number of threads.
 */
export class NativeNetwork implements RunnableNetwork {
  private features: Float32Array | undefined;
  private readonly sharedInputs: Record<string, Float32Array | Int32Array>;

  private constructor(
    /** By the length of texts; the last takes every example. */
    private readonly buckets: readonly Bucket<Runner>[],
    private readonly classes: Runner | undefined,
    readonly numClasses: number,
    constants: Network['constants'],
  ) {
    this.sharedInputs = Object.fromEntries(
      Object.entries(constants ?? {}).map(([name, ids]) => [name, Int32Array.from(ids)]),
    );
  }

  static create(network: Network, options: NetworkOptions = {}): NativeNetwork {
    const whole = { length: Number.POSITIVE_INFINITY, value: network.graph };
    const buckets = [...(options.shorter ?? []), whole].map(({ length, value }) => ({
      length,
      value: Runner.create(value, options.batch ?? BATCH, options),
    }));
    const classes = network.classes
      ? Runner.create(network.classes, network.numClasses, options)
      : undefined;
    return new NativeNetwork(buckets, classes, network.numClasses, network.constants);
  }

  private get main(): Runner {
    return (this.buckets.at(-1) as Bucket<Runner>).value;
  }

  private get runners(): Runner[] {
    return [...this.buckets.map((b) => b.value), ...(this.classes ? [this.classes] : [])];
  }

  /** Most examples that are run at a time. */
  get batch(): number {
    return Math.max(...this.buckets.map((b) => b.value.batch));
  }

  /** Instruction set of the operations; the last bits of logits depend on it. */
  get variant(): string {
    return this.main.variant;
  }

  /** What is run; the same for shorter texts gives the same logits. */
  get graphs(): Graph[] {
    return [this.main.graph, ...(this.classes ? [this.classes.graph] : [])];
  }

  get identity(): string {
    return `native ${this.variant} ${JSON.stringify(this.graphs)}`;
  }

  /** Bytes of weights and activations. */
  get bytes(): number {
    return this.runners.reduce((n, r) => n + r.bytes, 0);
  }

  /**
   * Mixes ingredients straight into the network's weights, rounded as the soup on disk would be.
   * @throws StockpotError NONFINITE, OVERFLOW, …, as for a soup on disk
   */
  async load(
    checkpoints: readonly Checkpoint[],
    tensors: readonly PlannedTensor[],
    run: RunOptions = {},
  ): Promise<void> {
    this.features = undefined;
    for (const runner of this.runners) {
      const ids = new Map(runner.graph.weights.map((w, i) => [w.name, i]));
      const used = tensors.filter((t) => ids.has(t.storedName));
      const found = new Set(used.map((t) => t.storedName));
      const missing = runner.graph.weights.find((w) => !found.has(w.name));
      if (missing) {
        throw new StockpotError(
          'MISMATCH',
          `the soup has no tensor "${missing.name}", which the network needs`,
          {
            tensor: missing.name,
            remedy: 'Do not leave it out with --include or --exclude.',
          },
        );
      }
      const { findings } = await execute(checkpoints, [{ name: '', tensors: used }], {
        ...run,
        onProgress: undefined,
        sink: 'network',
        network: {
          handle: runner.handle,
          weights: Float64Array.from(used, (t) => ids.get(t.storedName) as number),
        },
        outputs: [{ fd: -1, prefix: new Uint8Array(), path: '' }],
      });
      judge(findings, used, checkpoints, {});
    }
  }

  /** Its memory goes with its handle. */
  async close(): Promise<void> {}

  /** Logits [indices.length, classes] of these examples, in this order. */
  async logits(
    data: Pick<DataSet, 'batch' | 'shared' | 'tokens'>,
    indices: ArrayLike<number>,
    run: RunOptions = {},
  ): Promise<Float32Array> {
    const shared = { ...this.sharedInputs, ...(await this.classFeatures(data, run)) };
    const { columns } = this.main;
    const out = new Float32Array(indices.length * columns);
    const places = assign(this.buckets, data.tokens, indices);
    for (const [b, { length, value }] of this.buckets.entries()) {
      const mine = places[b] as number[];
      for (let at = 0; at < mine.length; at += value.batch) {
        throwIfAborted(run.signal);
        const part = mine.slice(at, at + value.batch);
        const examples = part.map((place) => indices[place] as number);
        const inputs = await data.batch(examples, Number.isFinite(length) ? length : undefined);
        const logits = new Float32Array(part.length * columns);
        await value.run({ ...inputs, ...shared }, part.length, logits, run);
        for (const [row, place] of part.entries())
          out.set(logits.subarray(row * columns, (row + 1) * columns), place * columns);
      }
    }
    return out;
  }

  /** The classes' features, made once for each set of weights. */
  private async classFeatures(
    data: Pick<DataSet, 'shared'>,
    run: RunOptions,
  ): Promise<Record<string, Float32Array>> {
    const { classes } = this;
    if (!classes) return {};
    if (!this.features) {
      const inputs = Object.fromEntries(
        Object.entries(data.shared).map(([name, t]) => [name, t.data]),
      );
      const features = new Float32Array(this.numClasses * classes.columns);
      for (let at = 0; at < this.numClasses; at += classes.batch) {
        const n = Math.min(classes.batch, this.numClasses - at);
        const part = Object.fromEntries(
          classes.graph.inputs.map((i) => {
            const length = i.shape.reduce((a, b) => a * b, 1);
            return [i.name, inputs[i.name]?.subarray(at * length, (at + n) * length) as Int32Array];
          }),
        );
        await classes.run(part, n, features.subarray(at * classes.columns), run);
      }
      this.features = features;
    }
    return { class_features: this.features };
  }
}
