import { type Command, InvalidArgumentError, Option } from 'commander';
import { compare, planComparison } from '../analysis/compare/index.js';
import type { Comparison, MethodResult } from '../analysis/compare/types.js';
import { everything } from '../analysis/everything.js';
import { percentInterval, pointsInterval, showFlops } from '../analysis/report/numbers.js';
import { showRun } from '../analysis/run_file.js';
import { checkTextOutput, writeText } from '../analysis/write_text.js';
import { BY, type By } from '../merge/groups.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
} from './evaluation_options.js';
import { runCommand } from './run.js';

export interface ComparisonCommandOptions extends EvaluationCommandOptions {
  test?: string[];
  shifted?: Record<string, string[]>;
  base?: string;
  seed?: number;
  resamples?: number;
}

interface Options extends ComparisonCommandOptions {
  soup?: string[];
  all?: boolean;
  learned?: By[];
  orders?: number;
  subset?: number[];
  repeats?: number;
  output?: string;
  overwrite?: boolean;
}

const wholeNumber = (text: string): number => {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
};

function kinds(text: string): By[] {
  if (text === 'none') return [];
  const by = text.split(',');
  if (!by.every((b): b is By => BY.includes(b as By)))
    throw new InvalidArgumentError(`expected some of ${BY.join(',')}, or none.`);
  return by as By[];
}

const wholeNumbers = (text: string): number[] => text.split(',').map(wholeNumber);

/** NAME=DATA; the same name twice is several shards of one set. */
function named(text: string, before: Record<string, string[]> = {}): Record<string, string[]> {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1)
    throw new InvalidArgumentError('expected NAME=DATA, such as noise=test-noise.tar.');
  const name = text.slice(0, at);
  const already = Object.hasOwn(before, name) ? (before[name] as string[]) : [];
  return { ...before, [name]: [...already, text.slice(at + 1)] };
}

/** Options of what measures models on several sets. */
export function addComparisonOptions(command: Command): Command {
  return addEvaluationOptions(command)
    .option('--test <path...>', 'labelled data that no recipe looks at')
    .addOption(
      new Option(
        '--shifted <name=path...>',
        'a test set of another distribution (repeatable; a name twice: more shards of it)',
      ).argParser(named),
    )
    .option('--base <model>', 'the model that the ingredients were fine-tuned from')
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .addOption(new Option('--seed <n>', 'of everything random (default: 0)').argParser(wholeNumber))
    .addOption(
      new Option(
        '--resamples <n>',
        'how often examples are drawn again for the intervals (default: 1000)',
      ).argParser(wholeNumber),
    );
}

export function compareCommand(command: Command): Command {
  addComparisonOptions(command)
    .description('compare models, soups of every recipe and ensembles, with intervals')
    .argument('<ingredient...>', 'checkpoints: files or folders')
    .option('--soup <model...>', 'soups that were made before')
    .option('--all', 'also angles, landscape, line and gap, for a report with all of it')
    .addOption(
      new Option(
        '--learned <by,…>',
        'learned soups with coefficients by model, layer or tensor, or none (default: model)',
      ).argParser(kinds),
    )
    .addOption(
      new Option('--orders <n>', 'greedy soups in random order (default: 3)').argParser(
        wholeNumber,
      ),
    )
    .addOption(
      new Option(
        '--subset <n,n,…>',
        'also let recipes choose with so few held-out examples',
      ).argParser(wholeNumbers),
    )
    .addOption(
      new Option('--repeats <n>', 'random subsets of each size (default: 10)').argParser(
        wholeNumber,
      ),
    )
    .option('-o, --output <file>', 'write the run, for `stockpot report`')
    .option('--overwrite', 'replace an output that exists')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        const { output, overwrite } = options;
        const evaluation = evaluationOptions(options, run);
        if (output !== undefined) await checkTextOutput(output, { overwrite });
        const { test, shifted, base, soup: soups, learned, orders, subset, repeats } = options;
        const { seed, resamples } = options;
        const all = {
          ...evaluation,
          ...{ test, shifted, base, soups, learned, orders, subset, repeats, seed, resamples },
        };
        if (options.dryRun) {
          const plan = await planComparison(ingredients, all);
          const flops = plan.flops === null ? '' : `, ${showFlops(plan.flops)}`;
          const lines = [
            `would run up to ${plan.mixes} models and soups on ${plan.sets.map((s) => `${s.name} (${s.n})`).join(', ')}${flops}`,
          ];
          return { json: plan, lines };
        }
        const sections = options.all
          ? await everything(ingredients, all)
          : { compare: await compare(ingredients, all) };
        if (output !== undefined) await writeText(output, showRun(sections), { overwrite });
        const { compare: result, ...others } = sections;
        return {
          json: { ...result, ...others, output: output ?? null },
          lines: showComparison(result),
          notes: result.notes,
        };
      }),
    );
  return command;
}

/** The paper's table as lines: accuracy in per cent with its interval, one line a method. */
function showComparison(c: Comparison): string[] {
  const sets = c.sets.map((s) => s.name);
  const withMean = c.methods.some((m) => m.shiftMean);
  const header = [
    'accuracy in %',
    ...c.sets.map((s) => `${s.name} (${s.n})`),
    ...(withMean ? ['mean of shifts'] : []),
    'cost',
  ];
  const row = (m: MethodResult): string[] => [
    m.id === c.reference ? `${m.label}, best on held-out` : m.label,
    ...sets.map((name) => percentInterval((m.sets[name] as MethodResult['sets'][string]).accuracy)),
    ...(withMean ? [m.shiftMean ? percentInterval(m.shiftMean.accuracy) : ''] : []),
    `${m.cost.passes}×`,
  ];
  const table = [header, ...c.methods.map(row)];
  const widths = header.map((_, at) => Math.max(...table.map((r) => (r[at] as string).length)));
  const lines = table.map((r) =>
    r
      .map((cell, at) =>
        at === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[at] as number),
      )
      .join('  '),
  );
  return [...lines, ...verdicts(c)];
}

function verdicts(c: Comparison): string[] {
  const judge = c.sets.find((s) => s.role === 'test') ?? c.sets[0];
  return c.methods
    .filter((m) => ['soup', 'uniform', 'greedy', 'learned'].includes(m.kind))
    .flatMap((m) => {
      const d = judge && m.sets[judge.name]?.difference;
      if (!d) return [];
      return [
        `${m.label} against the best individual on ${judge.name}: ${pointsInterval(d)} points, ${d.moreThanNoise ? 'more than noise' : 'within noise'}`,
      ];
    });
}
