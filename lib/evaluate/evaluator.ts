import type { Writable } from 'node:stream';
import type { DType } from '../checkpoint/dtype.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { ObjectiveOptions, OpenObjective } from '../learn/objective.js';
import type { LearningPlan } from '../learn/plan.js';
import type { Allowances } from '../merge/execute.js';
import type { GroupWeights } from '../merge/groups.js';
import type { OutputDType } from '../merge/plan.js';
import type { Soup } from '../soup/soup.js';
import { allMetrics, type Metric, type Metrics } from './metrics.js';

/** A soup that is to be evaluated, before it is made: which ingredients, and how much of each. */
export interface Candidate {
  readonly ingredients: readonly Checkpoint[];
  /** Positions of the ingredients that are in it, rising. */
  readonly members: readonly number[];
  /** One an ingredient; 0 for those that are not members. Of a soup with a `mixture` the mean, where it is learned. */
  readonly weights: readonly number[];
  /** Weights by group of tensors, which then count in place of `weights`. */
  readonly mixture?: GroupWeights;
  /** The type that it is rounded to (`SoupOptions.dtype`). */
  readonly dtype?: OutputDType;
  /** What in its tensors is no reason to refuse it (`SoupOptions`). */
  readonly allow?: Allowances;
  /** Writes it, to the byte what the recipe would write for these weights. */
  save(output: string | Writable): Promise<Soup>;
  /** Its tensors' names, types and shapes, in the order in which they would be saved. */
  tensors(): Promise<{ name: string; dtype: DType; shape: readonly number[] }[]>;
  /** One tensor, mixed now. @throws StockpotError USAGE for a name that it does not have */
  tensor(name: string): Promise<SoupTensor>;
  /** Saves it in a temporary folder, which is removed when `use` is over. */
  inFolder<T>(use: (folder: string) => Promise<T>): Promise<T>;
}

/** A tensor of a soup, in memory. */
export interface SoupTensor {
  name: string;
  dtype: DType;
  shape: readonly number[];
  /** Row-major, little-endian. */
  bytes: Uint8Array;
  /** The elements as float32. @throws StockpotError USAGE for integers */
  float32(): Float32Array;
}

export interface EvaluateOptions {
  /** The logits are multiplied by it. */
  beta: number;
  signal?: AbortSignal;
}

/** Logits of some examples. */
export interface LogitsBatch {
  /** Positions of the examples. */
  examples: ArrayLike<number>;
  /** [examples.length, classes], row-major. */
  logits: Float32Array;
}

/**
 * An evaluator that knows its labelled examples, and can evaluate any of them in any order. An example's logits must not
 * depend on the order, nor on what else is in its batch.
 */
export interface ExampleEvaluator {
  /**
   * What the logits depend on besides the soup: a hash of data, network and type of computation. Evaluations are kept
   * under it (--resume).
   */
  readonly id: string;
  readonly labels: Int32Array;
  readonly numClasses: number;
  /**
   * Evaluates the examples in this order, a batch at a time. Whoever has seen enough leaves the loop, which ends the
   * evaluation (`return` of the iterator).
   */
  batches(soup: Candidate, order: Int32Array, options: EvaluateOptions): AsyncIterable<LogitsBatch>;
  /**
   * Told, before a soup is evaluated, which ingredients (positions) the soups after it bring; none where there are none.
   * What it reads of them meanwhile is its own affair.
   * @returns those that it does not read
   */
  expect?(ingredients: readonly number[]): readonly number[];
}

/** An evaluator that can also say in which direction a mix gets better. */
export interface GradientEvaluator extends ExampleEvaluator {
  objective(options: ObjectiveOptions): Promise<OpenObjective>;
  /** What the objective would hold in memory, and read. */
  planObjective(options: ObjectiveOptions): LearningPlan;
}

/** What a function may give: the metric itself, or what it can be taken from. */
export type FunctionResult =
  | number
  | {
      loss?: number;
      /** [n, classes]; of use where the evaluator was given labels. */
      logits?: Float32Array | readonly (readonly number[])[];
      metrics?: Partial<Record<Metric, number>>;
    };

/** A function of yours that says how good a soup is: its metric, or loss, logits and metrics. */
export type EvaluatorFunction = (
  soup: Candidate,
  options: EvaluateOptions,
) => FunctionResult | Promise<FunctionResult>;

/** An evaluator that only says how good a whole soup is: a user's function, a command. */
export interface WholeEvaluator {
  /** As above; without it, evaluations cannot be kept. */
  readonly id?: string;
  readonly labels?: Int32Array;
  evaluate: EvaluatorFunction;
}

/** What says how good a soup is: a network that stockpot runs, a graph, a program or a function. */
export type Evaluator = ExampleEvaluator | WholeEvaluator | EvaluatorFunction;

/** Whether single examples can be evaluated. */
export const hasExamples = (e: Evaluator): e is ExampleEvaluator =>
  typeof e === 'object' && 'batches' in e;

/** Whether it gives derivatives. */
export const hasGradient = (e: Evaluator): e is GradientEvaluator =>
  typeof e === 'object' && 'objective' in e;

/** A function as the evaluator that it is. @throws StockpotError USAGE */
export function wholeEvaluator(e: WholeEvaluator | EvaluatorFunction): WholeEvaluator {
  if (typeof e === 'function') return { evaluate: e };
  if (typeof e?.evaluate === 'function') return e;
  throw new StockpotError(
    'USAGE',
    'expected an evaluator: a function (soup, { beta, signal }) => number | { loss, logits, metrics }',
  );
}

/**
 * Asks a user's evaluator.
 * @throws StockpotError EVALUATOR where it fails
 */
export async function askEvaluator(
  { evaluate }: WholeEvaluator,
  soup: Candidate,
  options: EvaluateOptions,
): Promise<FunctionResult> {
  try {
    return await evaluate(soup, options);
  } catch (cause) {
    if (cause instanceof StockpotError) throw cause;
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new StockpotError('EVALUATOR', `the evaluator failed: ${said.split('\n')[0]}`, { cause });
  }
}

/**
 * The metric that a function's result stands for, and what else it says.
 * @throws StockpotError USAGE where it says nothing about the metric
 */
export function readResult(
  metric: Metric,
  result: FunctionResult,
  labels?: Int32Array,
  beta = 1,
): { value: number; metrics: Partial<Metrics> } {
  const said = saidBy(metric, result, labels, beta);
  const value = said.metrics[metric];
  if (typeof value !== 'number')
    throw refused(metric, `it gave { ${Object.keys(result).join(', ')} }`);
  return { value, metrics: said.metrics };
}

/**
 * Everything that a function's result says.
 * @param metric what a bare number stands for
 * @throws StockpotError USAGE
 */
export function saidBy(
  metric: Metric,
  result: FunctionResult,
  labels?: Int32Array,
  beta = 1,
): { metrics: Partial<Metrics> } {
  if (typeof result === 'number') return { metrics: { [metric]: result } };
  if (typeof result !== 'object' || result === null)
    throw refused(metric, `it gave ${result === null ? 'null' : typeof result}`);
  const { loss, logits, metrics } = result;
  const taken: Partial<Metrics> = {};
  if (logits && labels) Object.assign(taken, fromLogits(logits, labels, beta));
  if (loss !== undefined) taken.loss = loss;
  return { metrics: Object.assign(taken, metrics) };
}

function fromLogits(
  logits: Float32Array | readonly (readonly number[])[],
  labels: Int32Array,
  beta: number,
): Metrics {
  const flat = logits instanceof Float32Array ? logits : Float32Array.from(logits.flat());
  if (flat.length === 0 || flat.length % labels.length !== 0) {
    throw new StockpotError(
      'USAGE',
      `expected the evaluator's logits for ${labels.length} examples but received ${flat.length} numbers`,
    );
  }
  return allMetrics(flat, labels, beta);
}

const refused = (metric: Metric, found: string): StockpotError =>
  new StockpotError('USAGE', `expected the evaluator to give the metric ${metric} but ${found}`, {
    remedy: `Return a number, { metrics: { ${metric} } }${metric === 'loss' ? ' or { loss }' : ''}, or give the evaluator labels and return { logits }.`,
  });
