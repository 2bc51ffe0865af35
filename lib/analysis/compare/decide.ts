import { accuracyOf } from '../../evaluate/metrics.js';
import { fitTemperature } from '../calibration.js';
import { Random } from '../random.js';
import { type Decisions, logitsOf, type Method } from './methods.js';
import type { Settings } from './options.js';
import { meanOf, type Panel } from './panel.js';
import { bestFirst, type GreedyPath, greedyEnsemble, greedySoup } from './selection.js';

/** What the recipes decide, from the held-out set alone. */
export async function decide(
  panel: Panel,
  k: number,
  { recipes, orders, seed }: Settings,
): Promise<Pick<Decisions, 'order' | 'greedy' | 'random' | 'greedyEnsemble' | 'recipes'>> {
  const n = panel.labels.length;
  const all = Int32Array.from({ length: n }, (_, i) => i);
  const alone: number[] = [];
  for (let i = 0; i < k; i++) {
    await panel.logits(meanOf(panel.models.length, [i]));
    const scores = await panel.scores(meanOf(panel.models.length, [i]));
    alone.push(accuracyOf(scores.prediction, panel.labels));
  }
  const order = bestFirst(alone);
  const makes = recipes && k > 1;
  const random: { order: number[]; path: GreedyPath }[] = [];
  const greedy = makes ? await greedySoup(panel, order, all) : null;
  for (let r = 0; makes && r < orders; r++) {
    const shuffled = new Random(seed, ORDERS, r).permutation(k);
    random.push({ order: shuffled, path: await greedySoup(panel, shuffled, all) });
  }
  return {
    order,
    greedy,
    random,
    greedyEnsemble: makes ? await greedyEnsemble(panel, order, all) : null,
    recipes,
  };
}

const ORDERS = 0;

/** Fitted on the held-out set, one a method. The oracle has none: it is another model on every set. */
export async function temperatures(panel: Panel, methods: readonly Method[], { order }: Decisions) {
  const betas: (number | null)[] = [];
  for (const m of methods)
    betas.push(
      m.oracle ? null : fitTemperature(await logitsOf(m, panel, order[0] as number), panel.labels),
    );
  return betas;
}
