import { type Command, InvalidArgumentError, Option } from 'commander';
import { gradient } from '../learn/gradient.js';
import type { By } from '../merge/groups.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
} from './evaluation_options.js';
import { parseWeights } from './parse.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  weights?: number[];
  beta: number;
  by: By;
}

const parseBeta = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value))
    throw new InvalidArgumentError('expected a number.');
  return value;
};

export function gradientCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description('the loss of a mix of ingredients, and its derivatives by the mixing coefficients')
    .argument('<ingredient...>', 'checkpoints of one architecture')
    .addOption(
      new Option('--weights <w1,w2,…>', 'one number an ingredient (default: 1/k each)').argParser(
        parseWeights,
      ),
    )
    .addOption(
      new Option('--beta <factor>', 'the logits are multiplied by it')
        .argParser(parseBeta)
        .default(1),
    )
    .addOption(
      new Option('--by <what>', 'also by layer or by tensor')
        .choices(['model', 'layer', 'tensor'])
        .default('model'),
    )
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        const { notes, ...g } = await gradient(ingredients, {
          ...evaluationOptions(options, run),
          weights: options.weights,
          beta: options.beta,
          by: options.by,
        });
        const lines = [
          `loss ${g.loss}`,
          `d loss / d beta ${g.beta}`,
          ...g.alpha.map((a, i) => `d loss / d alpha ${a}  ${ingredients[i]}`),
          ...Object.entries(g.byLayer ?? g.byTensor ?? {}).map(
            ([name, row]) => `  ${name}: ${row.map((a) => a.toPrecision(6)).join(', ')}`,
          ),
        ];
        return { json: g, lines, notes };
      }),
    );
  return command;
}
