import type { Command } from 'commander';
import { AtomicOutput } from '../checkpoint/output.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { WholeEvaluator } from '../evaluate/evaluator.js';
import { predict, predictWith } from '../evaluate/predict.js';
import type { RunOptions } from '../progress.js';
import {
  addEvaluationOptions,
  addProgramOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  planOutcome,
} from './evaluation_options.js';
import { openEvaluator, planOf } from './evaluator.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  output?: string;
  overwrite?: boolean;
}

export function predictCommand(command: Command): Command {
  addProgramOptions(addEvaluationOptions(command))
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
        if (dryRun) {
          await AtomicOutput.check(output, { overwrite, inputs: [model] });
          return planOutcome(await planOf([model], options, run));
        }
        const p =
          options.evaluate === undefined
            ? await predict(model, output, { ...evaluationOptions(options, run), overwrite })
            : await byProgram(model, output, options, run);
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

async function byProgram(model: string, output: string, options: Options, run: RunOptions) {
  const { checkpoints, evaluator } = await openEvaluator([model], options, run);
  const [first] = checkpoints as [Checkpoint];
  const { overwrite } = options;
  return predictWith(first, output, evaluator as WholeEvaluator, { ...run, overwrite });
}
