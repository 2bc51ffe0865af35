import { type Command, InvalidArgumentError, Option } from 'commander';
import { showBytes } from '../bytes.js';
import { StockpotError } from '../errors.js';
import { METRICS, type Metric } from '../evaluate/metrics.js';
import type { Parametrisation } from '../learn/parametrisation.js';
import type { By } from '../merge/groups.js';
import type { LearnedOptions } from '../recipes/learned/options.js';
import { type LearnedSoup, learned } from '../recipes/learned.js';
import {
  addDataOptions,
  addProgramOptions,
  type EvaluationCommandOptions,
  percent,
} from './evaluation_options.js';
import { openEvaluator } from './evaluator.js';
import { parseWhole } from './parse.js';
import { runCommand } from './run.js';
import {
  addSoupOptions,
  type SoupCommandOptions,
  soupOptions,
  soupOutcome,
} from './soup_options.js';

type Options = SoupCommandOptions &
  Omit<EvaluationCommandOptions, 'batchSize'> & {
    by: By;
    parametrisation: Parametrisation;
    lr: number;
    epochs?: number;
    steps?: number;
    batchSize?: LearnedOptions['batchSize'];
    weightDecay: number;
    temperature: boolean;
    optimizer: LearnedOptions['optimizer'];
    metric?: Metric;
    seed: number;
    resume?: string;
  };

const parseReal = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('expected a number from 0.');
  return value;
};

const parseBatch = (text: string): number | 'full' | 'auto' =>
  text === 'full' || text === 'auto' ? text : parseWhole(text);

export function learnedCommand(command: Command): Command {
  addSoupOptions(command);
  addProgramOptions(addDataOptions(command))
    .description('learn how much of each ingredient to take, by gradient descent on held-out data')
    .argument('<ingredient...>', 'checkpoints: files or folders')
    .addOption(
      new Option('--by <what>', 'what has coefficients of its own')
        .choices(['model', 'layer', 'tensor'])
        .default('model'),
    )
    .addOption(
      new Option('--parametrisation <how>', 'coefficients that sum to one, or any')
        .choices(['softmax', 'free'])
        .default('softmax'),
    )
    .addOption(new Option('--lr <rate>', 'learning rate').argParser(parseReal).default(0.05))
    .addOption(
      new Option('--epochs <n>', 'times that all examples are gone through (default: 5)').argParser(
        parseWhole,
      ),
    )
    .addOption(
      new Option('--steps <n>', 'number of steps, in place of --epochs').argParser(parseWhole),
    )
    .addOption(
      new Option(
        '--batch-size <n>',
        'examples a step: a number, full or auto (default: 256)',
      ).argParser(parseBatch),
    )
    .addOption(new Option('--weight-decay <rate>', 'of AdamW').argParser(parseReal).default(0))
    .option('--no-temperature', 'do not learn the factor of the logits')
    .addOption(
      new Option(
        '--optimizer <name>',
        'along the gradient (adamw), or by a search that needs none (cma)',
      )
        .choices(['adamw', 'cma'])
        .default('adamw'),
    )
    .addOption(
      new Option('--metric <name>', 'what cma searches for (default: accuracy)').choices(METRICS),
    )
    .addOption(
      new Option('--seed <n>', 'of the order of the examples').argParser(parseWhole).default(0),
    )
    .option('--resume <dir>', 'keep the state here, and go on with what is there')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        if (options.output === undefined && !options.dryRun) {
          throw new StockpotError('USAGE', 'expected -o OUT', {
            remedy: 'Name the soup: -o soup.safetensors (a file) or -o soup (a folder).',
          });
        }
        const soup = soupOptions(options);
        const open = await openEvaluator(
          ingredients,
          { ...options, batchSize: undefined },
          run,
          soup,
        );
        try {
          const { by, parametrisation, lr, epochs, steps, batchSize, weightDecay } = options;
          const { temperature, optimizer, seed, resume } = options;
          const made = await learned(open.checkpoints, options.output ?? 'soup', {
            ...soup,
            ...run,
            evaluator: open.evaluator,
            by,
            parametrisation,
            lr,
            epochs,
            steps,
            batchSize,
            weightDecay,
            temperature,
            optimizer,
            metric: options.metric,
            seed,
            resume,
          });
          return outcome(made, open.notes);
        } finally {
          await open.close();
        }
      }),
    );
  return command;
}

function outcome(made: LearnedSoup, notes: readonly string[]) {
  const base = soupOutcome(made);
  const lines = [...base.lines];
  if (made.plan) {
    const { batch, segments, network, residence, ingredients, readsPerStep } = made.plan;
    const where = {
      memory: 'ingredients in memory',
      group: 'ingredients read once a step, a group at a time',
      disk: 'ingredients read twice a step',
    }[residence];
    const { evaluations } = made.plan;
    if (evaluations !== undefined)
      lines.push(
        `  ${made.steps} steps of ${evaluations} evaluations each, ${showBytes(readsPerStep)} read a step`,
      );
    else
      lines.push(
        `  ${made.steps} steps, ${batch} examples at a time${segments > 1 ? `, activations computed again in ${segments} parts` : ''}`,
        `  network with gradients ${showBytes(network)}, ${where} (${showBytes(ingredients)} held, ${showBytes(readsPerStep)} read a step)`,
      );
  }
  if (made.metrics) {
    const [first, last] = [made.loss[0], made.loss.at(-1)];
    lines.push(
      `  ${made.steps} steps: loss ${first?.toFixed(4) ?? '-'} to ${last?.toFixed(4) ?? '-'}; held-out ${made.accuracy === null ? '' : `accuracy ${percent(made.accuracy)}, `}loss ${made.metrics.loss?.toFixed(4)}; beta ${made.beta.toFixed(4)}`,
    );
  }
  return { ...base, lines, notes: [...notes, ...(base.notes ?? [])] };
}
