import type { Command } from 'commander';
import { StockpotError } from '../errors.js';
import { predict } from '../evaluate/predict.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
} from './evaluation_options.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  output?: string;
  overwrite?: boolean;
}

export function predictCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description("write a model's logits on labelled data")
    .argument('<model>', 'a checkpoint')
    .option('-o, --output <file>', 'NAME.safetensors with logits and labels')
    .option('--key <name>', 'the dict inside a wrapped PyTorch checkpoint')
    .option('--overwrite', 'replace an output that exists')
    .action((model: string, options: Options) =>
      runCommand(options, async (run) => {
        if (options.output === undefined)
          throw new StockpotError('USAGE', 'expected -o FILE.safetensors');
        const p = await predict(model, options.output, {
          ...evaluationOptions(options, run),
          overwrite: options.overwrite,
        });
        const { notes, ...json } = p;
        return {
          json,
          lines: [`wrote ${p.output}: logits [${p.n}, ${p.classes}] and labels [${p.n}]`],
          notes,
        };
      }),
    );
  return command;
}
