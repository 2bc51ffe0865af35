import type { Command } from 'commander';
import { evaluate } from '../evaluate/evaluate.js';
import { planEvaluation } from '../evaluate/plan.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  percent,
  planOutcome,
} from './evaluation_options.js';
import { runCommand } from './run.js';

export function evaluateCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description('measure models on labelled data')
    .argument('<model...>', 'checkpoints of one architecture')
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .action((models: string[], options: EvaluationCommandOptions) =>
      runCommand(options, async (run) => {
        const evaluation = evaluationOptions(options, run);
        if (options.dryRun) return planOutcome(await planEvaluation(models, evaluation));
        const { models: results, notes } = await evaluate(models, evaluation);
        const width = Math.max(...results.map((r) => r.model.length));
        const lines = results.map(
          (r) =>
            `${r.model.padEnd(width)}  accuracy ${percent(r.accuracy)}  loss ${r.loss.toFixed(4)}  ece ${percent(r.ece)}  f1 ${percent(r.f1)}  matthews ${r.matthews.toFixed(4)}  n ${r.n}`,
        );
        return { json: { models: results }, lines, notes };
      }),
    );
  return command;
}
