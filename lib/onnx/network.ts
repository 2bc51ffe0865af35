import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { throwIfAborted } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import { fileError } from '../checkpoint/system_error.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { toFloat32 } from '../data/numbers.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import { concatenate } from '../evaluate/concatenate.js';
import { ExampleProgress } from '../evaluate/example_progress.js';
import type { RunnableNetwork } from '../evaluate/network.js';
import type { Allowances } from '../merge/execute.js';
import type { Matched } from '../merge/match.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { GraphFiles } from './graph_files.js';
import { type Feed, findFeeds, fixedBatch, toTensor } from './inputs.js';
import { type GraphMatchOptions, matchGraph } from './match.js';
import { type OnnxModel, readOnnx } from './model.js';
import { onnxRuntime, type Providers, providersFor } from './runtime.js';
import type { GraphWeight } from './slot.js';

/** protobuf's limit; weights beyond it lie in files beside the graph. */
const LARGEST = 2 ** 31 - 1;

/** Examples at a time, where that is shown to change no logit; small networks only, whose runs are mostly overhead. */
const BATCH = 16;
const SMALL_WEIGHTS = 64e6;
const SMALL_INPUT = 50_000;

export interface OnnxOptions extends GraphMatchOptions, Pick<RunOptions, 'threads'> {
  /** auto, cpu, cuda or cuda:N. */
  device?: string;
  /** Most examples at a time. */
  batchSize?: number;
}

/**
 * A network that a graph describes, run by ONNX Runtime with the soup's weights in place of the graph's own. Each mix gets
 * a session of its own.
 *
 * An example's logits must not depend on what else is in its batch, and the runtime does not promise that: it chooses
 * kernels by the size of the batch. So batches always have the same size, filled up where examples run out; and a size above
 * 1 is used only if every place of the batch gives the same bits, whatever stands in the others (`tryBatch`).
 */
export class OnnxNetwork implements RunnableNetwork {
  private session: InferenceSession | undefined;
  private classes: number | undefined;

  private constructor(
    private readonly path: string,
    private readonly files: GraphFiles,
    private readonly feeds: readonly Feed[],
    private readonly output: string,
    /** Examples that every run gets, and whether they may differ. */
    private size: number,
    private readonly fixed: boolean,
    private readonly providers: Providers,
    readonly threads: number,
    private readonly hash: string,
    /** Of weights; the runtime does not say what it takes besides. */
    readonly bytes: number,
    readonly notes: readonly string[],
  ) {}

  /**
   * Reads a graph and finds the place of every tensor in it.
   * @throws StockpotError NOT_FOUND, IO, FORMAT; MISMATCH where weights or inputs cannot all be matched; NATIVE without
   *   ONNX Runtime; DEVICE
   */
  static async open(
    path: string,
    checkpoints: readonly Checkpoint[],
    matched: readonly Matched[],
    data: DataSet,
    options: OnnxOptions = {},
  ): Promise<OnnxNetwork> {
    onnxRuntime();
    const providers = providersFor(options.device);
    const bytes = await readGraph(path);
    const model = readOnnx(bytes, path);
    const feeds = findFeeds(path, model, data);
    const { output, classes } = chooseOutput(path, model);
    const { weights, notes } = await matchGraph(path, model, matched, checkpoints, options);
    const files = await GraphFiles.open(path, model, weights);
    const fixed = fixedBatch(model, feeds);
    const network = new OnnxNetwork(
      path,
      files,
      feeds,
      output,
      fixed ?? largestBatch(weights, feeds, options.batchSize),
      fixed !== undefined,
      providers,
      resolveThreads(options.threads),
      createHash('sha256').update(bytes).digest('hex'),
      weightBytes(weights),
      notes,
    );
    network.classes = classes;
    return network;
  }

  /** Different examples of one run; undefined before it was tried. */
  private rows: number | undefined;

  get batch(): number {
    return this.rows ?? this.size;
  }

  /** @throws StockpotError where it is not known before a first run (`findClasses`) */
  get numClasses(): number {
    if (this.classes === undefined) throw new Error('the number of classes is not known yet');
    return this.classes;
  }

  /** What the logits depend on besides weights and data. */
  get identity(): string {
    return `onnx ${onnxRuntime().env.versions.node} ${JSON.stringify(this.providers)} ${this.size} ${this.hash}`;
  }

  /** Runs one example where the graph does not say how many classes there are. */
  async findClasses(
    data: DataSet,
    checkpoints: readonly Checkpoint[],
    tensors: readonly PlannedTensor[],
    run: RunOptions,
  ): Promise<void> {
    if (this.classes !== undefined) return;
    await this.load(checkpoints, tensors, run);
    this.classes = (await this.logits(data, [0], run)).length;
  }

  async load(
    checkpoints: readonly Checkpoint[],
    tensors: readonly PlannedTensor[],
    run: RunOptions & Allowances = {},
  ): Promise<void> {
    await this.release();
    await this.files.write(checkpoints, tensors, run);
    throwIfAborted(run.signal);
    this.session = await this.ask('load the graph', () =>
      onnxRuntime().InferenceSession.create(this.files.graph, {
        executionProviders: this.providers,
        intraOpNumThreads: this.threads,
        interOpNumThreads: 1,
        logSeverityLevel: 3,
      }),
    );
  }

  async logits(
    data: DataSet,
    indices: ArrayLike<number>,
    run: RunOptions = {},
  ): Promise<Float32Array> {
    const { session } = this;
    if (!session) throw new Error('no weights are loaded');
    const ort = onnxRuntime();
    const shared: Record<string, Tensor> = {};
    for (const f of this.feeds) {
      const t = data.shared[f.from];
      if (f.shared && t) shared[f.input] = toTensor(ort, f.type, t.data, f.shape);
    }
    const runOnce = async (examples: readonly number[]) => {
      throwIfAborted(run.signal);
      return this.runBatch(session, data, shared, examples);
    };
    this.rows ??= await this.tryBatch(data, runOnce);
    const parts: Float32Array[] = [];
    const progress = new ExampleProgress(run.onProgress, indices.length);
    for (let i = 0; i < indices.length; i += this.rows) {
      const part = Array.prototype.slice.call(indices, i, i + this.rows) as number[];
      const logits = await runOnce(filled(part, this.size));
      parts.push(logits.subarray(0, (logits.length / this.size) * part.length));
      progress.add(part.length);
    }
    return concatenate(parts);
  }

  /**
   * How many different examples a run may have: all places of the batch, if the same example has the same logits in each,
   * whether the others hold the same one or others; else one.
   */
  private async tryBatch(
    data: DataSet,
    run: (examples: readonly number[]) => Promise<Float32Array>,
  ): Promise<number> {
    const { size } = this;
    if (size === 1) return 1;
    const others = Array.from({ length: size }, (_, i) => i % data.count);
    try {
      const same = await run(Array(size).fill(0));
      const [forth, back] = [await run(others), await run([...others].reverse())];
      const classes = same.length / size;
      const row = (of: Float32Array, i: number) =>
        bits(of.subarray(i * classes, (i + 1) * classes));
      const first = row(same, 0);
      const alike =
        others.every((_, i) => row(same, i) === first) &&
        others.every((_, i) => row(forth, i) === row(back, size - 1 - i)) &&
        row(forth, 0) === first;
      if (alike) return size;
    } catch (cause) {
      // A graph whose sizes are those of one example, whatever its inputs' shapes say.
      if (this.fixed || !(cause instanceof StockpotError) || cause.code === 'ABORTED') throw cause;
    }
    if (!this.fixed) this.size = 1;
    return 1;
  }

  /** @param examples `size` of them */
  private async runBatch(
    session: InferenceSession,
    data: DataSet,
    shared: Record<string, Tensor>,
    examples: readonly number[],
  ): Promise<Float32Array> {
    const inputs = await data.batch(examples);
    const feeds: Record<string, Tensor> = { ...shared };
    for (const f of this.feeds) {
      const values = inputs[f.from];
      if (!f.shared && values)
        feeds[f.input] = toTensor(onnxRuntime(), f.type, values, [examples.length, ...f.shape]);
    }
    const result = await this.ask('run the graph', () => session.run(feeds, [this.output]));
    return this.checked(result[this.output], examples.length);
  }

  private checked(t: Tensor | undefined, expected: number): Float32Array {
    const [n, classes] = t?.dims ?? [];
    const known = this.classes ?? classes;
    if (t?.dims.length !== 2 || n !== expected || classes !== known || !classes) {
      throw new StockpotError(
        'MISMATCH',
        `${this.path}: output "${this.output}" has the shape [${t?.dims.join(', ')}], expected logits [${expected}, ${known ?? 'classes'}]`,
        { file: this.path, remedy: 'Export a graph with one output: logits [n, classes].' },
      );
    }
    const { data } = t;
    if (data instanceof Float32Array) return data;
    if (data instanceof Float64Array) return Float32Array.from(data);
    const view = data as Uint16Array;
    const f16 = new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
    return toFloat32('F16', f16) as Float32Array;
  }

  /** Turns the runtime's errors into ours. */
  private async ask<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      const said = (cause as Error).message
        .replaceAll(this.files.graph, this.path)
        .replace(/\s+/g, ' ')
        .trim();
      throw new StockpotError('UNSUPPORTED', `${this.path}: ONNX Runtime cannot ${what}: ${said}`, {
        file: this.path,
        cause,
        remedy: 'Check the graph with onnx.checker, and that its inputs are what the data has.',
      });
    }
  }

  private async release(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    await session?.release();
  }

  async close(): Promise<void> {
    await this.release();
    await this.files.close();
  }
}

/** Examples of a batch, the last one repeated until it is full. */
const filled = (examples: readonly number[], size: number): number[] =>
  Array.from({ length: size }, (_, i) => examples[Math.min(i, examples.length - 1)] as number);

const bits = (x: Float32Array): string =>
  Buffer.from(x.buffer, x.byteOffset, x.byteLength).toString('latin1');

/** As float32. */
const weightBytes = (weights: readonly GraphWeight[]): number =>
  weights.reduce((n, w) => n + 4 * elementCount(w.slot.shape), 0);

/** By the sizes of weights and inputs only, so that it is the same in every run. */
function largestBatch(
  weights: readonly GraphWeight[],
  feeds: readonly Feed[],
  wanted = BATCH,
): number {
  const bytes = weightBytes(weights);
  const input = feeds.reduce((n, f) => n + (f.shared ? 0 : elementCount(f.shape)), 0);
  return bytes <= SMALL_WEIGHTS && input <= SMALL_INPUT ? Math.min(BATCH, wanted) : 1;
}

/** A graph file's bytes. @throws StockpotError NOT_FOUND, IO, FORMAT */
export async function readGraph(path: string): Promise<Uint8Array> {
  try {
    const info = await stat(path);
    if (!info.isFile()) {
      throw new StockpotError('NOT_FOUND', `${path}: expected an ONNX file, found something else`, {
        file: path,
      });
    }
    if (info.size > LARGEST) {
      throw new StockpotError(
        'FORMAT',
        `${path}: has ${info.size} bytes; an ONNX graph has at most 2 GB`,
        {
          file: path,
          remedy: 'Export it with external data (save_as_external_data, external_data=True).',
        },
      );
    }
    return await readFile(path);
  } catch (cause) {
    throw cause instanceof StockpotError ? cause : fileError(path, cause);
  }
}

/** The logits: by name, or the only output, or the only one that is a matrix of floating-point numbers. */
function chooseOutput(path: string, model: OnnxModel): { output: string; classes?: number } {
  const matrices = model.outputs.filter(
    (o) => [0, 1, 10, 11].includes(o.type) && (o.shape === undefined || o.shape.length === 2),
  );
  const chosen =
    matrices.find((o) => o.name === 'logits' || o.name === 'logits_per_image') ??
    (matrices.length === 1 ? matrices[0] : undefined);
  if (!chosen) {
    throw new StockpotError(
      'MISMATCH',
      `${path}: expected an output "logits" [n, classes] but the graph has ${model.outputs.map((o) => `"${o.name}" [${o.shape?.join(', ') ?? '?'}]`).join(', ')}`,
      { file: path, remedy: 'Export a graph with one output: logits [n, classes].' },
    );
  }
  const classes = chosen.shape?.[1];
  return {
    output: chosen.name,
    classes: typeof classes === 'number' && classes > 0 ? classes : undefined,
  };
}
