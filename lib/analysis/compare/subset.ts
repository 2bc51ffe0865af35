import { accuracyOf, type Scores, scoresOf } from '../../evaluate/metrics.js';
import { type Distribution, intervalOf } from '../bootstrap.js';
import { Random } from '../random.js';
import { meanOf, type Panel } from './panel.js';
import { accuracyOn, bestFirst, ensembleLogits, greedyEnsemble, greedySoup } from './selection.js';
import type { SubsetResult, SubsetRow } from './types.js';

const KINDS: readonly { kind: SubsetRow['kind']; label: string }[] = [
  { kind: 'individual', label: 'best individual' },
  { kind: 'uniform', label: 'uniform soup' },
  { kind: 'greedy', label: 'greedy soup' },
  { kind: 'greedy-ensemble', label: 'greedy ensemble' },
];

/** What one recipe chose on one subset. */
interface Choice {
  members: number[];
  /** Accuracy on the subset. */
  seen: number;
  /** On the held-out examples that are not in the subset. */
  rest: number;
}

/** Choices by size, repeat and kind. */
export type Choices = { n: number; repeats: Choice[][] }[];

/**
 * Lets every recipe choose with few held-out examples: subsets drawn without replacement, the smaller ones part of the
 * larger ones.
 */
export async function chooseOnSubsets(
  panel: Panel,
  ingredients: number,
  { sizes, repeats, seed }: { sizes: readonly number[]; repeats: number; seed: number },
): Promise<Choices> {
  const n = panel.labels.length;
  const result: Choices = sizes.map((size) => ({ n: size, repeats: [] }));
  for (let r = 0; r < repeats; r++) {
    const permutation = Int32Array.from(new Random(seed, SUBSETS, r).permutation(n));
    for (const [s, size] of sizes.entries()) {
      const subset = permutation.slice(0, size).sort();
      const rest = permutation.slice(size).sort();
      (result[s] as Choices[number]).repeats.push(await choose(panel, ingredients, subset, rest));
    }
  }
  return result;
}

/** So that subsets and random orders of one seed have nothing to do with each other. */
const SUBSETS = 1;

async function choose(
  panel: Panel,
  ingredients: number,
  subset: Int32Array,
  rest: Int32Array,
): Promise<Choice[]> {
  const k = panel.models.length;
  const { labels } = panel;
  const alone: number[] = [];
  for (let i = 0; i < ingredients; i++)
    alone.push(accuracyOn(await panel.scores(meanOf(k, [i])), labels, subset));
  const order = bestFirst(alone);
  const all = [...Array(ingredients).keys()];
  const members = {
    individual: order.slice(0, 1),
    uniform: all,
    greedy: (await greedySoup(panel, order, subset)).members,
    'greedy-ensemble': await greedyEnsemble(panel, order, subset),
  };
  const choices: Choice[] = [];
  for (const { kind } of KINDS) {
    const isEnsemble = kind === 'greedy-ensemble';
    const on = async (examples: Int32Array) =>
      accuracyOn(
        await scoresOfChoice(panel, members[kind], isEnsemble, examples),
        labels,
        examples,
      );
    choices.push({ members: members[kind], seen: await on(subset), rest: await on(rest) });
  }
  return choices;
}

const scoresOfChoice = async (
  panel: Panel,
  members: readonly number[],
  isEnsemble: boolean,
  examples?: Int32Array,
): Promise<Scores> =>
  isEnsemble
    ? scoresOf(await ensembleLogits(panel, members), panel.labels)
    : panel.scores(meanOf(panel.models.length, members), examples);

/**
 * How good the choices are.
 * @param test the set that judges; without one, the rest of the held-out set does
 */
export async function judgeSubsets(
  choices: Choices,
  test: { name: string; panel: Panel } | null,
  options: { level: number; resamples: number; seed: number },
): Promise<SubsetResult> {
  const known = new Map<string, number>();
  const judgeOf = async (choice: Choice, isEnsemble: boolean): Promise<number> => {
    if (!test) return choice.rest;
    const key = `${isEnsemble} ${[...choice.members].sort((a, b) => a - b)}`;
    const scores = () => scoresOfChoice(test.panel, choice.members, isEnsemble);
    const value = known.get(key) ?? accuracyOf((await scores()).prediction, test.panel.labels);
    known.set(key, value);
    return value;
  };
  const sizes: SubsetResult['sizes'] = [];
  for (const { n, repeats } of choices) {
    const rows: SubsetRow[] = [];
    for (const [at, { kind, label }] of KINDS.entries()) {
      const chosen = repeats.map((r) => r[at] as Choice);
      const judged: number[] = [];
      for (const c of chosen) judged.push(await judgeOf(c, kind === 'greedy-ensemble'));
      const seen = chosen.map((c) => c.seen);
      const optimism = seen.map((x, r) => x - (judged[r] as number));
      rows.push({
        kind,
        label,
        seen,
        judged,
        members: chosen.map((c) => c.members.length),
        mean: intervalOf(resampledMean(judged, options), options.level),
        noise: deviation(judged),
        optimism: intervalOf(resampledMean(optimism, options), options.level),
      });
    }
    sizes.push({ n, rows });
  }
  return {
    judge: test?.name ?? 'the rest of the held-out set',
    repeats: choices[0]?.repeats.length ?? 0,
    sizes,
  };
}

function resampledMean(
  x: readonly number[],
  { resamples, seed }: { resamples: number; seed: number },
): Distribution {
  const random = new Random(seed, x.length);
  const mean = (v: readonly number[]) => v.reduce((a, b) => a + b, 0) / v.length;
  return {
    value: mean(x),
    resampled: Float64Array.from({ length: resamples }, () =>
      mean(x.map(() => x[random.below(x.length)] as number)),
    ),
  };
}

/** Of a sample; 0 for one value. */
function deviation(x: readonly number[]): number {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  const squares = x.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return x.length < 2 ? 0 : Math.sqrt(squares / (x.length - 1));
}
