import { type Command, Option } from 'commander';
import { REPORT_FORMATS, type ReportFormat, report } from '../analysis/report/index.js';
import { showBytes } from '../bytes.js';
import { StockpotError } from '../errors.js';
import { addComparisonOptions, type ComparisonCommandOptions } from './compare.js';
import { plural } from './parse.js';
import { runCommand } from './run.js';

interface Options extends ComparisonCommandOptions {
  output?: string;
  overwrite?: boolean;
  format?: ReportFormat;
  figure?: string;
}

export function reportCommand(command: Command): Command {
  addComparisonOptions(command)
    .description('write what analyses found, or what a soup is, as one document')
    .argument('<input...>', 'runs (.json) that are put together, or one soup')
    .option('-o, --output <file>', 'the report')
    .addOption(
      new Option(
        '--format <format>',
        "html, json (the run), csv or svg (a folder with a file a figure); default: as the output's name",
      ).choices(REPORT_FORMATS),
    )
    .option('--figure <name>', 'with csv and svg: this figure alone, into one file')
    .option('--overwrite', 'replace an output that exists')
    .action((inputs: string[], options: Options) =>
      runCommand(options, async (run) => {
        const { output, data, test, shifted, base, seed, resamples } = options;
        if (output === undefined)
          throw new StockpotError('USAGE', 'expected -o OUT', {
            remedy: 'Name the report: -o report.html.',
          });
        const { config, key, batchSize, cacheMemory, skipBad, overwrite, format, figure } = options;
        const made = await report(inputs, output, {
          ...run,
          ...{ config, key, batchSize, cacheMemory, skipBad },
          ...{ data, test, shifted, base, seed, resamples },
          ...{ overwrite, format, figure, dryRun: options.dryRun },
        });
        const lines = [
          `${options.dryRun ? 'would write' : 'wrote'} ${made.files.length === 1 ? made.files[0] : `${plural(made.files.length, 'file')} to ${output}`}: ${plural(made.figures.length, 'figure')}, ${showBytes(made.bytes)}`,
        ];
        return { json: made, lines, notes: made.notes };
      }),
    );
  return command;
}
