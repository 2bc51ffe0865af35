import { runJob, throwIfAborted } from '../checkpoint/job.js';
import type { Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { Allowances } from '../merge/execute.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { Graph, Network } from '../models/graph.js';
import { type NetworkHandle, native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { inOrder } from './ahead.js';
import { assign, type Bucket } from './buckets.js';
import { type Engine, onDevice, processor, type Taken } from './engine.js';
import { ExampleProgress } from './example_progress.js';
import type { Feed, Inputs } from './feed.js';
import { mixInto, requireWeights } from './mix_into.js';
import type { RunnableNetwork } from './network.js';
import {
  type BatchSize,
  bytesOf,
  type MemoryLimit,
  outOfMemory,
  reserve,
} from './network_memory.js';

export interface NetworkOptions extends MemoryLimit {
  threads?: number;
  /** Examples at a time. */
  batch?: BatchSize;
  /** Number of examples that there are: more than that are never run at a time. */
  examples?: number;
  /** For tests: the variant of the operations. */
  variant?: string;
  /** The same network for shorter texts, their lengths rising. */
  shorter?: readonly Bucket<Graph>[];
  /** What it is run on; the processor by default. */
  engine?: Engine;
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
    readonly threads: number,
  ) {
    this.columns = graph.values[graph.output]?.columns ?? 0;
  }

  /** @throws RangeError where the system gives no memory for it */
  static create(
    graph: Graph,
    batch: number,
    threads: number,
    variant = '',
    { device }: Engine = processor,
  ): Runner {
    const made = onDevice(() =>
      native().createNetwork(graph, batch, threads, variant, undefined, device),
    );
    return new Runner(graph, batch, made.handle, made.bytes, made.variant, threads);
  }

  /** Frees its memory. */
  free(): void {
    native().freeNetwork(this.handle);
  }

  /** Runs `n` examples; `inputs` by name. */
  async run(inputs: Inputs, n: number, out: Float32Array, run: RunOptions, data?: string) {
    const arrays = this.graph.inputs.map((i) => {
      const data = inputs[i.name];
      if (!data)
        throw new StockpotError('USAGE', `the data has no ${i.name}, which the network needs`);
      return data;
    });
    await runJob(
      () => native().forward(this.handle, arrays, n, out),
      { file: () => '', tensor: () => undefined, data },
      { signal: run.signal },
      'evaluate',
      0,
    );
  }
}

/**
 * A network on the processor or a GPU whose weights can be replaced by a checkpoint's, or by a mix of several, without a new plan.
 * Logits of an example do not depend on the rest of its batch, its place in it, or the number of threads.
 */
export class NativeNetwork implements RunnableNetwork {
  private features: Promise<Float32Array> | undefined;
  private closed = false;
  private readonly sharedInputs: Inputs;

  private constructor(
    /** By the length of texts; the last takes every example. */
    private readonly buckets: readonly Bucket<Runner>[],
    private readonly classes: Runner | undefined,
    readonly numClasses: number,
    constants: Network['constants'],
    private readonly held: Taken,
    /** Batches that are under way at a time. */
    private readonly ahead: number,
  ) {
    this.sharedInputs = Object.fromEntries(
      Object.entries(constants ?? {}).map(([name, ids]) => [name, Int32Array.from(ids)]),
    );
  }

  /**
   * Plans the network and takes its memory.
   * @throws StockpotError MEMORY
   */
  static create(network: Network, options: NetworkOptions = {}): NativeNetwork {
    const threads = resolveThreads(options.threads);
    const { classes, numClasses } = network;
    const { engine = processor } = options;
    const lengths = [...(options.shorter ?? []).map((b) => b.length), Number.POSITIVE_INFINITY];
    const graphs = [...(options.shorter ?? []).map((b) => b.value), network.graph];
    const sizes = [
      ...graphs.map((g) => bytesOf(g, threads, options.examples, engine)),
      ...(classes ? [bytesOf(classes, threads, numClasses, engine)] : []),
    ];
    for (let ceiling = Number.POSITIVE_INFINITY; ; ) {
      const { batch, held } = reserve(sizes, options.batch, options, ceiling, engine);
      const made: Runner[] = [];
      try {
        for (const [i, g] of [...graphs, ...(classes ? [classes] : [])].entries()) {
          const most = Math.min(batch, sizes[i]?.most as number);
          made.push(Runner.create(g, most, threads, options.variant, engine));
        }
        const buckets = lengths.map((length, i) => ({ length, value: made[i] as Runner }));
        const second = classes && made.at(-1);
        const { constants } = network;
        return new NativeNetwork(buckets, second, numClasses, constants, held, engine.ahead);
      } catch (cause) {
        for (const runner of made) runner.free();
        held.release();
        if (!(cause instanceof RangeError)) throw cause;
        if (options.batch !== 'auto' || batch === 1)
          throw outOfMemory(sizes, options.batch, batch, undefined, options, cause, engine);
        ceiling = Math.floor(batch / 2);
      }
    }
  }

  /** Frees its memory; it cannot be used afterwards. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const runner of this.runners) runner.free();
    this.held.release();
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

  /** That the operations were planned for. */
  get threads(): number {
    return this.main.threads;
  }

  /** Instruction set of the operations; the last bits of logits depend on it. */
  get variant(): string {
    return this.main.variant;
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
    run: RunOptions & Allowances & { sources?: Sources } = {},
  ): Promise<void> {
    this.features = undefined;
    const names = new Set(tensors.map((t) => t.storedName));
    for (const runner of this.runners) {
      requireWeights(runner.graph, names);
      await mixInto(runner, checkpoints, tensors, run);
    }
  }

  /** Logits [indices.length, classes] of these examples, in this order. */
  async logits(
    data: Pick<Feed, 'batch' | 'shared' | 'tokens'> & { path?: string },
    indices: ArrayLike<number>,
    run: RunOptions = {},
  ): Promise<Float32Array> {
    const shared = { ...this.sharedInputs, ...(await this.classFeatures(data, run)) };
    const { columns } = this.main;
    const out = new Float32Array(indices.length * columns);
    const progress = new ExampleProgress(run.onProgress, indices.length);
    const batches = this.batchesOf(data.tokens, indices);
    const results = inOrder(batches, this.ahead, async ({ length, runner, places }) => {
      throwIfAborted(run.signal);
      const examples = places.map((place) => indices[place] as number);
      const padded = Number.isFinite(length) ? length : undefined;
      const inputs = await data.batch(examples, padded, run.signal);
      const logits = new Float32Array(places.length * columns);
      await runner.run({ ...inputs, ...shared }, places.length, logits, run, data.path);
      return { places, logits };
    });
    for await (const { places, logits } of results) {
      progress.add(places.length);
      for (const [row, place] of places.entries())
        out.set(logits.subarray(row * columns, (row + 1) * columns), place * columns);
    }
    throwIfAborted(run.signal);
    return out;
  }

  private *batchesOf(tokens: Int32Array | undefined, indices: ArrayLike<number>) {
    const places = assign(this.buckets, tokens, indices);
    for (const [b, { length, value: runner }] of this.buckets.entries()) {
      const mine = places[b] as number[];
      for (let at = 0; at < mine.length; at += runner.batch)
        yield { length, runner, places: mine.slice(at, at + runner.batch) };
    }
  }

  /** The classes' features, made once for each set of weights. */
  private async classFeatures(
    data: Pick<Feed, 'shared'> & { path?: string },
    run: RunOptions,
  ): Promise<Inputs> {
    const { classes } = this;
    if (!classes) return {};
    const features = this.features ?? this.makeFeatures(classes, data, run);
    this.features = features;
    try {
      return { class_features: await features };
    } catch (e) {
      if (this.features === features) this.features = undefined;
      throw e;
    }
  }

  private async makeFeatures(
    classes: Runner,
    data: Pick<Feed, 'shared'> & { path?: string },
    run: RunOptions,
  ): Promise<Float32Array> {
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
      await classes.run(part, n, features.subarray(at * classes.columns), run, data.path);
    }
    return features;
  }
}
