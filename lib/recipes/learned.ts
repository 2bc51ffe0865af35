import type { Writable } from 'node:stream';
import { contentHash } from '../checkpoint/hash.js';
import { throwIfAborted } from '../checkpoint/job.js';
import { openCheckpoint } from '../checkpoint/open.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { type Evaluator, hasExamples, hasGradient, wholeEvaluator } from '../evaluate/evaluator.js';
import { allMetrics, METRICS, type Metric, type Metrics } from '../evaluate/metrics.js';
import { Evaluations } from '../evaluate/resume.js';
import { PARAMETRISATIONS, type Parametrisation } from '../learn/parametrisation.js';
import type { LearningPlan } from '../learn/plan.js';
import { BY, type By, type Grouping, groupTensors } from '../merge/groups.js';
import { matchTensors } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import { makeSoup } from '../soup/make.js';
import type { Soup, SoupOptions } from '../soup/soup.js';
import { version } from '../version.js';
import { centralDifferences, planDifferences } from './central_differences.js';
import {
  coefficientsOf,
  type DescentOptions,
  type DescentState,
  descend,
  startState,
} from './descent.js';
import { evolve, GENERATIONS } from './evolution.js';
import { SavedState } from './learned_state.js';
import type { OpenObjective } from './objective.js';

export interface LearnedOptions extends Omit<SoupOptions, 'weights' | 'normalize'>, RunOptions {
  /**
   * Gives the loss of a mix: with derivatives on labelled data (`nativeEvaluator`), or any other that gives a loss, from
   * which they come by central differences.
   */
  evaluator: Evaluator;
  /** What has a row of coefficients of its own; the whole model by default. */
  by?: By;
  /** Coefficients that are a softmax of what is learned (the default), or free. */
  parametrisation?: Parametrisation;
  /** 0.05 by default. */
  lr?: number;
  /** Times that all examples are gone through; 5 by default. */
  epochs?: number;
  /** Number of steps, in place of `epochs`. */
  steps?: number;
  /** Examples of a step, 256 by default; all, or as many as go through the network at once. */
  batchSize?: number | 'full' | 'auto';
  /** 0 by default. */
  weightDecay?: number;
  /** Learn β as well; true by default. */
  temperature?: boolean;
  /** `adamw` (the default) follows the gradient of the loss; `cma` needs none, and takes any metric. */
  optimizer?: 'adamw' | 'cma';
  /** What `cma` searches for; accuracy by default. */
  metric?: Metric;
  /** Of the order of the examples; 0 by default. */
  seed?: number;
  /** Folder where the state is kept, so that a run that was killed or aborted goes on to the same result. */
  resume?: string;
  /** Told after each step. */
  onStep?: (step: LearnedStep) => void;
}

/** One step of the descent. */
export interface LearnedStep {
  /** Steps taken so far, and in all. */
  step: number;
  steps: number;
  /** Of this step's examples, before its update. */
  loss: number;
  beta: number;
}

/** A learned soup: its coefficients, β, and the loss of every step. */
export interface LearnedSoup extends Soup {
  by: By;
  /** Mixing coefficients: one an ingredient, or such a row for each group. */
  alpha: number[] | Record<string, number[]>;
  /** The logits' factor; it is not folded into the weights. */
  beta: number;
  /** Per step, of its examples, before its update. */
  loss: number[];
  /** Of the soup on all held-out examples; null in a dry run. */
  accuracy: number | null;
  /** Of the soup with β on all held-out examples; what the evaluator says. */
  metrics: Partial<Metrics> | null;
  steps: number;
  /** In a dry run: what the run would hold in memory and read. */
  plan?: LearningPlan;
}

const BATCH = 256;
/** Between two savings of the state, in milliseconds, besides those at the ends of epochs. */
const SAVE_EVERY = 2000;

/**
 * The learned soup (Wortsman et al. 2022, appendix I): mixing coefficients of the ingredients, for the whole model or for
 * each layer or tensor, and a temperature, by gradient descent on the held-out loss. The gradient is exact; memory does
 * not grow with the number of ingredients. The soup is the last iterate.
 *
 * @param ingredients paths of checkpoints (files or folders), or open checkpoints; at least one
 * @param output a path (`*.safetensors` is a file, anything else a folder) or a writable stream
 * @throws StockpotError; on failure and on abort nothing is left behind but what `resume` keeps
 */
export async function learned(
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: LearnedOptions,
): Promise<LearnedSoup> {
  check(options);
  const began = performance.now();
  const checkpoints: Checkpoint[] = [];
  for (const i of ingredients) {
    throwIfAborted(options.signal);
    checkpoints.push(typeof i === 'string' ? await openCheckpoint(i, { key: options.key }) : i);
  }
  // All that can be refused is refused before anything is evaluated.
  const plan = await makeSoup('learned', checkpoints, output, { ...options, dryRun: true });
  const { tensors: matched } = await matchTensors(checkpoints, options);
  const grouping = await groupTensors(checkpoints, matched, options.by ?? 'model');
  if (options.optimizer === 'cma')
    return byEvolution(checkpoints, output, options, grouping, plan, began);
  const { evaluator } = options;
  const count = hasExamples(evaluator) ? evaluator.labels.length : 1;
  const examples = typeof options.batchSize === 'number' ? options.batchSize : BATCH;
  const wanted = options.batchSize === 'full' ? count : Math.min(examples, count);
  const about = { ...options, parametrisation: how(options), grouping, examples: wanted };
  const learning = hasGradient(evaluator)
    ? evaluator.planObjective(about)
    : planDifferences(matched, about);
  const batch = options.batchSize === 'auto' ? learning.batch : wanted;
  const steps = options.steps ?? (options.epochs ?? 5) * Math.ceil(count / batch);
  const by = options.by ?? 'model';
  if (options.dryRun) {
    const alpha = shape(
      grouping,
      by,
      startState(grouping.names.length, checkpoints.length, how(options)),
      options,
    );
    return {
      ...plan,
      by,
      alpha,
      beta: 1,
      loss: [],
      accuracy: null,
      metrics: null,
      steps,
      plan: learning,
      memory: learning.memory,
    };
  }
  const objective = hasGradient(evaluator)
    ? await evaluator.objective({ ...about, examples: batch })
    : await centralDifferences(evaluator, checkpoints, matched, about);
  try {
    const settings = { batch, steps };
    const found = await descent(objective, checkpoints, grouping, options, settings);
    return await finish(checkpoints, output, options, grouping, objective, found, settings, began);
  } finally {
    await objective.close();
  }
}

const idOf = (e: Evaluator): string | undefined => (typeof e === 'function' ? undefined : e.id);

const how = (o: LearnedOptions): Parametrisation => o.parametrisation ?? 'softmax';

interface Settings {
  batch: number;
  steps: number;
}

/** Descends from where it was left, and keeps the state on the way. */
async function descent(
  objective: OpenObjective,
  checkpoints: readonly Checkpoint[],
  grouping: Grouping,
  options: LearnedOptions,
  { batch, steps }: Settings,
) {
  const { evaluator, resume, lr = 0.05, weightDecay = 0, temperature = true, seed = 0 } = options;
  const parametrisation = how(options);
  const k = checkpoints.length;
  let saved: SavedState | undefined;
  if (resume !== undefined) {
    // Asked for only here: it takes the addon's plan of the network.
    const id = idOf(evaluator);
    if (id === undefined) {
      throw new StockpotError('USAGE', 'resume needs an evaluator with an id', {
        remedy:
          'Give { id, evaluate } instead of a function; the id says what the loss depends on.',
      });
    }
    const hashes: string[] = [];
    for (const c of checkpoints) hashes.push(await contentHash(c, options));
    const { dtype, include, exclude, by = 'model' } = options;
    const settings = { by, parametrisation, lr, weightDecay, temperature, seed, batch };
    const key = Evaluations.key({
      stockpot: version,
      evaluator: id,
      hashes,
      dtype,
      include,
      exclude,
      settings,
    });
    saved = await SavedState.open(resume, key);
  }
  const started = startState(grouping.names.length, k, parametrisation);
  const state = (await saved?.read(grouping.names.length, k)) ?? started;
  // A run that asked for more steps has gone further than this one may.
  const from = state.step <= steps ? state : started;
  let last = performance.now();
  const perEpoch = Math.ceil(objective.count / batch);
  const onStep = async (now: DescentState) => {
    const time = performance.now();
    if (saved && (now.step % perEpoch === 0 || time - last >= SAVE_EVERY)) {
      await saved.write(now);
      last = time;
    }
    const loss = now.loss.at(-1) as number;
    options.onStep?.({ step: now.step, steps, loss, beta: now.beta });
    options.onProgress?.(progressOf(now.step, steps, began));
  };
  const began = performance.now();
  const how_: DescentOptions = {
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
    const found = await descend(objective, from, how_);
    await saved?.write(found.state);
    return found;
  } catch (e) {
    // An abort keeps every step that was finished.
    if (e instanceof StockpotError && e.code === 'ABORTED' && from.step > 0)
      await saved?.write(from);
    throw e;
  }
}

const progressOf = (done: number, all: number, began: number) => ({
  phase: 'learn',
  bytesRead: 0,
  bytesWritten: 0,
  bytesTotal: 0,
  seconds: (performance.now() - began) / 1000,
  steps: { done, all },
});

/** The recipe for metrics without derivatives: steps are generations. */
async function byEvolution(
  checkpoints: readonly Checkpoint[],
  output: string | Writable,
  options: LearnedOptions,
  grouping: Grouping,
  plan: Soup,
  began: number,
): Promise<LearnedSoup> {
  const { by = 'model', metric = 'accuracy', steps = GENERATIONS, seed = 0 } = options;
  const parametrisation = how(options);
  const named = (rows: readonly (readonly number[])[]): LearnedSoup['alpha'] =>
    by === 'model'
      ? [...(rows[0] as readonly number[])]
      : Object.fromEntries(grouping.names.map((n, g) => [n, [...(rows[g] as readonly number[])]]));
  if (options.dryRun) {
    const start = startState(grouping.names.length, checkpoints.length, parametrisation);
    const alpha = named(coefficientsOf(start, parametrisation).map((row) => [...row]));
    return { ...plan, by, alpha, beta: 1, loss: [], accuracy: null, metrics: null, steps };
  }
  const { best, loss } = await evolve(checkpoints, {
    ...options,
    metric,
    grouping,
    parametrisation,
    generations: steps,
    seed,
    temperature: options.temperature ?? true,
    onGeneration: (step, { metrics, beta }) => {
      options.onStep?.({ step, steps, loss: metrics.loss ?? Number.NaN, beta });
      options.onProgress?.(progressOf(step, steps, began));
    },
  });
  const alpha = named(best.alpha.map((row) => [...row]));
  const { beta, metrics } = best;
  const details = {
    by,
    parametrisation,
    optimizer: 'cma',
    metric,
    seed,
    steps,
    beta,
    metrics,
    loss,
  };
  const weights = Array.isArray(alpha)
    ? { weights: alpha }
    : { mixture: { by: by as 'layer' | 'tensor', alpha } };
  const soup = await makeSoup('learned', checkpoints, output, { ...options, ...weights }, details);
  const seconds = (performance.now() - began) / 1000;
  const accuracy = metrics.accuracy ?? null;
  return { ...soup, seconds, by, alpha, beta, loss, accuracy, metrics, steps };
}

/** Evaluates the last iterate, and writes it. */
async function finish(
  checkpoints: readonly Checkpoint[],
  output: string | Writable,
  options: LearnedOptions,
  grouping: Grouping,
  objective: OpenObjective,
  found: Awaited<ReturnType<typeof descent>>,
  settings: Settings,
  began: number,
): Promise<LearnedSoup> {
  const by = options.by ?? 'model';
  const parametrisation = how(options);
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
  const alpha = shape(grouping, by, state, options);
  const { lr = 0.05, weightDecay = 0, temperature = true, seed = 0 } = options;
  const details = {
    by,
    parametrisation,
    optimizer: 'adamw',
    lr,
    weightDecay,
    temperature,
    seed,
    batch: settings.batch,
    steps: state.step,
    diverged,
    beta: state.beta,
    metrics,
    groups: by === 'model' ? undefined : grouping.names,
    loss: state.loss,
    path: state.path,
  };
  const soup = await makeSoup(
    'learned',
    checkpoints,
    output,
    Array.isArray(alpha)
      ? { ...options, weights: alpha }
      : { ...options, mixture: { by: by as 'layer' | 'tensor', alpha } },
    details,
  );
  const warnings = diverged
    ? [
        `The loss was not finite after ${state.loss.length} steps; the soup is the last iterate whose loss was.`,
      ]
    : [];
  return {
    ...soup,
    seconds: (performance.now() - began) / 1000,
    warnings: [...soup.warnings, ...warnings],
    by,
    alpha,
    beta: state.beta,
    loss: state.loss,
    accuracy: metrics.accuracy ?? null,
    metrics,
    steps: state.step,
  };
}

/** Coefficients as users get them: [k], or by group. */
function shape(
  grouping: Grouping,
  by: By,
  state: DescentState,
  options: LearnedOptions,
): LearnedSoup['alpha'] {
  const rows = coefficientsOf(state, how(options)).map((row) => [...row]);
  if (by === 'model') return rows[0] as number[];
  return Object.fromEntries(grouping.names.map((name, g) => [name, rows[g] as number[]]));
}

function check(options: LearnedOptions): void {
  const refuse = (name: string, expected: string, found: unknown) => {
    throw new StockpotError('USAGE', `expected ${name} to be ${expected} but received ${found}`);
  };
  const oneOf = (name: string, value: unknown, allowed: readonly string[]) => {
    if (value !== undefined && !allowed.includes(value as string))
      refuse(name, `one of ${allowed.join(', ')}`, value);
  };
  const whole = (name: string, value: unknown, least = 1) => {
    if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) >= least))
      refuse(name, `a whole number from ${least}`, value);
  };
  const real = (name: string, value: unknown) => {
    if (value !== undefined && !(typeof value === 'number' && value >= 0 && Number.isFinite(value)))
      refuse(name, 'a number from 0', value);
  };
  oneOf('by', options.by, BY);
  oneOf('parametrisation', options.parametrisation, PARAMETRISATIONS);
  oneOf('optimizer', options.optimizer, ['adamw', 'cma']);
  oneOf('metric', options.metric, METRICS);
  if (options.metric !== undefined && options.optimizer !== 'cma')
    throw new StockpotError('USAGE', 'only the optimizer cma takes a metric', {
      remedy: 'Pass --optimizer cma, or leave out --metric: adamw follows the loss.',
    });
  real('lr', options.lr);
  real('weightDecay', options.weightDecay);
  whole('epochs', options.epochs);
  whole('steps', options.steps, 0);
  whole('seed', options.seed, 0);
  if (options.batchSize !== 'full' && options.batchSize !== 'auto')
    whole('batchSize', options.batchSize);
  if (options.epochs !== undefined && options.steps !== undefined)
    throw new StockpotError('USAGE', 'expected epochs or steps, not both');
  const { weights, normalize } = options as SoupOptions;
  if (weights !== undefined || normalize) {
    throw new StockpotError('USAGE', 'a learned soup chooses its weights itself', {
      remedy: 'Leave out --weights and --normalize.',
    });
  }
  if (!hasExamples(options.evaluator)) wholeEvaluator(options.evaluator);
}
