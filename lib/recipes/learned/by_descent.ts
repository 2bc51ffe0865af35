import { contentHash } from '../../checkpoint/hash.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { StockpotError } from '../../errors.js';
import { hasExamples, hasGradient } from '../../evaluate/evaluator.js';
import { allMetrics, type Metrics } from '../../evaluate/metrics.js';
import { Evaluations } from '../../evaluate/resume.js';
import { centralDifferences, planDifferences } from '../../learn/central_differences.js';
import type { OpenObjective } from '../../learn/objective.js';
import type { Grouping } from '../../merge/groups.js';
import type { Matched } from '../../merge/match.js';
import { version } from '../../version.js';
import {
  coefficientsOf,
  type Descent,
  type DescentOptions,
  type DescentState,
  descend,
  startState,
} from './descent.js';
import { type LearnedOptions, parametrisationOf } from './options.js';
import { SavedState } from './saved_state.js';
import type { Found, Search } from './search.js';
import { stepTeller } from './steps.js';

const BATCH = 256;
/** Between two savings of the state, in milliseconds, besides those at the ends of epochs. */
const SAVE_EVERY = 2000;

interface Settings {
  batch: number;
  steps: number;
}

const withDefaults = ({
  lr = 0.05,
  weightDecay = 0,
  temperature = true,
  seed = 0,
}: LearnedOptions) => ({ lr, weightDecay, temperature, seed });

/**
 * Coefficients by gradient descent on the held-out loss: with the evaluator's own derivatives, or by central differences.
 * What it ends with is the last iterate.
 */
export function planDescent(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  grouping: Grouping,
  options: LearnedOptions,
): Search {
  const { evaluator } = options;
  const parametrisation = parametrisationOf(options);
  const count = hasExamples(evaluator) ? evaluator.labels.length : 1;
  const examples = typeof options.batchSize === 'number' ? options.batchSize : BATCH;
  const wanted = options.batchSize === 'full' ? count : Math.min(examples, count);
  const about = { ...options, parametrisation, grouping, examples: wanted };
  const plan = hasGradient(evaluator)
    ? evaluator.planObjective(about)
    : planDifferences(matched, about);
  const batch = options.batchSize === 'auto' ? plan.batch : wanted;
  const steps = options.steps ?? (options.epochs ?? 5) * Math.ceil(count / batch);
  const run = async (): Promise<Found> => {
    const objective = hasGradient(evaluator)
      ? await evaluator.objective({ ...about, examples: batch })
      : await centralDifferences(evaluator, checkpoints, matched, about);
    try {
      const settings = { batch, steps };
      const found = await descent(objective, checkpoints, grouping, options, settings);
      return await judge(objective, grouping, options, found, batch);
    } finally {
      await objective.close();
    }
  };
  return { steps, plan, run };
}

/** Descends from where it was left, and keeps the state on the way. */
async function descent(
  objective: OpenObjective,
  checkpoints: readonly Checkpoint[],
  grouping: Grouping,
  options: LearnedOptions,
  { batch, steps }: Settings,
): Promise<Descent> {
  const { lr, weightDecay, temperature, seed } = withDefaults(options);
  const parametrisation = parametrisationOf(options);
  const k = checkpoints.length;
  const saved = await openSaved(checkpoints, options, batch);
  const started = startState(grouping.names.length, k, parametrisation);
  const state = (await saved?.read(grouping.names.length, k)) ?? started;
  // A run that asked for more steps has gone further than this one may.
  const from = state.step <= steps ? state : started;
  const tell = stepTeller(options, steps);
  let last = performance.now();
  const perEpoch = Math.ceil(objective.count / batch);
  const onStep = async (now: DescentState) => {
    const time = performance.now();
    if (saved && (now.step % perEpoch === 0 || time - last >= SAVE_EVERY)) {
      await saved.write(now);
      last = time;
    }
    tell(now.step, now.loss.at(-1) as number, now.beta);
  };
  const how: DescentOptions = {
    parametrisation,
    steps,
    batch,
    seed,
    lr,
    weightDecay,
    temperature,
    signal: options.signal,
    onStep,
  };
  try {
    const found = await descend(objective, from, how);
    await saved?.write(found.state);
    return found;
  } catch (e) {
    // An abort keeps every step that was finished.
    if (e instanceof StockpotError && e.code === 'ABORTED' && from.step > 0)
      await saved?.write(from);
    throw e;
  }
}

/** Where the state is kept, and found again by a run that depends on the same; undefined where none is wanted. */
async function openSaved(
  checkpoints: readonly Checkpoint[],
  options: LearnedOptions,
  batch: number,
): Promise<SavedState | undefined> {
  const { evaluator, resume, dtype, include, exclude, by = 'model' } = options;
  if (resume === undefined) return undefined;
  // Asked for only here: it takes the addon's plan of the network.
  const id = typeof evaluator === 'function' ? undefined : evaluator.id;
  if (id === undefined) {
    throw new StockpotError('USAGE', 'resume needs an evaluator with an id', {
      remedy: 'Give { id, evaluate } instead of a function; the id says what the loss depends on.',
    });
  }
  const hashes: string[] = [];
  for (const c of checkpoints) hashes.push(await contentHash(c, options));
  const parametrisation = parametrisationOf(options);
  const { lr, weightDecay, temperature, seed } = withDefaults(options);
  const key = Evaluations.key({
    stockpot: version,
    evaluator: id,
    hashes,
    dtype,
    include,
    exclude,
    settings: { by, parametrisation, lr, weightDecay, temperature, seed, batch },
  });
  return SavedState.open(resume, key);
}

/** Evaluates the last iterate; the one before, where its loss is not finite. */
async function judge(
  objective: OpenObjective,
  grouping: Grouping,
  options: LearnedOptions,
  found: Descent,
  batch: number,
): Promise<Found> {
  const parametrisation = parametrisationOf(options);
  const all = Int32Array.from({ length: objective.count }, (_, i) => i);
  const measure = async (state: DescentState): Promise<Partial<Metrics>> => {
    const mix = { alpha: coefficientsOf(state, parametrisation), beta: state.beta };
    if (objective.metrics) return objective.metrics(mix, { signal: options.signal });
    const logits = await objective.logits(mix, all, { signal: options.signal });
    return allMetrics(logits, objective.labels, state.beta);
  };
  let { state, diverged } = found;
  let metrics = await measure(state);
  if (!Number.isFinite(metrics.loss ?? Number.NaN) && state !== found.before) {
    state = found.before;
    diverged = true;
    metrics = await measure(state);
  }
  const { step: steps, beta, loss, path } = state;
  const { lr, weightDecay, temperature, seed } = withDefaults(options);
  return {
    alpha: coefficientsOf(state, parametrisation),
    beta,
    loss,
    steps,
    metrics,
    details: {
      optimizer: 'adamw',
      lr,
      weightDecay,
      temperature,
      seed,
      batch,
      steps,
      diverged,
      beta,
      metrics,
      groups: grouping.by === 'model' ? undefined : grouping.names,
      loss,
      path,
    },
    warnings: diverged
      ? [
          `The loss was not finite after ${loss.length} steps; the soup is the last iterate whose loss was.`,
        ]
      : [],
  };
}
