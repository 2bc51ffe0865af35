import type { Command } from 'commander';
import { evaluate, evaluateWith, type SaidMetrics } from '../evaluate/evaluate.js';
import { type WholeEvaluator, wholeEvaluator } from '../evaluate/evaluator.js';
import type { RunOptions } from '../progress.js';
import {
  addEvaluationOptions,
  addProgramOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  percent,
  planOutcome,
} from './evaluation_options.js';
import { openEvaluator, planOf } from './evaluator.js';
import { runCommand } from './run.js';

export function evaluateCommand(command: Command): Command {
  addProgramOptions(addEvaluationOptions(command))
    .description('measure models on labelled data')
    .argument('<model...>', 'checkpoints of one architecture')
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .action((models: string[], options: EvaluationCommandOptions) =>
      runCommand(options, async (run) => {
        if (options.dryRun) return planOutcome(await planOf(models, options, run));
        const { models: results, notes } = await measure(models, options, run);
        const width = Math.max(...results.map((r) => r.model.length));
        const lines = results.map((r) =>
          [
            r.model.padEnd(width),
            ...show('accuracy', r.accuracy, percent),
            ...show('loss', r.loss, digits),
            ...show('ece', r.ece, percent),
            ...show('f1', r.f1, percent),
            ...show('matthews', r.matthews, digits),
            ...show('n', r.n, String),
          ].join('  '),
        );
        return { json: { models: results }, lines, notes };
      }),
    );
  return command;
}

/** A program's metrics may be some of them only. */
async function measure(
  models: readonly string[],
  options: EvaluationCommandOptions,
  run: RunOptions,
): Promise<{ models: SaidMetrics[]; notes: readonly string[] }> {
  if (options.evaluate === undefined) return evaluate(models, evaluationOptions(options, run));
  const { checkpoints, evaluator } = await openEvaluator(models, options, run);
  const program = wholeEvaluator(evaluator as WholeEvaluator);
  return { models: await evaluateWith(checkpoints, program, 'accuracy', run), notes: [] };
}

const digits = (x: number): string => x.toFixed(4);

const show = (name: string, x: number | null, how: (x: number) => string): string[] =>
  x === null ? [] : [`${name} ${how(x)}`];
