import { type Command, Option } from 'commander';
import type { DataOptions } from '../data/open.js';
import { StockpotError } from '../errors.js';
import type { EvaluationOptions } from '../evaluate/session.js';
import type { OutputDType } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';
import { collectGlobs, parseColumns, parseCount, parseSeconds, parseSize } from './parse.js';
import type { CommonOptions } from './run.js';

/** Options of every command that runs a network on data. */
export interface EvaluationCommandOptions extends CommonOptions {
  data?: string[];
  config?: string;
  key?: string;
  dtype?: OutputDType;
  batchSize?: number;
  cacheMemory?: number;
  skipBad?: boolean;
  tokenizer?: string;
  labelWords?: string;
  columns?: DataOptions['columns'];
  graph?: string;
  graphWeights?: string;
  graphKeep?: string[];
  evaluate?: string;
  timeout?: number;
}

export function addEvaluationOptions(command: Command): Command {
  return addDataOptions(command).addOption(
    new Option('--batch-size <n>', 'most examples at a time (default: 128)').argParser(parseCount),
  );
}

/** Those of them that say what the data is. */
export function addDataOptions(command: Command): Command {
  return command
    .option(
      '--data <path...>',
      'labelled data: a folder of classes, tar shards, .tsv, .csv, .jsonl, .parquet or a tensor file',
    )
    .option('--config <file>', "the network's config, where none lies beside the first ingredient")
    .addOption(
      new Option('--cache-memory <size>', 'prepared images beyond this go to a file').argParser(
        parseSize,
      ),
    )
    .option('--skip-bad', 'leave out images and rows that cannot be read, and say so')
    .option(
      '--tokenizer <file>',
      'tokenizer.json for texts, where none lies beside the first ingredient',
    )
    .option('--label-words <file>', 'for T5: the word that stands for each class, one a line')
    .addOption(
      new Option(
        '--columns <names>',
        'columns to read: text=NAME,text_pair=NAME,label=NAME or image=NAME,label=NAME',
      ).argParser(parseColumns),
    )
    .option(
      '--graph <file.onnx>',
      "run this ONNX graph, with the soup's weights in place of its own",
    )
    .option(
      '--graph-weights <model>',
      'the checkpoint that the graph was exported from, where it is none of the ingredients',
    )
    .addOption(
      new Option(
        '--graph-keep <glob>',
        "constants of the graph that stay, though they are no tensors of the soup's (repeatable)",
      ).argParser(collectGlobs),
    );
}

/** @throws StockpotError USAGE without --data */
export function evaluationOptions(o: EvaluationCommandOptions, run: RunOptions): EvaluationOptions {
  if (!o.data) {
    throw new StockpotError('USAGE', 'expected --data DATA', {
      remedy:
        'Name labelled data: a folder with a sub-folder of images a class, NAME.tar shards, texts (.tsv, .csv, .jsonl), .parquet files, or a .safetensors file.',
    });
  }
  const { config, key, dtype, batchSize, cacheMemory, skipBad, tokenizer, labelWords, columns } = o;
  const { graph, graphWeights, graphKeep, device } = o;
  const data = { data: o.data, tokenizer, labelWords, columns, cacheMemory, skipBad };
  const graphs = { graph, graphWeights, graphKeep, device };
  return { ...run, ...data, ...graphs, config, key, dtype, batchSize };
}

/** 0.9532 -> "95.32 %". */
export const percent = (x: number): string => `${(100 * x).toFixed(2)} %`;

/** For commands that can leave the evaluation to a program. */
export function addProgramOptions(command: Command): Command {
  return command
    .option(
      '--evaluate <cmd>',
      "a program that says how good a soup is: 'CMD {soup}' (its last line: a number or JSON)",
    )
    .addOption(
      new Option(
        '--timeout <seconds>',
        'how long the program may take for one soup (default: without end)',
      ).argParser(parseSeconds),
    );
}
