import { openCheckpoint } from '../checkpoint/open.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { openDataSet } from '../data/open.js';
import { StockpotError } from '../errors.js';
import { commandEvaluator } from '../evaluate/command.js';
import type { Evaluator, WholeEvaluator } from '../evaluate/evaluator.js';
import { NativeEvaluator } from '../evaluate/native_evaluator.js';
import { type EvaluationPlan, planEvaluation } from '../evaluate/plan.js';
import { Session } from '../evaluate/session.js';
import { tensorBytes } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';
import type { SoupOptions } from '../soup/soup.js';
import { type EvaluationCommandOptions, evaluationOptions } from './evaluation_options.js';

/** What says how good soups of these ingredients are, as the command line asks for it. */
export interface OpenEvaluator {
  checkpoints: readonly Checkpoint[];
  evaluator: Evaluator;
  notes: readonly string[];
  close(): Promise<void>;
}

/** A network on data, or a program. @throws StockpotError */
export async function openEvaluator(
  ingredients: readonly string[],
  options: EvaluationCommandOptions,
  run: RunOptions,
  soup: SoupOptions = {},
): Promise<OpenEvaluator> {
  if (options.evaluate === undefined) {
    const session = await Session.open(ingredients, {
      ...evaluationOptions(options, run),
      ...soup,
    });
    const evaluator = new NativeEvaluator(session);
    const { checkpoints, notes } = session;
    return { checkpoints, evaluator, notes, close: () => session.close() };
  }
  if (options.graph !== undefined) {
    throw new StockpotError('USAGE', '--graph and --evaluate are two ways to evaluate a soup', {
      remedy: 'Leave one of them out.',
    });
  }
  const checkpoints: Checkpoint[] = [];
  for (const i of ingredients) checkpoints.push(await openCheckpoint(i, options));
  const labels = await labelsOf(checkpoints[0] as Checkpoint, options, run);
  const evaluator = commandEvaluator(options.evaluate, { timeout: options.timeout, labels });
  return { checkpoints, evaluator, notes: [], close: async () => {} };
}

/**
 * What --dry-run says of an evaluation by a network, or by a program: nothing is run.
 * @throws StockpotError as the evaluation would, before it runs anything
 */
export async function planOf(
  models: readonly string[],
  options: EvaluationCommandOptions,
  run: RunOptions,
): Promise<EvaluationPlan> {
  if (options.evaluate === undefined)
    return planEvaluation(models, evaluationOptions(options, run));
  const { checkpoints, evaluator } = await openEvaluator(models, options, run);
  const all = checkpoints.flatMap((c) => [...c.tensors.values()]);
  return {
    dryRun: true,
    ingredients: [...models],
    n: (evaluator as WholeEvaluator).labels?.length ?? null,
    classes: null,
    batchSize: null,
    bytesRead: all.reduce((sum, t) => sum + tensorBytes(t), 0),
    networkBytes: null,
    dataBytes: 0,
    threads: null,
    notes: checkpoints.flatMap((c) => [...c.notes]),
  };
}

/** The labels of --data, for a program that gives logits. */
async function labelsOf(
  first: Checkpoint,
  options: EvaluationCommandOptions,
  run: RunOptions,
): Promise<Int32Array | undefined> {
  if (!options.data) return undefined;
  const data = await openDataSet(options.data, {
    ...evaluationOptions(options, run),
    model: first.path,
  });
  await data.close();
  return data.labels;
}
