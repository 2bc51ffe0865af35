import { type Command, InvalidArgumentError, Option } from 'commander';
import { landscape, type Mark } from '../analysis/landscape.js';
import { line } from '../analysis/line.js';
import type { Score } from '../analysis/mixes.js';
import { StockpotError } from '../errors.js';
import type { Evaluator } from '../evaluate/evaluator.js';
import { NativeEvaluator } from '../evaluate/native_evaluator.js';
import { type EvaluationOptions, Session } from '../evaluate/session.js';
import type { RunOptions } from '../progress.js';
import { analysisPlan } from './analysis_plan.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  percent,
} from './evaluation_options.js';
import { parseCount } from './parse.js';
import { type Outcome, runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  base?: string;
  soup?: string[];
  line?: boolean;
  shifted?: Map<string, string>;
  grid?: number;
  margin?: number;
  resume?: string;
}

/** Mixes are evaluated as they are, not rounded to 16 bits: the noise of that would lie on the landscape. */
const DTYPE = 'f32';
const HELD_OUT = 'heldout';

export function landscapeCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description('evaluate the plane through three checkpoints, or the line between two (--line)')
    .argument('<checkpoint...>', 'the base and two ingredients; with --line the two ends')
    .option('--base <model>', 'the first checkpoint, where it is not named first')
    .option('--soup <model...>', 'mark these in the plane, where they lie nearest')
    .option('--line', 'the line between two checkpoints instead of a plane')
    .addOption(
      new Option('--shifted <name=data>', 'another data set for --line (repeatable)').argParser(
        collectSets,
      ),
    )
    .addOption(
      new Option('--grid <n>', 'points on the line, or on each side (default: 11)').argParser(
        parseCount,
      ),
    )
    .addOption(
      new Option(
        '--margin <share>',
        'how far to go beyond the checkpoints (default: 0.25; with --line: 0)',
      ).argParser(parseShare),
    )
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .option('--resume <dir>', 'keep evaluations here, and use those that are there')
    .action((named: string[], options: Options) =>
      runCommand(options, (run) => {
        const checkpoints = options.base === undefined ? named : [options.base, ...named];
        check(checkpoints, options);
        if (options.dryRun) return planned(checkpoints, options);
        return options.line
          ? lineOf(checkpoints, options, run)
          : planeOf(checkpoints, options, run);
      }),
    );
  return command;
}

/** The plan, with --dry-run. */
function planned(checkpoints: string[], options: Options): Promise<Outcome> {
  const { line, soup = [], shifted, grid = 11, key } = options;
  const all = [...checkpoints, ...soup];
  const mixes = line ? grid * (1 + (shifted?.size ?? 0)) : grid * grid + all.length;
  return analysisPlan(all, { key }, mixes, !line);
}

function check(checkpoints: readonly string[], { line, soup, shifted }: Options): void {
  if (line && soup)
    throw new StockpotError('USAGE', '--soup marks a soup in a plane, and --line has none', {
      remedy: 'Name the soup as an end of the line.',
    });
  if (!line && shifted) throw new StockpotError('USAGE', '--shifted is for --line');
  const n = checkpoints.length;
  if (n === (line ? 2 : 3)) return;
  throw line
    ? new StockpotError('USAGE', `expected the two ends of a line but received ${n} checkpoints`)
    : new StockpotError(
        'USAGE',
        `expected the base and two ingredients but received ${n} checkpoints`,
        { remedy: 'Soups that are to be marked go to --soup; the line between two is --line.' },
      );
}

async function planeOf(checkpoints: string[], options: Options, run: RunOptions): Promise<Outcome> {
  const { soup = [], grid, margin, key, resume } = options;
  const evaluation = { ...evaluationOptions(options, run), dtype: DTYPE } as const;
  const session = await Session.open([...checkpoints, ...soup], evaluation);
  try {
    const found = await landscape(session.checkpoints.slice(0, 3), {
      ...run,
      evaluator: new NativeEvaluator(session),
      soups: session.checkpoints.slice(3),
      dtype: DTYPE,
      grid,
      margin,
      key,
      resume,
    });
    const { warnings } = found;
    const notes = [...new Set([...session.notes, ...found.notes])];
    const best = found.points.reduce((a, b) => ((b.loss ?? NaN) < (a.loss ?? NaN) ? b : a));
    return {
      json: { ...found, notes },
      lines: [
        `the plane through ${found.checkpoints.join(', ')}: ${found.x.length} × ${found.y.length} points`,
        ...found.marks.map(showMark),
        `  least loss at (${best.x.toFixed(3)}, ${best.y.toFixed(3)}), weights ${best.weights.map((w) => w.toFixed(3)).join(', ')}: ${showScore(best)}`,
      ],
      warnings,
      notes,
    };
  } finally {
    await session.close();
  }
}

const showMark = (m: Mark): string =>
  `  ${m.role} (${m.x.toFixed(3)}, ${m.y.toFixed(3)})${m.role === 'soup' ? `, ${m.distance.toFixed(3)} off the plane` : ''}: ${showScore(m)}  ${m.model}`;

const showScore = ({ accuracy, loss }: Score): string =>
  [
    accuracy === null ? '' : `accuracy ${percent(accuracy)}`,
    loss === null ? '' : `loss ${loss.toFixed(4)}`,
  ]
    .filter((s) => s !== '')
    .join('  ');

async function lineOf(checkpoints: string[], options: Options, run: RunOptions): Promise<Outcome> {
  const { shifted = new Map<string, string>(), grid, margin, key, resume } = options;
  const heldOut: EvaluationOptions = { ...evaluationOptions(options, run), dtype: DTYPE };
  const sessions: Session[] = [];
  const evaluators = new Map<string, Evaluator>();
  const open = async (name: string, evaluation: EvaluationOptions) => {
    const session = await Session.open(sessions[0]?.checkpoints ?? checkpoints, evaluation);
    sessions.push(session);
    evaluators.set(name, new NativeEvaluator(session));
  };
  try {
    await open(HELD_OUT, heldOut);
    for (const [name, data] of shifted) await open(name, { ...heldOut, data: [data] });
    const found = await line(sessions[0]?.checkpoints ?? [], {
      ...run,
      evaluators,
      dtype: DTYPE,
      grid,
      margin,
      key,
      resume,
    });
    const notes = [...new Set([...sessions.flatMap((s) => s.notes), ...found.notes])];
    return {
      json: { ...found, notes },
      lines: [
        `from ${found.checkpoints[0]} (alpha 0) to ${found.checkpoints[1]} (alpha 1)`,
        ...found.points.map(
          ({ alpha, scores }) =>
            `  ${alpha.toFixed(3)}  ${Object.entries(scores)
              .map(([name, s]) => `${name}: ${showScore(s)}`)
              .join('   ')}`,
        ),
      ],
      warnings: found.warnings,
      notes,
    };
  } finally {
    for (const s of sessions) await s.close();
  }
}

/** NAME=DATA, repeatable. */
function collectSets(text: string, before = new Map<string, string>()): Map<string, string> {
  const at = text.indexOf('=');
  const [name, data] = [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
  if (name === '' || data === '')
    throw new InvalidArgumentError('expected NAME=DATA, such as noise=test-noise.tar.');
  if (name === HELD_OUT || before.has(name))
    throw new InvalidArgumentError(`the name ${name} is taken.`);
  return new Map([...before, [name, data]]);
}

function parseShare(text: string): number {
  const share = text.trim() === '' ? Number.NaN : Number(text);
  if (!(share >= 0 && share <= 100))
    throw new InvalidArgumentError('expected a number from 0 to 100, such as 0.25.');
  return share;
}
