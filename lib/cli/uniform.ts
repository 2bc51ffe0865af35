import { PassThrough } from 'node:stream';
import type { Command } from 'commander';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { type UniformOptions, uniform } from '../recipes/uniform.js';
import {
  addEvaluationOptions,
  type EvaluationCommandOptions,
  evaluationOptions,
} from './evaluation_options.js';
import { runCommand } from './run.js';
import {
  addSoupOptions,
  addWeightOptions,
  type SoupCommandOptions,
  soupOptions,
  soupOutcome,
} from './soup_options.js';

type Options = SoupCommandOptions & EvaluationCommandOptions & { recomputeBatchnorm?: boolean };

/** @throws StockpotError USAGE where data or graph lack their use, or the other one */
function batchNormOptions(o: Options, run: RunOptions): UniformOptions['recomputeBatchNorm'] {
  if (!o.recomputeBatchnorm) {
    if (o.data === undefined && o.graph === undefined) return undefined;
    throw new StockpotError('USAGE', 'a uniform soup looks at no data', {
      remedy: 'Leave out --data and --graph, or add --recompute-batchnorm.',
    });
  }
  const { graph } = o;
  if (graph === undefined) {
    throw new StockpotError('USAGE', 'expected --graph FILE.onnx beside --recompute-batchnorm', {
      remedy: 'Batch norm is computed again in an ONNX graph: see docs/bring-your-own-network.md.',
    });
  }
  return { ...evaluationOptions(o, run), graph };
}

export function uniformCommand(command: Command): Command {
  addSoupOptions(addWeightOptions(addEvaluationOptions(command)))
    .option(
      '--recompute-batchnorm',
      'compute batch-norm statistics again, on --data in the graph --graph, in place of averaging them',
    )
    .description("average the ingredients' weights")
    .argument('<ingredient...>', 'checkpoints: files or folders')
    .action((ingredients: string[], options: Options) =>
      runCommand(options, async (run) => {
        if (options.output === undefined && !options.dryRun) {
          throw new StockpotError('USAGE', 'expected -o OUT', {
            remedy: 'Name the soup: -o soup.safetensors (a file) or -o soup (a folder).',
          });
        }
        // A dry run needs no output: nothing is written to this one.
        const output = options.output ?? new PassThrough();
        const recomputeBatchNorm = batchNormOptions(options, run);
        const soup = { ...soupOptions(options), ...run, recomputeBatchNorm };
        return soupOutcome(await uniform(ingredients, output, soup));
      }),
    );
  return command;
}
