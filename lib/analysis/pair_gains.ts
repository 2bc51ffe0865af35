import type { Checkpoint } from '../checkpoint/types.js';
import type { OnProgress } from '../progress.js';
import type { Geometry } from './geometry.js';
import { Mixes, type MixOptions, type Score } from './mixes.js';
import { correlation, pairsOf } from './statistics.js';
import { Steps } from './steps.js';

/** The average of two ingredients against the two: one point of the plot of angle against gain. */
export interface PairGain {
  /** Positions of the ingredients. */
  a: number;
  b: number;
  /** Degrees between their task vectors; null without a base. */
  angle: number | null;
  /** ‖θ_a − θ_b‖ */
  distance: number;
  /** Of the average of their weights: from 0 to 1, and in nats. */
  accuracy: number | null;
  loss: number | null;
  /** The mean of the two ingredients' own. */
  meanAccuracy: number | null;
  meanLoss: number | null;
  /** accuracy − meanAccuracy: what averaging the weights gains. */
  gain: number | null;
}

/** Evaluates each ingredient and the average of each pair: k + k(k − 1)/2 evaluations. */
export async function pairGains(
  checkpoints: readonly Checkpoint[],
  { distances, taskVectors }: Geometry,
  options: MixOptions & { onProgress?: OnProgress },
) {
  const k = checkpoints.length;
  const mixes = await Mixes.open(checkpoints, options);
  const chosen = pairsOf(k);
  const steps = new Steps('evaluate', k + chosen.length, options.onProgress);
  const score = async (members: readonly number[]): Promise<Score> => {
    const weights = Array.from({ length: k }, (_, i) =>
      members.includes(i) ? 1 / members.length : 0,
    );
    const found = await mixes.score(weights);
    steps.step();
    return found;
  };
  const models: Score[] = [];
  for (let i = 0; i < k; i++) models.push(await score([i]));
  const pairs: PairGain[] = [];
  for (const [a, b] of chosen) {
    const { accuracy, loss } = await score([a, b]);
    const mean = (what: keyof Score) => meanOf(models[a]?.[what], models[b]?.[what]);
    const meanAccuracy = mean('accuracy');
    pairs.push({
      a,
      b,
      angle: taskVectors?.angles[a]?.[b] ?? null,
      distance: distances[a]?.[b] as number,
      accuracy,
      loss,
      meanAccuracy,
      meanLoss: mean('loss'),
      gain: accuracy === null || meanAccuracy === null ? null : accuracy - meanAccuracy,
    });
  }
  const points = pairs.filter((p) => p.angle !== null && p.gain !== null);
  return {
    models,
    pairs,
    correlation: correlation(
      points.map((p) => p.angle as number),
      points.map((p) => p.gain as number),
    ),
  };
}

const meanOf = (x: number | null | undefined, y: number | null | undefined): number | null =>
  typeof x === 'number' && typeof y === 'number' ? (x + y) / 2 : null;
