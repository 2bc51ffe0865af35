import { PassThrough } from 'node:stream';
import type { Command } from 'commander';
import { StockpotError } from '../errors.js';
import { uniform } from '../recipes/uniform.js';
import { runCommand } from './run.js';
import {
  addSoupOptions,
  addWeightOptions,
  type SoupCommandOptions,
  soupOptions,
  soupOutcome,
} from './soup_options.js';

export function uniformCommand(command: Command): Command {
  addSoupOptions(addWeightOptions(command))
    .description("average the ingredients' weights")
    .argument('<ingredient...>', 'checkpoints: files or folders')
    .action((ingredients: string[], options: SoupCommandOptions) =>
      runCommand(options, async (run) => {
        if (options.output === undefined && !options.dryRun) {
          throw new StockpotError('USAGE', 'expected -o OUT', {
            remedy: 'Name the soup: -o soup.safetensors (a file) or -o soup (a folder).',
          });
        }
        // A dry run needs no output: nothing is written to this one.
        const output = options.output ?? new PassThrough();
        return soupOutcome(await uniform(ingredients, output, { ...soupOptions(options), ...run }));
      }),
    );
  return command;
}
