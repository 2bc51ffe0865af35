import { type Command, InvalidArgumentError, Option } from 'commander';
import { KINDS, type Kind, type Strengths } from '../data/shift/parameters.js';
import { shift } from '../data/shift/shift.js';
import { StockpotError } from '../errors.js';
import { plural } from './parse.js';
import { type CommonOptions, runCommand } from './run.js';

interface Options extends CommonOptions {
  output?: string;
  kind?: Kind;
  severity?: number;
  seed: number;
  strengths: Strengths | 'auto';
  skipBad?: boolean;
  overwrite?: boolean;
}

export function shiftCommand(command: Command): Command {
  command
    .description('write a corrupted copy of an image set, to test what models make of a shift')
    .argument('<data...>', 'a folder of classes, or tar shards')
    .option('-o, --output <out>', 'a folder; for a single shard also NAME.tar')
    .addOption(new Option('--kind <name>', 'what is done to the images').choices(KINDS))
    .addOption(
      new Option('--severity <n>', 'from 1 (light) to 5').argParser((text) => {
        if (!/^[1-5]$/.test(text)) throw new InvalidArgumentError('expected 1, 2, 3, 4 or 5.');
        return Number(text);
      }),
    )
    .addOption(
      new Option('--seed <n>', 'what noise follows from, with the name of the image')
        .argParser((text) => {
          if (!/^-?\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected an integer.');
          return Number(text);
        })
        .default(0),
    )
    .addOption(
      new Option('--strengths <whose>', "ImageNet-C's, CIFAR-10-C's, or by the image's size")
        .choices(['auto', 'imagenet', 'cifar'])
        .default('auto'),
    )
    .option('--skip-bad', 'leave out images that cannot be read, and say so')
    .option('--overwrite', 'replace an output that exists')
    .action((data: string[], options: Options) =>
      runCommand(options, async (run) => {
        const { output, kind, severity, seed, strengths, skipBad, overwrite, dryRun } = options;
        if (output === undefined) throw missing('-o OUT');
        if (kind === undefined) throw missing(`--kind ${KINDS.join('|')}`);
        if (severity === undefined) throw missing('--severity 1..5');
        const asked = { ...run, kind, severity, seed, strengths, skipBad, overwrite, dryRun };
        const { notes, ...json } = await shift(data, output, asked);
        const whose = Object.entries(json.strengths)
          .filter(([, n]) => n > 0)
          .map(([name, n]) => `${n} as ${name === 'cifar' ? 'CIFAR-10-C' : 'ImageNet-C'}`)
          .join(', ');
        return {
          json,
          lines: [
            `wrote ${output}: ${plural(json.images, 'image')}, ${kind} ${severity} (${whose})`,
          ],
          notes,
        };
      }),
    );
  return command;
}

const missing = (what: string): StockpotError => new StockpotError('USAGE', `expected ${what}`);
