import { type Command, InvalidArgumentError, Option } from 'commander';
import { AtomicOutput } from '../checkpoint/output.js';
import { StockpotError } from '../errors.js';
import { planEvaluation } from '../evaluate/plan.js';
import { probe } from '../heads/probe.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
  percent,
  planOutcome,
} from './evaluation_options.js';
import { parseWhole, plural } from './parse.js';
import { runCommand } from './run.js';

interface Options extends EvaluationCommandOptions {
  output?: string;
  overwrite?: boolean;
  l2: number;
  iterations?: number;
}

const parsePenalty = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('expected a number from 0.');
  return value;
};

export function probeCommand(command: Command): Command {
  addEvaluationOptions(command)
    .description("make a classification head by logistic regression on a model's frozen features")
    .argument('<model>', 'a checkpoint')
    .option('-o, --output <head>', 'the head: NAME.safetensors is a file, anything else a folder')
    .addOption(
      new Option('--l2 <lambda>', 'λ of λ/2·‖W‖² beside the mean loss')
        .argParser(parsePenalty)
        .default(1e-4),
    )
    .addOption(
      new Option('--iterations <n>', 'most iterations of L-BFGS (default: 1000)').argParser(
        parseWhole,
      ),
    )
    .option('--key <name>', 'the dict inside a wrapped PyTorch checkpoint')
    .option('--overwrite', 'replace an output that exists')
    .action((model: string, options: Options) =>
      runCommand(options, async (run) => {
        if (options.output === undefined)
          throw new StockpotError('USAGE', 'expected --data DATA and -o HEAD');
        if (options.graph !== undefined) {
          throw new StockpotError(
            'USAGE',
            'a probe stands on the features of a network that stockpot knows',
            {
              remedy: 'Leave out --graph.',
            },
          );
        }
        const { l2, iterations, overwrite, output } = options;
        if (options.dryRun) {
          await AtomicOutput.check(output, { overwrite, inputs: [model] });
          return planOutcome(await planEvaluation([model], evaluationOptions(options, run)));
        }
        const { notes, ...json } = await probe(model, output, {
          ...evaluationOptions(options, run),
          ...{ l2, iterations, overwrite },
        });
        const line = `wrote ${json.output}: a head of ${json.classes} classes on ${json.features} features; on its ${json.n} examples loss ${json.loss.toFixed(4)}, accuracy ${percent(json.accuracy)}`;
        const warnings = json.converged
          ? []
          : [`L-BFGS did not converge within ${plural(json.iterations, 'iteration')}.`];
        return { json, lines: [line], notes, warnings };
      }),
    );
  return command;
}
