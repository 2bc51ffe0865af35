import { type Command, Option } from 'commander';
import { StockpotError } from '../errors.js';
import type { Metric } from '../evaluate/metrics.js';
import type { Accept } from '../evaluate/rejection.js';
import { type GreedyOptions, greedy } from '../recipes/greedy.js';
import {
  addEvaluationOptions,
  addProgramOptions,
  type EvaluationCommandOptions,
  percent,
} from './evaluation_options.js';
import { openEvaluator } from './evaluator.js';
import { runCommand } from './run.js';
import {
  addSoupOptions,
  type SoupCommandOptions,
  soupOptions,
  soupOutcome,
} from './soup_options.js';

type Options = SoupCommandOptions &
  EvaluationCommandOptions & {
    metric: Metric;
    accept: Accept;
    order: GreedyOptions['order'];
    resume?: string;
  };

export function greedyCommand(command: Command): Command {
  addSoupOptions(command);
  addProgramOptions(addEvaluationOptions(command))
    .description('add ingredients one by one, best first, while the held-out metric does not fall')
    .argument('<ingredient...>', 'checkpoints: files or folders')
    .addOption(
      new Option('--metric <name>', 'what is held out for')
        .choices(['accuracy', 'loss', 'f1', 'matthews'])
        .default('accuracy'),
    )
    .addOption(
      new Option('--accept <rule>', 'keep a soup that is at least as good (ge), or better (gt)')
        .choices(['ge', 'gt'])
        .default('ge'),
    )
    .addOption(
      new Option('--order <how>', 'best first, or as given')
        .choices(['metric', 'given'])
        .default('metric'),
    )
    .option('--resume <dir>', 'keep evaluations here, and use those that are there')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        if (options.output === undefined && !options.dryRun) {
          throw new StockpotError('USAGE', 'expected -o OUT', {
            remedy: 'Name the soup: -o soup.safetensors (a file) or -o soup (a folder).',
          });
        }
        const soup = soupOptions(options);
        const open = await openEvaluator(ingredients, options, run, soup);
        try {
          const made = await greedy(open.checkpoints, options.output ?? 'soup', {
            ...soup,
            ...run,
            evaluator: open.evaluator,
            metric: options.metric,
            accept: options.accept,
            order: options.order,
            resume: options.resume,
          });
          const outcome = soupOutcome(made);
          const value =
            made.value === null
              ? []
              : [
                  `  held-out ${made.metric} ${made.metric === 'accuracy' ? percent(made.value) : made.value}; members ${made.members.join(', ')}`,
                ];
          return {
            ...outcome,
            lines: [...outcome.lines, ...value],
            notes: [...open.notes, ...(outcome.notes ?? [])],
          };
        } finally {
          await open.close();
        }
      }),
    );
  return command;
}
