import { type Command, InvalidArgumentError, Option } from 'commander';
import { gap } from '../analysis/gap.js';
import { NativeEvaluator } from '../evaluate/native_evaluator.js';
import { Session } from '../evaluate/session.js';
import { analysisPlan } from './analysis_plan.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
} from './evaluation_options.js';
import { parseWeights, plural } from './parse.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  alphas?: number[];
  betas?: number[];
  step?: number;
}

export function gapCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description(
      "compare soups' losses with their ensembles', measured and predicted, for all pairs",
    )
    .argument('<ingredient...>', 'two or more checkpoints of one architecture')
    .addOption(
      new Option('--alphas <a1,a2,…>', 'where between two ingredients (default: 0.5)').argParser(
        parseWeights,
      ),
    )
    .addOption(
      new Option('--betas <b1,b2,…>', 'what logits are multiplied by (default: 1)').argParser(
        parseWeights,
      ),
    )
    .addOption(
      new Option('--step <h>', 'of the second derivative, along alpha (default: 0.1)').argParser(
        parseStep,
      ),
    )
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        const { alphas, betas, step, key } = options;
        if (options.dryRun) {
          const k = ingredients.length;
          const mixes = k + ((k * (k - 1)) / 2) * 3 * (alphas?.length ?? 1);
          return analysisPlan(ingredients, { key }, mixes, false);
        }
        // Differences this small would drown in the rounding to 16 bits.
        const dtype = 'f32';
        const session = await Session.open(ingredients, {
          ...evaluationOptions(options, run),
          dtype,
        });
        try {
          const evaluator = new NativeEvaluator(session);
          const asked = { ...run, evaluator, alphas, betas, step, key, dtype } as const;
          const found = await gap(session.checkpoints, asked);
          const notes = [...new Set([...session.notes, ...found.notes])];
          const lines = found.points.map(
            (p) =>
              `  ${p.a}, ${p.b}  alpha ${p.alpha}  beta ${p.beta}  soup ${p.soupLoss.toFixed(4)}  ensemble ${p.ensembleLoss.toFixed(4)}  measured ${signed(p.measured)}  predicted ${signed(p.predicted)}`,
          );
          const r = found.correlation === null ? 'not defined' : found.correlation.toFixed(3);
          return {
            json: { ...found, notes },
            lines: [
              `loss of the soup less loss of the ensemble, ${plural(found.points.length, 'point')}, ${plural(found.n, 'example')}`,
              ...lines,
              `correlation of predicted and measured: ${r}; mean error ${found.meanError.toExponential(2)}`,
            ],
            warnings: found.warnings,
            notes,
          };
        } finally {
          await session.close();
        }
      }),
    );
  return command;
}

const signed = (x: number): string => `${x < 0 ? '' : '+'}${x.toFixed(5)}`;

function parseStep(text: string): number {
  const step = text.trim() === '' ? Number.NaN : Number(text);
  if (!(step > 0 && step <= 10))
    throw new InvalidArgumentError('expected a number above 0, such as 0.1.');
  return step;
}
