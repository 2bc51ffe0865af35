import type { Checkpoint } from '../checkpoint/types.js';
import { passOf } from './example_progress.js';
import { accuracy, allMetrics, type Metrics } from './metrics.js';
import { type EvaluationOptions, Session } from './session.js';

export interface EnsembleOptions extends EvaluationOptions {
  /** What is averaged over the members: logits (as the paper's), or probabilities. */
  combine?: 'logits' | 'probabilities';
  /** Only members that do not lower the accuracy, best first, as for a greedy soup. */
  greedy?: boolean;
}

/** What the mean of models' outputs reaches. */
export interface Ensemble extends Pick<Metrics, 'n' | 'accuracy' | 'loss' | 'ece'> {
  /** Positions of the members. */
  members: number[];
  notes: string[];
}

/**
 * The ensemble of models: the mean of their outputs. Each model runs once, whatever is combined (Wortsman et al. 2022,
 * section 3: "Ensemble", "Greedy ensemble").
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function ensemble(
  models: readonly (string | Checkpoint)[],
  options: EnsembleOptions,
): Promise<Ensemble> {
  const session = await Session.open(models, options);
  try {
    const outputs: Float32Array[] = [];
    const { labels } = session.data;
    const columns = session.network.numClasses;
    for (const i of session.checkpoints.keys()) {
      await session.load([i]);
      const onProgress = passOf(options, i + 1, models.length);
      const logits = await session.logits(undefined, { onProgress });
      outputs.push(
        options.combine === 'probabilities' ? logProbabilities(logits, columns) : logits,
      );
    }
    const combined = (members: readonly number[]) => {
      const chosen = members.map((i) => outputs[i] as Float32Array);
      return options.combine === 'probabilities' ? logOfMean(chosen) : mean(chosen);
    };
    const members = options.greedy ? greedyMembers(outputs, labels, combined) : [...outputs.keys()];
    const { n, accuracy, loss, ece } = allMetrics(combined(members), labels);
    return { n, accuracy, loss, ece, members, notes: [...session.notes] };
  } finally {
    await session.close();
  }
}

function greedyMembers(
  outputs: readonly Float32Array[],
  labels: Int32Array,
  combined: (members: readonly number[]) => Float32Array,
): number[] {
  const alone = outputs.map((o) => accuracy(o, labels));
  const order = [...outputs.keys()].sort(
    (a, b) => (alone[b] as number) - (alone[a] as number) || a - b,
  );
  let members: number[] = [];
  let best = -1;
  for (const i of order) {
    const value = accuracy(combined([...members, i]), labels);
    if (value < best) continue;
    members = [...members, i];
    best = value;
  }
  return members;
}

function mean(outputs: readonly Float32Array[]): Float32Array {
  return (outputs[0] as Float32Array).map((_, j) => {
    let sum = 0;
    for (const o of outputs) sum += o[j] as number;
    return sum / outputs.length;
  });
}

/** Each row's logits minus their log-sum-exp. */
function logProbabilities(logits: Float32Array, columns: number): Float32Array {
  const out = new Float32Array(logits.length);
  for (let at = 0; at < logits.length; at += columns) {
    const row = logits.subarray(at, at + columns);
    const largest = Math.max(...row);
    let sum = 0;
    for (const x of row) sum += Math.exp(x - largest);
    row.forEach((x, c) => {
      out[at + c] = x - largest - Math.log(sum);
    });
  }
  return out;
}

/** The log of the mean of exp: logits whose softmax is the mean of the members' probabilities. */
const logOfMean = (outputs: readonly Float32Array[]): Float32Array =>
  (outputs[0] as Float32Array).map((_, j) => {
    let sum = 0;
    for (const o of outputs) sum += Math.exp(o[j] as number);
    return Math.log(sum / outputs.length);
  });
