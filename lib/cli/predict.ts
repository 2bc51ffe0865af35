import type { Command } from 'commander';
import { AtomicOutput } from '../checkpoint/output.js';
import { StockpotError } from '../errors.js';
import { planEvaluation } from '../evaluate/plan.js';
import { predict } from '../evaluate/predict.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  planOutcome,
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
        const { output, overwrite, dryRun } = options;
        const evaluation = evaluationOptions(options, run);
        if (dryRun) {
          await AtomicOutput.check(output, { overwrite, inputs: [model] });
          return planOutcome(await planEvaluation([model], evaluation));
        }
        const p = await predict(model, output, { ...evaluation, overwrite });
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
