import { throwIfAborted } from '../checkpoint/job.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { AtomicOutput } from '../checkpoint/output.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { requireProcessor } from '../cuda.js';
import { openDataSet } from '../data/open.js';
import { StockpotError } from '../errors.js';
import { checkInputs } from '../evaluate/fits.js';
import { NativeNetwork } from '../evaluate/native_network.js';
import type { EvaluationOptions } from '../evaluate/session.js';
import { dimensionsOf } from '../evaluate/session.js';
import { matchTensors } from '../merge/match.js';
import { planTensors } from '../merge/plan.js';
import { resolveWeights } from '../merge/weights.js';
import { buildNetwork, findConfig } from '../models/index.js';
import { featuresOf, withoutClasses } from './features.js';
import { writeHead } from './head_file.js';
import { logisticRegression } from './logistic.js';

/** How a head is fitted to a model's features. */
export interface ProbeOptions
  extends Pick<
    EvaluationOptions,
    | 'data'
    | 'config'
    | 'key'
    | 'batchSize'
    | 'cacheMemory'
    | 'skipBad'
    | 'tokenizer'
    | 'labelWords'
    | 'columns'
    | 'signal'
    | 'onProgress'
    | 'threads'
    | 'memory'
    | 'device'
  > {
  /** λ of λ/2·‖W‖² beside the mean loss; 1e-4 by default. */
  l2?: number;
  /** Most iterations of L-BFGS; 1000 by default. */
  iterations?: number;
  overwrite?: boolean;
}

/** A fitted classification head, and how well it fits. */
export interface Probe {
  model: string;
  output: string;
  /** Examples. */
  n: number;
  classes: number;
  /** Width of the features: the head's weight is [classes, features]. */
  features: number;
  /** On the examples that it was fitted to: mean cross-entropy in nats, and accuracy from 0 to 1. */
  loss: number;
  accuracy: number;
  /** Of L-BFGS. */
  iterations: number;
  /** Whether the gradient became small enough before they were used up. */
  converged: boolean;
  notes: string[];
}

/**
 * A head by logistic regression on a model's frozen features ("linear probe", as the paper begins some of its
 * fine-tuning): `classification_head.weight` and `.bias`.
 * @param output a name ending in .safetensors, or a folder
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function probe(
  model: string | Checkpoint,
  output: string,
  options: ProbeOptions,
): Promise<Probe> {
  requireProcessor(options.device, 'networks run');
  const { l2 = 1e-4 } = options;
  if (!(l2 >= 0 && Number.isFinite(l2)))
    throw new StockpotError('USAGE', `expected l2 to be a number from 0 but received ${l2}`);
  const checkpoint = typeof model === 'string' ? await openCheckpoint(model, options) : model;
  const inputs = [checkpoint.path, ...checkpoint.files.map((f) => f.path)];
  await AtomicOutput.check(output, { overwrite: options.overwrite, inputs });
  const data = await openDataSet(options.data, { ...options, model: checkpoint.path });
  try {
    const { features, width } = await featuresFor(checkpoint, data, options);
    const labels = data.labels;
    const classes = data.classNames?.length ?? labels.reduce((m, l) => Math.max(m, l), 0) + 1;
    const { iterations } = options;
    const onIteration = () => throwIfAborted(options.signal);
    const fit = logisticRegression(features, labels, { l2, classes, iterations, onIteration });
    const [weight, bias] = [Float32Array.from(fit.weight), Float32Array.from(fit.bias)];
    const { classNames } = data;
    await writeHead({ weight, bias, classNames }, output, { overwrite: options.overwrite, inputs });
    return {
      model: checkpoint.path,
      output,
      n: data.count,
      classes,
      features: width,
      loss: fit.loss,
      accuracy: accuracyOf(features, labels, fit.weight, fit.bias),
      iterations: fit.iterations,
      converged: fit.converged,
      notes: [...checkpoint.notes, ...data.notes],
    };
  } finally {
    await data.close();
  }
}

async function featuresFor(
  checkpoint: Checkpoint,
  data: Awaited<ReturnType<typeof openDataSet>>,
  options: ProbeOptions,
): Promise<{ features: Float32Array; width: number }> {
  const config = await findConfig(checkpoint.path, options.config);
  const dimensions = dimensionsOf(data);
  // CLIP asks for prompts, which a probe has no use for.
  const classes = dimensions.classes ?? { n: 1, sequenceLength: 1 };
  const network = featuresOf(
    buildNetwork(checkpoint, config, { ...dimensions, classes }),
    checkpoint,
  );
  checkInputs(data, network);
  const { threads, memory, batchSize: batch } = options;
  const { tensors: matched } = await matchTensors([checkpoint]);
  const held = { memory, taken: data.heldBytes ?? 0 };
  const native = NativeNetwork.create(network, { threads, batch, ...held });
  let features: Float32Array;
  try {
    await native.load([checkpoint], planTensors(matched, resolveWeights(1), 'keep'), options);
    const all = Int32Array.from({ length: data.count }, (_, i) => i);
    features = await native.logits(withoutClasses(data, network), all, options);
  } finally {
    native.close();
  }
  const bad = features.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) {
    throw new StockpotError(
      'NONFINITE',
      `${checkpoint.path}: example ${Math.floor(bad / network.numClasses)} has features that are not finite`,
      { file: checkpoint.path },
    );
  }
  return { features, width: network.numClasses };
}

function accuracyOf(
  features: Float32Array,
  labels: Int32Array,
  weight: Float64Array,
  bias: Float64Array,
): number {
  const width = features.length / labels.length;
  let right = 0;
  for (const [r, label] of labels.entries()) {
    let best = 0;
    let top = Number.NEGATIVE_INFINITY;
    for (const [c, b] of bias.entries()) {
      let z = b;
      for (let j = 0; j < width; j++)
        z += (weight[c * width + j] as number) * (features[r * width + j] as number);
      if (z > top) [best, top] = [c, z];
    }
    if (best === label) right++;
  }
  return right / labels.length;
}
