import { openCheckpoint } from '../checkpoint/open.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { checkLabels } from '../data/labels.js';
import { type DataOptions, openDataSet } from '../data/open.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import type { Allowances } from '../merge/execute.js';
import { groupMixture } from '../merge/groups.js';
import { type Matched, type MatchOptions, matchTensors } from '../merge/match.js';
import { bytesToRead, type OutputDType, type PlannedTensor, planTensors } from '../merge/plan.js';
import { resolveWeights, type Weighting } from '../merge/weights.js';
import { graphsOf, type Network } from '../models/graph.js';
import { buildNetwork, findConfig, type Graph } from '../models/index.js';
import { OnnxNetwork } from '../onnx/network.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory } from '../threads.js';
import { type Bucket, bucketLengths, mostBuckets } from './buckets.js';
import { DeviceShelf, leastForIngredients } from './device_shelf.js';
import { type Engine, openEngine, type Precision, processor } from './engine.js';
import type { Candidate } from './evaluator.js';
import { DeviceFeed } from './feed.js';
import { checkInputs } from './fits.js';
import { NativeNetwork } from './native_network.js';
import type { RunnableNetwork } from './network.js';
import type { BatchSize } from './network_memory.js';

export interface EvaluationOptions
  extends RunOptions,
    MatchOptions,
    Pick<DataOptions, 'cacheMemory' | 'skipBad' | 'tokenizer' | 'labelWords' | 'columns'> {
  /** Labelled data: a tensor file, a folder of classes, tar shards, text files or parquet files. */
  data: string | readonly string[];
  /** The config, where none lies beside the first ingredient. */
  config?: string;
  key?: string;
  /** Examples at a time; `auto`: 128, halved until they fit into memory. By default as many as fit, up to 128. */
  batchSize?: BatchSize;
  /** Type that a mix of ingredients is rounded to before it is evaluated. */
  dtype?: OutputDType;
  /** What a GPU's network holds its values and matrices in; `f32` by default, in which it decides as the processor does. */
  precision?: Precision;
  /** An ONNX graph that is run with the soup's weights in place of its own. */
  graph?: string;
  /** The checkpoint that the graph was exported from, where it is none of the ingredients. */
  graphWeights?: string;
  /** Globs of the graph's constants that stay, though they are no tensors that the soup has. */
  graphKeep?: readonly string[];
}

/**
 * Ingredients, labelled data and one network that they are all run on: the data is prepared once, the plan is made once,
 * and any mix of the ingredients is put into the same memory.
 */
export class Session {
  private readonly all: number[];
  private made: NativeNetwork | undefined;
  private shelf: DeviceShelf | undefined;
  private expected: readonly number[] = [];
  /** The data for networks on a device. */
  readonly feed: DeviceFeed | undefined;

  private constructor(
    readonly checkpoints: readonly Checkpoint[],
    readonly data: DataSet,
    /** What is run natively, or the graph. */
    private readonly runs: Network | OnnxNetwork,
    /** The same for shorter texts. */
    private readonly shorter: readonly Bucket<Graph>[],
    readonly matched: readonly Matched[],
    readonly notes: readonly string[],
    private readonly options: EvaluationOptions,
    /** Bytes for buffers, where the run's memory is bounded. */
    private readonly buffers: number | undefined,
    /** What networks are run on. */
    readonly engine: Engine,
  ) {
    this.all = [...Array(data.count).keys()];
    if (!engine.device) return;
    const used = this.definition.graph.inputs.map((i) => i.name);
    this.feed = new DeviceFeed(data, engine.device, used);
  }

  /** @throws StockpotError; everything that the contract says of ingredients, configs and data */
  static async open(
    ingredients: readonly (string | Checkpoint)[],
    options: EvaluationOptions,
  ): Promise<Session> {
    if (ingredients.length === 0) {
      throw new StockpotError('USAGE', 'expected at least one ingredient');
    }
    // ONNX Runtime has devices of its own.
    const engine =
      options.graph === undefined ? openEngine(options.device, options.precision) : processor;
    try {
      return await Session.openOn(engine, ingredients, options);
    } catch (e) {
      engine.close();
      throw e;
    }
  }

  private static async openOn(
    engine: Engine,
    ingredients: readonly (string | Checkpoint)[],
    options: EvaluationOptions,
  ): Promise<Session> {
    const checkpoints: Checkpoint[] = [];
    for (const i of ingredients) {
      checkpoints.push(typeof i === 'string' ? await openCheckpoint(i, options) : i);
    }
    const first = checkpoints[0] as Checkpoint;
    const { tensors: matched, notes } = await matchTensors(checkpoints, options);
    const share = divide(options);
    const data = await openDataSet(options.data, {
      ...options,
      cacheMemory: share.cache,
      model: first.path,
      config: options.config,
    });
    try {
      const config = options.graph ? undefined : await findConfig(first.path, options.config);
      const network = options.graph
        ? await openGraph(options.graph, checkpoints, matched, data, {
            ...options,
            memory: share.buffers,
          })
        : describe(first, config, data);
      const graph = network instanceof OnnxNetwork;
      const shorter = graph ? [] : shorterGraphs(first, config, data, network.graph);
      const more = graph ? network.notes : [];
      const said = [...checkpoints.flatMap((c) => c.notes), ...notes, ...data.notes, ...more];
      return new Session(
        checkpoints,
        data,
        network,
        shorter,
        matched,
        said,
        options,
        share.buffers,
        engine,
      );
    } catch (e) {
      await data.close();
      throw e;
    }
  }

  /** The graph, where one is run. */
  get graph(): OnnxNetwork | undefined {
    return this.runs instanceof OnnxNetwork ? this.runs : undefined;
  }

  /** What is run natively. @throws StockpotError USAGE where a graph is run */
  get definition(): Network {
    if (!(this.runs instanceof OnnxNetwork)) return this.runs;
    throw new StockpotError('USAGE', 'a graph has no backward pass here', {
      remedy: 'Leave out --graph where the network is one that stockpot knows.',
    });
  }

  /** The network; run natively, its memory is taken when it is first asked for. @throws StockpotError MEMORY */
  get network(): RunnableNetwork {
    return this.runs instanceof OnnxNetwork ? this.runs : this.native;
  }

  private get native(): NativeNetwork {
    this.made ??= NativeNetwork.create(this.definition, {
      threads: this.options.threads,
      batch: this.options.batchSize,
      examples: this.data.count,
      shorter: this.shorter,
      memory: this.options.memory,
      // Data and buffers are the processor's.
      taken: this.engine.device ? 0 : (this.buffers ?? 0) + (this.data.heldBytes ?? 0),
      engine: this.engine,
    });
    return this.made;
  }

  get numClasses(): number {
    return this.runs.numClasses;
  }

  /** Batches that may be asked for before the logits of the first are there. */
  get ahead(): number {
    return this.engine.ahead;
  }

  /**
   * Puts a mix of the ingredients into the network: `weights` one an ingredient, or the mean of `members`.
   * @param signal ends this call, as the session's own does
   */
  async load(
    members: readonly number[],
    weights?: readonly number[],
    signal?: AbortSignal,
  ): Promise<void> {
    const k = this.checkpoints.length;
    const share = Array.from({ length: k }, (_, i) => (members.includes(i) ? 1 : 0));
    const weighting = weights ? resolveWeights(k, weights) : resolveWeights(k, share, true);
    await this.loadMixture(weighting, signal);
  }

  /** Puts a soup that is to be evaluated into the network. */
  async loadCandidate(soup: Candidate, signal?: AbortSignal): Promise<void> {
    const { weights, mixture, dtype, allow } = soup;
    const weighting = mixture
      ? await groupMixture(this.checkpoints, this.matched, mixture)
      : resolveWeights(this.checkpoints.length, weights);
    await this.loadMixture(weighting, signal, dtype, allow);
  }

  /** Puts a mix into the network whose weights may differ from tensor to tensor. */
  async loadMixture(
    weighting: Weighting | ((tensor: string) => Weighting),
    signal?: AbortSignal,
    dtype = this.options.dtype,
    allow: Allowances = {},
  ): Promise<void> {
    const tensors = planTensors(this.matched, weighting, dtype ?? 'keep');
    const run = this.until(signal);
    const sources = await this.onDevice(tensors, run);
    await this.network.load(this.checkpoints, tensors, { ...run, ...allow, sources });
    this.shelf?.readAhead(this.expected, this.until(undefined));
  }

  /**
   * Says which ingredients the mixes after the next one bring: where they stay on a device, the first of them is read
   * while the next mix is evaluated. None: what is being read is left.
   * @returns those that do not stay there
   */
  expect(ingredients: readonly number[]): readonly number[] {
    this.expected = ingredients;
    if (ingredients.length === 0) this.shelf?.stopReading();
    return ingredients.filter((i) => !this.shelf?.keeps(i));
  }

  /**
   * Has the data, and then the ingredients of a mix, on the device, where there is one and they fit. The data come first:
   * every candidate needs all of them, and four times their bytes where they are images; an ingredient's byte is needed
   * once, by the candidates that it is in.
   */
  private async onDevice(tensors: readonly PlannedTensor[], run: RunOptions) {
    const { feed, engine } = this;
    const { device } = engine;
    if (!feed || !device) return undefined;
    if (!this.shelf) {
      const { bytes } = this.network;
      const { memory = Number.POSITIVE_INFINITY } = this.options;
      const room = () => Math.min(engine.available(), Math.max(0, memory - bytes - feed.bytes));
      const used = new Set(graphsOf(this.definition).flatMap((g) => g.weights.map((w) => w.name)));
      const mine = this.matched.filter((m) => used.has(m.entries[0]?.name as string));
      const entries = this.checkpoints.map((_, i) => mine.flatMap((m) => m.entries[i] ?? []));
      feed.place(room() - leastForIngredients(entries));
      this.shelf = await DeviceShelf.open(this.checkpoints, entries, device, room());
    }
    await this.shelf.prepare(
      tensors.flatMap((t) => t.places),
      run,
    );
    return this.shelf.sources;
  }

  /**
   * Logits [n, classes] of what was loaded last, on these examples or on all.
   * @param run `signal` ends this call, as the session's own does; progress is told only to what is given here
   */
  async logits(
    indices: ArrayLike<number> = this.all,
    { signal, onProgress }: Pick<RunOptions, 'signal' | 'onProgress'> = {},
  ): Promise<Float32Array> {
    const run = { ...this.until(signal), onProgress };
    if (!this.feed) return await this.network.logits(this.data, indices, run);
    return await this.native.logits(this.feed, indices, run);
  }

  private until(signal: AbortSignal | undefined): EvaluationOptions {
    const { signal: own } = this.options;
    const both = own && signal && own !== signal ? AbortSignal.any([own, signal]) : undefined;
    return { ...this.options, memory: this.buffers, signal: both ?? signal ?? own };
  }

  /** Bytes of all ingredients' tensors. */
  get weightBytes(): number {
    const all = resolveWeights(this.checkpoints.length);
    return bytesToRead(planTensors(this.matched, all, this.options.dtype ?? 'keep'));
  }

  /** Frees the network and closes the data. */
  async close(): Promise<void> {
    await this.graph?.close();
    await this.shelf?.close();
    this.feed?.close();
    await this.made?.close();
    this.engine.close();
    await this.data.close();
  }
}

/** The network planned for the shorter ones of the data's texts too. */
function shorterGraphs(
  first: Checkpoint,
  config: unknown,
  data: DataSet,
  graph: Graph,
): Bucket<Graph>[] {
  if (!data.tokens) return [];
  const lengths = bucketLengths(data.tokens, mostBuckets(graph)).slice(0, -1);
  const dimensions = dimensionsOf(data);
  return lengths.map((length) => ({
    length,
    value: buildNetwork(first, config, { ...dimensions, sequenceLength: length }).graph,
  }));
}

/** The network that stockpot runs itself. */
function describe(first: Checkpoint, config: unknown, data: DataSet): Network {
  const network = buildNetwork(first, config, dimensionsOf(data));
  checkLabels(data, network.numClasses);
  checkInputs(data, network);
  return network;
}

async function openGraph(
  path: string,
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  data: DataSet,
  options: EvaluationOptions,
): Promise<OnnxNetwork> {
  const exportedFrom = options.graphWeights
    ? await openCheckpoint(options.graphWeights, options)
    : undefined;
  const network = await OnnxNetwork.open(path, checkpoints, matched, data, {
    keep: options.graphKeep,
    exportedFrom,
    threads: options.threads,
    device: options.device,
    // As many as give the same bits are taken anyway.
    batchSize: options.batchSize === 'auto' ? undefined : options.batchSize,
  });
  try {
    const first = checkpoints.map((_, i) => (i === 0 ? 1 : 0));
    const tensors = planTensors(
      matched,
      resolveWeights(checkpoints.length, first),
      options.dtype ?? 'keep',
    );
    await network.findClasses(data, checkpoints, tensors, { ...options, onProgress: undefined });
    checkLabels(data, network.numClasses);
    return network;
  } catch (e) {
    await network.close();
    throw e;
  }
}

/** What a run that may hold `memory` may hold of it in buffers and in prepared data; the network gets the rest. */
function divide({ memory, cacheMemory }: EvaluationOptions): { buffers?: number; cache?: number } {
  if (memory === undefined) return { cache: cacheMemory };
  resolveMemory(memory);
  return {
    buffers: Math.max(2 ** 20, Math.min(128 * 2 ** 20, Math.floor(memory / 8))),
    cache: cacheMemory ?? Math.min(2 ** 30, Math.floor(memory / 4)),
  };
}

/** What the data says about the network's sizes. */
export function dimensionsOf(data: DataSet) {
  const ids = data.shared.class_input_ids;
  const labels = data.shared.label_ids;
  return {
    sequenceLength: data.inputs.find((i) => i.name === 'input_ids')?.shape[0],
    classes: ids && { n: ids.shape[0] as number, sequenceLength: ids.shape[1] as number },
    labelIds: labels && rowsOf(labels.data, labels.shape[1] as number),
    inputs: [...data.inputs.map((i) => i.name), ...Object.keys(data.shared)],
  };
}

const rowsOf = (data: ArrayLike<number>, columns: number): number[][] =>
  Array.from({ length: data.length / columns }, (_, r) =>
    Array.from({ length: columns }, (_, c) => data[r * columns + c] as number),
  );
