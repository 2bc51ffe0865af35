import { type Command, Option } from 'commander';
import { type EnsembleOptions, ensemble } from '../evaluate/ensemble.js';
import { planEvaluation } from '../evaluate/plan.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  percent,
  planOutcome,
} from './evaluation_options.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  combine: EnsembleOptions['combine'];
  greedy?: boolean;
}

export function ensembleCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description("measure the mean of models' outputs")
    .argument('<model...>', 'checkpoints of one architecture')
    .addOption(
      new Option('--combine <what>', 'what is averaged')
        .choices(['logits', 'probabilities'])
        .default('logits'),
    )
    .option('--greedy', 'best first, only members that do not lower the accuracy')
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .action((models: string[], options: Options) =>
      runCommand(options, async (run) => {
        const evaluation = evaluationOptions(options, run);
        if (options.dryRun) return planOutcome(await planEvaluation(models, evaluation));
        const { notes, ...e } = await ensemble(models, {
          ...evaluation,
          combine: options.combine,
          greedy: options.greedy,
        });
        const line = `ensemble of ${e.members.length} of ${models.length} models: accuracy ${percent(e.accuracy)}  loss ${e.loss.toFixed(4)}  ece ${percent(e.ece)}  n ${e.n}`;
        return { json: e, lines: [line], notes };
      }),
    );
  return command;
}
