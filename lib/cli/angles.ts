import { type Command, Option } from 'commander';
import { type Angles, angles } from '../analysis/angles.js';
import type { Matrix } from '../analysis/geometry.js';
import { requireProcessor } from '../cuda.js';
import { NativeEvaluator } from '../evaluate/native_evaluator.js';
import { Session } from '../evaluate/session.js';
import { analysisPlan } from './analysis_plan.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  percent,
} from './evaluation_options.js';
import { collectGlobs, plural, showCount } from './parse.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  base?: string;
  by: 'model' | 'layer';
  include?: string[];
  exclude?: string[];
  resume?: string;
}

export function anglesCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description('show the angles, norms and distances of all pairs of ingredients')
    .argument('<ingredient...>', 'two or more checkpoints of one architecture')
    .option('--base <model>', 'what they were fine-tuned from; without it there are no angles')
    .addOption(
      new Option('--by <what>', 'also by layer').choices(['model', 'layer']).default('model'),
    )
    .addOption(
      new Option('--include <glob>', 'only tensors whose name matches (repeatable)').argParser(
        collectGlobs,
      ),
    )
    .addOption(
      new Option('--exclude <glob>', 'not the tensors whose name matches (repeatable)').argParser(
        collectGlobs,
      ),
    )
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .option('--resume <dir>', 'keep evaluations here, and use those that are there')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        const { base, by, include, exclude, key, resume, data } = options;
        if (options.dryRun) {
          const k = ingredients.length;
          const all = base === undefined ? ingredients : [...ingredients, base];
          const evaluations = data ? (k * (k + 1)) / 2 : 0;
          return analysisPlan(all, { include, exclude, key }, evaluations, true);
        }
        const asked = { ...run, base, by, include, exclude, key, resume };
        if (!data) {
          requireProcessor(asked.device, 'angles are computed');
          return outcome(await angles(ingredients, asked));
        }
        const session = await Session.open(ingredients, evaluationOptions(options, run));
        try {
          const evaluator = new NativeEvaluator(session);
          const found = await angles(session.checkpoints, { ...asked, evaluator });
          return outcome({ ...found, notes: [...new Set([...session.notes, ...found.notes])] });
        } finally {
          await session.close();
        }
      }),
    );
  return command;
}

const outcome = (a: Angles) => ({
  json: a,
  lines: [...summary(a), ...gains(a)],
  warnings: a.warnings,
  notes: a.notes,
});

function summary(a: Angles): string[] {
  const { taskVectors, weights } = a;
  const lines = [
    `${plural(a.ingredients.length, 'ingredient')}, ${plural(a.tensors, 'tensor')}, ${showCount(a.parameters)} parameters${a.base === null ? '' : `; base ${a.base}`}`,
    ...a.ingredients.map(
      (path, i) =>
        `  ${i}  norm ${short(weights.norms[i])}${taskVectors ? `  from the base ${short(taskVectors.norms[i])}` : ''}  ${path}`,
    ),
  ];
  if (taskVectors) {
    lines.push('angles between task vectors, in degrees', ...table(taskVectors.angles, 1));
    for (const g of a.groups ?? [])
      lines.push(`  ${g.group}: ${range(g.taskVectors?.angles as Matrix)}`);
  } else {
    lines.push(`no angles: ${a.refused}`);
    lines.push('cosines of the weights', ...table(weights.cosines, 4));
    for (const g of a.groups ?? []) lines.push(`  ${g.group}: ${range(g.weights.cosines)}`);
  }
  lines.push('distances', ...table(a.distances, 3));
  return lines;
}

function gains({ pairs, correlation }: Angles): string[] {
  if (!pairs) return [];
  const lines = pairs.map(({ a, b, angle, accuracy, gain }) => {
    const shown = accuracy === null ? '' : `  accuracy ${percent(accuracy)}`;
    const more =
      gain === null ? '' : `  gain ${gain < 0 ? '' : '+'}${(100 * gain).toFixed(2)} points`;
    return `  ${a}, ${b}${angle === null ? '' : `  angle ${angle.toFixed(1)}`}${shown}${more}`;
  });
  const r =
    correlation === null ? [] : [`correlation of angle and gain: ${correlation.toFixed(3)}`];
  return ['averages of pairs, against the mean of the two', ...lines, ...r];
}

const short = (x: number | undefined): string => (x ?? 0).toPrecision(5);

const table = (m: Matrix, digits: number): string[] =>
  m.map(
    (row) => `  ${row.map((x) => (x === null ? '-' : x.toFixed(digits)).padStart(8)).join('')}`,
  );

/** The least and the largest cell beside the diagonal. */
function range(m: Matrix): string {
  const cells = m.flatMap((row, i) => row.filter((x, j) => x !== null && i < j)) as number[];
  if (cells.length === 0) return 'nothing moved';
  return `${Math.min(...cells).toPrecision(4)} to ${Math.max(...cells).toPrecision(4)}`;
}
