import { runJob, throwIfAborted } from '../checkpoint/job.js';
import type { Place, Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { concatenate } from '../evaluate/concatenate.js';
import { type Engine, onDevice, processor } from '../evaluate/engine.js';
import type { Feed, Inputs } from '../evaluate/feed.js';
import { mixInto } from '../evaluate/mix_into.js';
import type { Allowances } from '../merge/execute.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { Graph, Network } from '../models/graph.js';
import { type NetworkHandle, type NetworkInput, native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import { crossEntropy } from './loss.js';

const NO_NAMES = { file: () => '', tensor: () => undefined };

/** A graph's plan for training, its weights and their gradients, in the addon. */
class Pass {
  readonly columns: number;
  readonly weightIds: ReadonlyMap<string, number>;
  readonly handle: NetworkHandle;

  constructor(
    readonly graph: Graph,
    readonly batch: number,
    threads: number,
    floats: number,
    { device }: Engine,
  ) {
    const made = onDevice(() => native().createNetwork(graph, batch, threads, '', floats, device));
    this.handle = made.handle;
    this.columns = graph.values[graph.output]?.columns ?? 0;
    this.weightIds = new Map(graph.weights.map((w, i) => [w.name, i]));
  }

  arrays(inputs: Inputs): NetworkInput[] {
    return this.graph.inputs.map(({ name }) => {
      const data = inputs[name];
      if (!data)
        throw new StockpotError('USAGE', `the data has no ${name}, which the network needs`);
      return data;
    });
  }

  async forward(
    inputs: Inputs,
    n: number,
    data: string,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const out = new Float32Array(n * this.columns);
    const arrays = this.arrays(inputs);
    await runJob(
      () => native().forward(this.handle, arrays, n, out),
      { ...NO_NAMES, data },
      { signal },
      'forward',
      0,
    );
    return out;
  }

  async backward(
    inputs: Inputs,
    n: number,
    dout: Float32Array,
    fresh: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const arrays = this.arrays(inputs);
    await runJob(
      () => native().backward(this.handle, arrays, n, dout, fresh),
      NO_NAMES,
      { signal },
      'backward',
      0,
    );
  }
}

/**
 * A network that gives the derivatives of its loss by its weights. The class prompts of zero-shot
 * classification are part of it: their features' derivatives go on through the text tower.
 */
export class Trainer {
  private readonly main: Pass;
  private readonly classes: Pass | undefined;
  private readonly constants: Inputs;

  /**
   * @param batch examples at a time
   * @param floats what a plan of activations may take an example; see `planNetwork`
   * @throws StockpotError MEMORY where the system gives not enough
   */
  constructor(
    private readonly network: Network,
    batch: number,
    floats: number,
    threads?: number,
    engine = processor,
  ) {
    const n = resolveThreads(threads);
    try {
      this.main = new Pass(network.graph, batch, n, floats, engine);
      this.classes =
        network.classes &&
        new Pass(network.classes, Math.min(batch, network.numClasses), n, floats, engine);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new StockpotError('MEMORY', 'out of memory for the network and its gradients', {
        cause,
        remedy: 'Lower --memory or --batch-size.',
      });
    }
    this.constants = Object.fromEntries(
      Object.entries(network.constants ?? {}).map(([name, ids]) => [name, Int32Array.from(ids)]),
    );
  }

  /** Frees its memory; it cannot be used afterwards. */
  close(): void {
    for (const pass of this.passes) native().freeNetwork(pass.handle);
  }

  /**
   * Mixes these tensors into the network's weights, rounded as the soup on disk would be.
   * @throws StockpotError NONFINITE, OVERFLOW, …, as for a soup on disk
   */
  async put(
    checkpoints: readonly Checkpoint[],
    tensors: readonly PlannedTensor[],
    sources: Sources,
    run: RunOptions & Allowances,
  ): Promise<void> {
    for (const pass of this.passes) await mixInto(pass, checkpoints, tensors, { ...run, sources });
  }

  /** Logits [examples.length, classes]. */
  async logits(
    data: Feed,
    examples: ArrayLike<number>,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const shared = await this.sharedInputs(data, signal);
    const parts: Float32Array[] = [];
    for (const part of this.parts(examples)) {
      const inputs = { ...(await data.batch(part, undefined, signal)), ...shared };
      parts.push(await this.main.forward(inputs, part.length, data.path, signal));
    }
    return concatenate(parts);
  }

  /**
   * The mean cross-entropy of β·logits over these examples; its derivatives by the weights are in the network afterwards,
   * for `dot`.
   */
  async differentiate(
    data: Feed,
    examples: ArrayLike<number>,
    beta: number,
    signal?: AbortSignal,
  ): Promise<{ loss: number; beta: number }> {
    const shared = await this.sharedInputs(data, signal);
    let sums = { loss: 0, beta: 0 };
    let fresh = true;
    for (const part of this.parts(examples)) {
      const inputs = { ...(await data.batch(part, undefined, signal)), ...shared };
      const logits = await this.main.forward(inputs, part.length, data.path, signal);
      const labels = part.map((i) => data.labels[i] as number);
      const gradient = crossEntropy(logits, labels, beta, examples.length, sums);
      sums = gradient;
      await this.main.backward(inputs, part.length, gradient.logits, fresh, signal);
      fresh = false;
    }
    await this.differentiateClasses(data, signal);
    return { loss: sums.loss / examples.length, beta: sums.beta / examples.length };
  }

  /**
   * The dot products of the loss's derivatives with each ingredient's tensors.
   * @param tensors weights of the network, with the places of all k ingredients
   * @returns k numbers a tensor
   */
  async dot(
    tensors: readonly { name: string; storedName: string; places: readonly Place[] }[],
    k: number,
    sources: Sources,
    run: RunOptions,
  ): Promise<Float64Array[]> {
    const sums = tensors.map(() => new Float64Array(k));
    for (const pass of this.passes) {
      const its = [...tensors.keys()].filter((i) =>
        pass.weightIds.has(tensors[i]?.storedName as string),
      );
      if (its.length === 0) continue;
      const table = {
        ...sources.table(its.flatMap((i) => tensors[i]?.places as Place[])),
        k,
        threads: resolveThreads(run.threads),
        memory: resolveMemory(run.memory),
        network: pass.handle,
        networkWeights: Float64Array.from(
          its,
          (i) => pass.weightIds.get(tensors[i]?.storedName as string) as number,
        ),
      };
      const result = await runJob(
        () => native().dot(table),
        { file: (i) => sources.path(i), tensor: (i) => tensors[its[i] as number]?.name },
        { signal: run.signal },
        'differentiate',
        0,
      );
      its.forEach((i, row) => {
        const sum = sums[i] as Float64Array;
        for (let j = 0; j < k; j++)
          sum[j] = (sum[j] as number) + (result.sums[row * k + j] as number);
      });
    }
    return sums;
  }

  private get passes(): Pass[] {
    return [this.main, ...(this.classes ? [this.classes] : [])];
  }

  private *parts(examples: ArrayLike<number>): Generator<number[]> {
    for (let at = 0; at < examples.length; at += this.main.batch)
      yield Array.prototype.slice.call(examples, at, at + this.main.batch);
  }

  private async sharedInputs(data: Feed, signal?: AbortSignal): Promise<Inputs> {
    throwIfAborted(signal);
    if (!this.classes) return this.constants;
    const features: Float32Array[] = [];
    for (const { inputs, n } of this.classParts(data, this.classes))
      features.push(await this.classes.forward(inputs, n, data.path, signal));
    return { ...this.constants, class_features: concatenate(features) };
  }

  /** The text tower's part: its activations were another part's, so each part runs forward again. */
  private async differentiateClasses(data: Feed, signal?: AbortSignal): Promise<void> {
    const { classes, main } = this;
    if (!classes) return;
    const input = main.graph.inputs.findIndex((i) => i.name === 'class_features');
    const gradient = native().inputGradient(main.handle, input) as Float32Array;
    let at = 0;
    for (const { inputs, n } of this.classParts(data, classes)) {
      await classes.forward(inputs, n, data.path, signal);
      const dout = gradient.subarray(at * classes.columns, (at + n) * classes.columns);
      await classes.backward(inputs, n, dout, at === 0, signal);
      at += n;
    }
  }

  private *classParts(data: Feed, classes: Pass): Generator<{ inputs: Inputs; n: number }> {
    const { numClasses } = this.network;
    for (let at = 0; at < numClasses; at += classes.batch) {
      const n = Math.min(classes.batch, numClasses - at);
      const inputs = Object.fromEntries(
        classes.graph.inputs.map((i) => {
          const length = i.shape.reduce((a, b) => a * b, 1);
          const all = data.shared[i.name]?.data;
          return [i.name, all?.subarray(at * length, (at + n) * length) as Int32Array];
        }),
      );
      yield { inputs, n };
    }
  }
}
