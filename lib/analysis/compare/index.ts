import { openCheckpoint } from '../../checkpoint/open.js';
import { elementCount } from '../../checkpoint/shape.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { decide, temperatures } from './decide.js';
import { type Judged, judge } from './judge.js';
import { makeLearned } from './learned.js';
import { type Decisions, listMethods, type Method } from './methods.js';
import { openPanel } from './open_panel.js';
import {
  type CompareOptions,
  check,
  isEvaluator,
  listSets,
  mostMixes,
  refuseLargeSubsets,
  type Settings,
} from './options.js';
import { Results } from './results.js';
import { type Choices, chooseOnSubsets, judgeSubsets } from './subset.js';
import type { ComparedSet, Comparison } from './types.js';

export type { ComparedData, CompareOptions } from './options.js';
export { type ComparisonPlan, planComparison } from './plan.js';

/**
 * Compares what can be made of fine-tuned models: each alone, soups by every recipe, ensembles; on held-out, test and
 * shifted data, with intervals (Wortsman et al. 2022, tables 3 and 4, figures 1, 4 and B.1). Recipes look at the held-out
 * set alone. Each model runs once on each set; ensembles and temperatures use the same logits.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function compare(
  ingredients: readonly (string | Checkpoint)[],
  options: CompareOptions,
): Promise<Comparison> {
  const began = performance.now();
  const settings = check(ingredients.length, options);
  const open = (m: string | Checkpoint) => (typeof m === 'string' ? openCheckpoint(m, options) : m);
  const all: Checkpoint[] = [];
  for (const m of ingredients) all.push(await open(m));
  const base = options.base === undefined ? null : await open(options.base);
  const soups: Checkpoint[] = [];
  for (const m of options.soups ?? []) soups.push(await open(m));
  const { data } = options;
  const by = isEvaluator(data) ? [] : settings.learned;
  const learned = await makeLearned(all, by, {
    ...options,
    data: isEvaluator(data) ? '' : data,
    seed: settings.seed,
  });
  try {
    const models = [...all, ...(base ? [base] : []), ...soups];
    const first = models.length;
    const given: Given = {
      models: [...models, ...learned.models.map((m) => m.checkpoint)],
      ingredients: all.length,
      base: base ? all.length : null,
      soups: soups.map((_, i) => first - soups.length + i),
      learned: learned.models.map(({ by: group, weights }, i) => ({
        label: group === 'model' ? 'learned soup' : `learned soup, by ${group}`,
        model: first + i,
        weights,
      })),
    };
    const result = await measure(given, options, settings);
    result.notes.push(...learned.notes);
    return { ...result, seconds: (performance.now() - began) / 1000 };
  } finally {
    await learned.remove();
  }
}

/** What is compared: the first of the models are the ingredients. */
interface Given extends Pick<Decisions, 'ingredients' | 'base' | 'soups' | 'learned'> {
  models: readonly Checkpoint[];
}

async function measure(
  given: Given,
  options: CompareOptions,
  settings: Settings,
): Promise<Omit<Comparison, 'seconds'>> {
  const { models, ingredients: k } = given;
  const paths = models.map((m) => m.path);
  const notes = new Set<string>();
  const sets: ComparedSet[] = [];
  const judged: Judged[] = [];
  let found: { decisions: Decisions; methods: Method[]; betas: (number | null)[] } | undefined;
  let choices: Choices | null = null;
  let subset: Comparison['subset'] = null;
  let flops: number | null = null;
  let examplesRun = 0;
  for (const { name, role, data } of listSets(options)) {
    const { panel, about, close } = await openPanel(
      models,
      name,
      data,
      options,
      mostMixes(models.length, k, settings),
    );
    try {
      for (const note of about.notes) notes.add(note);
      flops ??= about.flops;
      const { labels, numClasses: classes } = panel;
      if (!found) {
        refuseLargeSubsets(settings.subset, labels.length, about.path);
        const decisions = { ...given, ...(await decide(panel, k, settings)) };
        const methods = listMethods(decisions, paths);
        found = { decisions, methods, betas: await temperatures(panel, methods, decisions) };
        if (settings.subset.length > 0)
          choices = await chooseOnSubsets(panel, k, { ...settings, sizes: settings.subset });
      }
      const { decisions, methods, betas } = found;
      sets.push({ name, role, path: about.path, n: labels.length, classes });
      judged.push(
        await judge(panel, methods, {
          ...settings,
          signal: options.signal,
          betas,
          reference: methods.findIndex((m) => m.id === `individual-${decisions.order[0]}`),
          ingredients: k,
          order: decisions.order,
          greedy: decisions.greedy?.after ?? null,
        }),
      );
      if (choices && (role === 'test' || options.test === undefined)) {
        subset = await judgeSubsets(choices, role === 'test' ? { name, panel } : null, settings);
        choices = null;
      }
      examplesRun += panel.examplesRun;
    } finally {
      await close();
    }
  }
  const { decisions, methods, betas } = found as NonNullable<typeof found>;
  const results = new Results(sets, judged, settings.level);
  const reference = `individual-${decisions.order[0]}`;
  const referenceAt = methods.findIndex((m) => m.id === reference);
  return {
    ingredients: paths.slice(0, k),
    base: given.base === null ? null : (paths[given.base] as string),
    soups: given.soups.map((i) => paths[i] as string),
    seed: settings.seed,
    bootstrap: { resamples: settings.resamples, level: settings.level },
    sets,
    order: [...decisions.order],
    reference,
    methods: methods.map((m, at) =>
      results.method(m, at, referenceAt, { beta: betas[at] as number | null, flops }),
    ),
    curve: results.curve(k, decisions.greedy !== null),
    subset,
    parameters: [...(models[0] as Checkpoint).tensors.values()].reduce(
      (n, t) => n + elementCount(t.shape),
      0,
    ),
    flops,
    examplesRun,
    notes: [...notes],
  };
}
