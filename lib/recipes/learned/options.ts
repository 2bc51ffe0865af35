import { StockpotError } from '../../errors.js';
import { type Evaluator, hasExamples, wholeEvaluator } from '../../evaluate/evaluator.js';
import { METRICS, type Metric } from '../../evaluate/metrics.js';
import { PARAMETRISATIONS, type Parametrisation } from '../../learn/parametrisation.js';
import { BY, type By } from '../../merge/groups.js';
import type { RunOptions } from '../../progress.js';
import type { SoupOptions } from '../../soup/soup.js';
import type { LearnedStep } from './steps.js';

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

/** How the coefficients come from what is learned. */
export const parametrisationOf = (o: LearnedOptions): Parametrisation =>
  o.parametrisation ?? 'softmax';

/** @throws StockpotError USAGE for options that are wrong, or do not go together */
export function checkOptions(options: LearnedOptions): void {
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
