import { type Command, Option } from 'commander';
import { showBytes } from '../bytes.js';
import type { DataOptions } from '../data/open.js';
import { StockpotError } from '../errors.js';
import type { BatchSize } from '../evaluate/network_memory.js';
import type { EvaluationPlan } from '../evaluate/plan.js';
import type { EvaluationOptions } from '../evaluate/session.js';
import type { OutputDType } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';
import {
  collectGlobs,
  parseColumns,
  parseCount,
  parseSeconds,
  parseSize,
  plural,
} from './parse.js';
import type { CommonOptions, Outcome } from './run.js';

/** Options of every command that runs a network on data. */
export interface EvaluationCommandOptions extends CommonOptions {
  data?: string[];
  config?: string;
  key?: string;
  dtype?: OutputDType;
  batchSize?: BatchSize;
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
    new Option(
      '--batch-size <n>',
      'examples at a time, or auto: 128, halved until they fit (default: as many as fit, up to 128)',
    ).argParser((text) => (text === 'auto' ? text : parseCount(text))),
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

/** What --dry-run prints for commands that run a network. */
export function planOutcome({ notes, ...plan }: EvaluationPlan): Outcome {
  const { ingredients, n, classes, batchSize, bytesRead, networkBytes, dataBytes, threads } = plan;
  const models = plural(ingredients.length, 'model');
  const on = n === null ? '' : ` on ${plural(n, 'example')}`;
  const lines =
    networkBytes === null
      ? [`would run a program on ${models}${on && `, labels of ${plural(n ?? 0, 'example')}`}`]
      : [
          `would run ${models}${on}, ${classes} classes, ${batchSize} at a time, ${plural(threads ?? 0, 'thread')}`,
          `  reads ${showBytes(bytesRead)} of weights; holds ${showBytes(networkBytes)} in the network, ${showBytes(dataBytes)} of data`,
        ];
  return { json: plan, lines, notes };
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
