import { accuracyOf, type Scores, scoresOf } from '../../evaluate/metrics.js';
import { meanOf, type Panel, rightOf } from './panel.js';

/** Positions by falling number, ties by position. */
export const bestFirst = (values: readonly number[]): number[] =>
  [...values.keys()].sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);

/** A greedy soup, and how it came about. */
export interface GreedyPath {
  /** In the order in which they were accepted. */
  members: number[];
  /** The members after each of the ingredients, in order, was tried. */
  after: number[][];
}

/**
 * The greedy recipe's decisions (Wortsman et al. 2022, recipe 1) in this order, by accuracy on these examples. As
 * `greedy`, but on what the panel knows already.
 */
export async function greedySoup(
  panel: Panel,
  order: readonly number[],
  examples: Int32Array,
): Promise<GreedyPath> {
  const k = panel.models.length;
  let members = [order[0] as number];
  let best = await panel.scores(meanOf(k, members), examples);
  const after = [members];
  for (const candidate of order.slice(1)) {
    const tried = [...members, candidate];
    const scores = await panel.challenge(meanOf(k, tried), best, examples);
    if (scores) {
      members = tried;
      best = scores;
    }
    after.push(members);
  }
  return { members, after };
}

/** The mean of outputs, summed in the order in which they are added. */
export class OutputMean {
  private sum: Float64Array | undefined;
  private count = 0;

  add(output: Float32Array): void {
    this.sum ??= new Float64Array(output.length);
    for (let j = 0; j < output.length; j++)
      this.sum[j] = (this.sum[j] as number) + (output[j] as number);
    this.count++;
  }

  /** With one output more, which is not kept. */
  with(output: Float32Array): Float32Array {
    const { sum, count } = this;
    if (!sum) return output;
    return output.map((x, j) => ((sum[j] as number) + x) / (count + 1));
  }

  get mean(): Float32Array {
    return Float32Array.from(this.sum as Float64Array, (x) => x / this.count);
  }
}

/** Members of the greedy ensemble: best first, those that do not lower the accuracy on these examples. */
export async function greedyEnsemble(
  panel: Panel,
  order: readonly number[],
  examples: Int32Array,
): Promise<number[]> {
  const k = panel.models.length;
  const labels = examples.map((i) => panel.labels[i] as number);
  const members: number[] = [];
  const ensemble = new OutputMean();
  let best = -1;
  for (const candidate of order) {
    const logits = rows(await panel.logits(meanOf(k, [candidate])), examples, panel.numClasses);
    const value = accuracyOf(scoresOf(ensemble.with(logits), labels).prediction, labels);
    if (value < best) continue;
    best = value;
    members.push(candidate);
    ensemble.add(logits);
  }
  return members;
}

/** Logits of the mean of models' outputs. */
export async function ensembleLogits(
  panel: Panel,
  members: readonly number[],
): Promise<Float32Array> {
  const ensemble = new OutputMean();
  for (const i of members) ensemble.add(await panel.logits(meanOf(panel.models.length, [i])));
  return ensemble.mean;
}

function rows(logits: Float32Array, examples: Int32Array, classes: number): Float32Array {
  if (examples.length * classes === logits.length && examples.every((i, at) => i === at))
    return logits;
  const out = new Float32Array(examples.length * classes);
  for (const [r, i] of examples.entries())
    out.set(logits.subarray(i * classes, (i + 1) * classes), r * classes);
  return out;
}

/** Share of these examples that are right. */
export const accuracyOn = (scores: Scores, labels: Int32Array, examples: Int32Array): number =>
  rightOf(scores, labels, examples) / examples.length;
