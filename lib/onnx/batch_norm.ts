import { throwIfAborted } from '../checkpoint/job.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import type { Matched } from '../merge/match.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { GraphFiles } from './graph_files.js';
import { findFeeds, fixedBatch, toTensor } from './inputs.js';
import { type GraphMatchOptions, matchGraph } from './match.js';
import { type OnnxModel, type OnnxNode, readOnnx } from './model.js';
import { readGraph } from './network.js';
import { onnxRuntime, providersFor } from './runtime.js';
import type { GraphWeight } from './slot.js';
import { attribute, node, output } from './write.js';

/** Examples at a time, unless said otherwise. */
export const BATCH = 128;

export interface StatisticsOptions extends GraphMatchOptions, RunOptions {
  batchSize?: number;
  device?: string;
}

/** A node of the graph, and the soup's tensors that hold its statistics. */
interface Normalisation {
  node: OnnxNode;
  mean: string;
  variance: string;
}

/**
 * Batch-norm statistics of a soup's own activations, as PyTorch's `torch.optim.swa_utils.update_bn` makes them: one pass in
 * training mode, in which every layer normalises by its batch's own statistics; the result is the plain mean over the
 * batches of their means and of their unbiased variances (momentum None). In the graph, BatchNormalization nodes get
 * training_mode 1 and momentum 0 and so put out the batch's statistics.
 * @returns by the tensor's name in the soup
 * @throws StockpotError UNSUPPORTED where the graph has no such node, is too old, or has a fixed number of examples
 */
export async function batchNormStatistics(
  path: string,
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  tensors: readonly PlannedTensor[],
  data: DataSet,
  options: StatisticsOptions,
): Promise<Map<string, Float32Array>> {
  const ort = onnxRuntime();
  const model = readOnnx(await readGraph(path), path);
  const feeds = findFeeds(path, model, data);
  const { weights } = await matchGraph(path, model, matched, checkpoints, options);
  const layers = findLayers(path, model, weights);
  if (fixedBatch(model, feeds) !== undefined)
    throw refused(path, 'the graph was exported for a fixed number of examples');
  const files = await GraphFiles.open(path, inTraining(model, layers), weights);
  try {
    await files.write(checkpoints, tensors, options);
    const session = await ort.InferenceSession.create(files.graph, {
      executionProviders: providersFor(options.device),
      intraOpNumThreads: resolveThreads(options.threads),
      // Nothing may be merged into the layers that are looked at.
      graphOptimizationLevel: 'disabled',
      logSeverityLevel: 3,
    });
    try {
      const sums = new Map<string, Float64Array>();
      let batches = 0;
      const size = options.batchSize ?? BATCH;
      for (let at = 0; at < data.count; at += size, batches++) {
        throwIfAborted(options.signal);
        const n = Math.min(size, data.count - at);
        const inputs = await data.batch(Array.from({ length: n }, (_, i) => at + i));
        const given = Object.fromEntries(
          feeds.map((f) => {
            const values = f.shared ? data.shared[f.from]?.data : inputs[f.from];
            const shape = f.shared ? f.shape : [n, ...f.shape];
            return [f.input, toTensor(ort, f.type, values ?? new Float32Array(), shape)];
          }),
        );
        const found = await session.run(given);
        for (const [i, layer] of layers.entries()) addBatch(path, sums, layer, i, found);
      }
      return new Map(
        [...sums].map(([name, s]) => [name, Float32Array.from(s, (x) => x / batches)]),
      );
    } finally {
      await session.release();
    }
  } catch (cause) {
    if (cause instanceof StockpotError) throw cause;
    throw refused(path, `ONNX Runtime: ${(cause as Error).message.replace(/\s+/g, ' ')}`, cause);
  } finally {
    await files.close();
  }
}

function refused(path: string, why: string, cause?: unknown): StockpotError {
  return new StockpotError(
    'UNSUPPORTED',
    `${path}: batch-norm statistics cannot be computed again: ${why}`,
    {
      file: path,
      cause,
      remedy:
        'Export the graph with its BatchNormalization nodes (training=TrainingMode.PRESERVE), opset 14 or newer, and a free first dimension.',
    },
  );
}

function findLayers(
  path: string,
  model: OnnxModel,
  weights: readonly GraphWeight[],
): Normalisation[] {
  const tensor = new Map(weights.map((w) => [w.slot.name, w.tensor.name]));
  const layers = model.nodes.flatMap((n): Normalisation[] => {
    const [mean, variance] = [tensor.get(n.inputs[3] ?? ''), tensor.get(n.inputs[4] ?? '')];
    if (n.op !== 'BatchNormalization' || mean === undefined || variance === undefined) return [];
    return [{ node: n, mean, variance }];
  });
  if (layers.length === 0) throw refused(path, 'the graph has no BatchNormalization');
  if (model.opset < 14) throw refused(path, `its opset is ${model.opset}`);
  return layers;
}

/** Names of what layer `i` puts out. */
const named = (i: number) => ['mean', 'variance', 'shape'].map((w) => `stockpot.${w}.${i}`);

function inTraining(model: OnnxModel, layers: readonly Normalisation[]): OnnxModel {
  const at = new Map(layers.map((l, i) => [l.node, i]));
  const nodes = model.nodes.flatMap((n): OnnxNode[] => {
    const i = at.get(n);
    if (i === undefined) return [n];
    const [mean, variance, shape] = named(i) as [string, string, string];
    const outputs = [n.outputs[0] as string, mean, variance];
    const attributes = [...n.attributes]
      .filter(([name]) => name === 'epsilon')
      .map(([, raw]) => raw);
    attributes.push(attribute('training_mode', { int: 1 }), attribute('momentum', { float: 0 }));
    const trained = { ...n, outputs, raw: node(n.op, n.inputs, outputs, attributes) };
    const [x] = n.inputs as [string];
    const shapeNode = { ...n, op: 'Shape', inputs: [x], outputs: [shape] };
    return [trained, { ...shapeNode, raw: node('Shape', [x], [shape], []) }];
  });
  const outputs = layers.flatMap((_, i) =>
    named(i).map((name, j) => {
      const raw = output(name, j === 2 ? 'I64' : 'F32');
      return { name, type: j === 2 ? 7 : 1, shape: undefined, raw };
    }),
  );
  return { ...model, nodes, outputs };
}

function addBatch(
  path: string,
  sums: Map<string, Float64Array>,
  layer: Normalisation,
  i: number,
  found: Record<string, { data: unknown }>,
): void {
  const [mean, variance, shape] = named(i).map((n) => found[n]?.data);
  const sizes = [...(shape as BigInt64Array)].map(Number);
  const n = sizes.reduce((a, b) => a * b, 1) / (sizes[1] as number);
  if (n < 2) throw refused(path, 'a batch has one element a channel: take more examples');
  const add = (name: string, values: Float32Array, by: number) => {
    const sum = sums.get(name) ?? new Float64Array(values.length);
    for (const [c, v] of values.entries()) sum[c] = (sum[c] as number) + v * by;
    sums.set(name, sum);
  };
  add(layer.mean, mean as Float32Array, 1);
  add(layer.variance, variance as Float32Array, n / (n - 1));
}
