import type { Metrics } from '../evaluate/metrics.js';
import type { Allowances } from '../merge/execute.js';
import type { Grouping } from '../merge/groups.js';
import type { OutputDType } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';
import type { Parametrisation } from './parametrisation.js';

/** A mix of the ingredients that a learned recipe tries. */
export interface Mix {
  /** One row of k coefficients a group, in the order of `MixObjective.groups`. */
  alpha: readonly Float64Array[];
  /** The logits are multiplied by it. */
  beta: number;
}

/** The loss of a mix and its derivatives. */
export interface MixGradient {
  /** Mean cross-entropy of β·logits, in nats. */
  loss: number;
  /** d loss / d alpha, rows as the mix has them; buffers count as constants. */
  alpha: Float64Array[];
  /** d loss / d β. */
  beta: number;
}

/**
 * What a learned recipe descends on. Natively the derivatives come from one backward pass and one pass over the
 * ingredients; an evaluator without a backward pass gives them by differences.
 */
export interface MixObjective {
  /** Names of the groups; one, '', by model. */
  readonly groups: readonly string[];
  /** Number of labelled examples. */
  readonly count: number;
  /** One an example. */
  readonly labels: Int32Array;
  /**
   * Mean loss of β·logits at a mix, in nats, and its derivatives by the coefficients and by β.
   * @param examples positions of the minibatch's examples
   * @param options.next told of each group's derivatives as soon as they are known, gives the group's coefficients in the
   *   next mix. An objective that streams its ingredients may make the group's next mix in the same read; it need not
   *   call this, and does not where the loss is not finite.
   */
  gradient(mix: Mix, examples: Int32Array, options: GradientOptions): Promise<MixGradient>;
  /** Logits [examples.length, classes] of a mix. */
  logits(mix: Mix, examples: Int32Array, options: { signal?: AbortSignal }): Promise<Float32Array>;
  /** In place of logits, from an evaluator that only judges whole soups: what it says about a mix. */
  readonly metrics?: (mix: Mix, options: { signal?: AbortSignal }) => Promise<Partial<Metrics>>;
}

export interface GradientOptions {
  signal?: AbortSignal;
  next?: (group: number, gradient: Float64Array) => Float64Array;
}

/** What an objective is made for. */
export interface ObjectiveOptions extends RunOptions, Allowances {
  grouping: Grouping;
  /** Whose derivatives are wanted; those of free coefficients by default, which serve for both. */
  parametrisation?: Parametrisation;
  /** Type that mixes are rounded to before they are evaluated. */
  dtype?: OutputDType;
  /** Examples of a step. */
  examples: number;
  /** The most examples at a time. */
  batch?: number;
}

export interface OpenObjective extends MixObjective {
  close(): Promise<void>;
}
