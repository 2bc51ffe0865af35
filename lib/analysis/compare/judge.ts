import { accuracyOf, binOf, type Scores, scoresOf } from '../../evaluate/metrics.js';
import {
  type BootstrapOptions,
  bootstrap,
  centredInterval,
  type Distribution,
  difference,
  intervalOf,
  mcnemar,
  type Statistic,
} from '../bootstrap.js';
import { type ReliabilityBin, reliability } from '../calibration.js';
import { logitsOf, type Method } from './methods.js';
import { type Mix, meanOf, type Panel } from './panel.js';
import { bestFirst, OutputMean } from './selection.js';
import type { PairedDifference, SetResult } from './types.js';

/** What accuracies with the first n ingredients are of. */
export const CURVES = ['uniform', 'greedy', 'ensemble'] as const;
export type Curve = (typeof CURVES)[number];

/** All that was measured on one set. */
export interface Judged {
  results: SetResult[];
  /** Of the accuracies, one a method, for the mean over sets. */
  accuracy: Distribution[];
  /** By curve and number of ingredients, from 1. */
  curves: Record<Curve, Distribution[]>;
  /** Position of the best individual on this very set. */
  best: number;
}

export interface JudgeOptions extends BootstrapOptions {
  /** One a method. */
  betas: readonly (number | null)[];
  /** Position in `methods` that differences are to. */
  reference: number;
  ingredients: number;
  /** Best first. */
  order: readonly number[];
  /** The greedy soup's members after each of the ingredients in order, or null. */
  greedy: readonly (readonly number[])[] | null;
}

/** Runs all methods on one set, and draws its examples again for the intervals. */
export async function judge(
  panel: Panel,
  methods: readonly Method[],
  options: JudgeOptions,
): Promise<Judged> {
  const { labels } = panel;
  const k = panel.models.length;
  const alone: number[] = [];
  for (let i = 0; i < options.ingredients; i++)
    alone.push(accuracyOf((await panel.scores(meanOf(k, [i]))).prediction, labels));
  const best = bestFirst(alone)[0] as number;
  const statistics: Statistic[] = [];
  const right: Uint8Array[] = [];
  const diagrams: SetResult['reliability'][] = [];
  for (const [m, method] of methods.entries()) {
    const logits = await logitsOf(method, panel, best);
    const before = scoresOf(logits, labels);
    const beta = options.betas[m] as number | null;
    const after = beta === null ? null : scoresOf(logits, labels, beta);
    statistics.push(accuracyStatistic(before, labels), ...lossAndCalibration(before, labels));
    statistics.push(...lossAndCalibration(after ?? before, labels));
    right.push(rightness(before, labels));
    diagrams.push({
      before: reliability(before, labels),
      after: after && (reliability(after, labels) as ReliabilityBin[]),
    });
  }
  const curveStatistics = await measureCurves(panel, options);
  const all = await bootstrap([...statistics, ...curveStatistics.flat()], labels, options);
  const of = (m: number, s: number) => all[m * PER_METHOD + s] as Distribution;
  const { level, reference } = options;
  const results = methods.map((_, m): SetResult => {
    const calibrated =
      options.betas[m] === null
        ? null
        : { loss: intervalOf(of(m, 3), level), ece: centredInterval(of(m, 4), level) };
    return {
      accuracy: intervalOf(of(m, 0), level),
      loss: intervalOf(of(m, 1), level),
      ece: centredInterval(of(m, 2), level),
      difference:
        m === reference
          ? null
          : paired(
              of(m, 0),
              of(reference, 0),
              right[m] as Uint8Array,
              right[reference] as Uint8Array,
              level,
            ),
      eceDifference:
        m === reference
          ? null
          : centredInterval(
              difference(of(m, 2), of(reference, 2)),
              level,
              Number.NEGATIVE_INFINITY,
            ),
      calibrated,
      reliability: diagrams[m] as SetResult['reliability'],
    };
  });
  let at = statistics.length;
  const curves = Object.fromEntries(
    CURVES.map((name, c) => {
      const from = at;
      at += (curveStatistics[c] as Statistic[]).length;
      return [name, all.slice(from, at)];
    }),
  ) as Record<Curve, Distribution[]>;
  return { results, accuracy: methods.map((_, m) => of(m, 0)), curves, best };
}

/** Accuracy, loss, calibration error; the last two again with the temperature. */
const PER_METHOD = 5;

const rightness = ({ prediction }: Scores, labels: Int32Array): Uint8Array =>
  Uint8Array.from(labels, (l, i) => (prediction[i] === l ? 1 : 0));

const accuracyStatistic = (scores: Scores, labels: Int32Array): Statistic => ({
  values: Float64Array.from(rightness(scores, labels)),
});

function lossAndCalibration(scores: Scores, labels: Int32Array): [Statistic, Statistic] {
  const right = rightness(scores, labels);
  return [
    { values: scores.loss },
    {
      values: scores.confidence.map((c, i) => c - (right[i] as number)),
      bins: Uint8Array.from(scores.confidence, (c) => (Number.isNaN(c) ? 0 : binOf(c))),
    },
  ];
}

function paired(
  a: Distribution,
  b: Distribution,
  rightA: Uint8Array,
  rightB: Uint8Array,
  level: number,
): PairedDifference {
  let better = 0;
  let worse = 0;
  for (let i = 0; i < rightA.length; i++) {
    if (rightA[i] === rightB[i]) continue;
    if (rightA[i]) better++;
    else worse++;
  }
  const interval = intervalOf(difference(a, b), level);
  const p = mcnemar(better, worse);
  const moreThanNoise = (interval.low > 0 || interval.high < 0) && p < 1 - level;
  return { ...interval, better, worse, p, moreThanNoise };
}

/** Accuracies over the first n ingredients: uniform soup, greedy soup, ensemble. */
async function measureCurves(
  panel: Panel,
  { ingredients, order, greedy }: JudgeOptions,
): Promise<Statistic[][]> {
  const { labels } = panel;
  const k = panel.models.length;
  const of = async (mix: Mix) => accuracyStatistic(await panel.scores(mix), labels);
  const uniform: Statistic[] = [];
  const greedySoups: Statistic[] = [];
  const ensembles: Statistic[] = [];
  if (!greedy) return [uniform, greedySoups, ensembles];
  const outputs = new OutputMean();
  for (let n = 1; n <= ingredients; n++) {
    uniform.push(await of(meanOf(k, order.slice(0, n))));
    greedySoups.push(await of(meanOf(k, greedy[n - 1] as readonly number[])));
    outputs.add(await panel.logits(meanOf(k, [order[n - 1] as number])));
    ensembles.push(accuracyStatistic(scoresOf(outputs.mean, labels), labels));
  }
  return [uniform, greedySoups, ensembles];
}
