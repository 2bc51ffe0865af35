import { join } from 'node:path';
import { sortByBytes } from '../checkpoint/hash.js';
import { namesIn, statOrRefuse } from '../checkpoint/open.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { classNamesOf } from './config.js';
import type { ExampleSource } from './examples.js';
import { imageFolder } from './folder.js';
import { type ImageOptions, imageSet } from './image_set.js';
import { checkLabels } from './labels.js';
import { parquetSource } from './parquet/sets.js';
import type { Preparation } from './preparation.js';
import { readPreparation } from './read_preparation.js';
import { shards } from './shards.js';
import { tensorFile } from './tensor_file.js';
import { openText, type TextOptions } from './text/open_text.js';
import { type TextSource, textFiles } from './text/source.js';
import type { DataSet } from './types.js';

export interface DataOptions extends ImageOptions, TextOptions, RunOptions {
  /** The checkpoint (or its folder) that images are prepared for, and whose config names the classes. */
  model?: string;
  /** A config to read in place of what lies beside the model. */
  config?: string;
  /** How images are prepared, where it is known already. */
  preparation?: Preparation;
  /** Names of the network's classes, where they are known already. */
  classNames?: readonly string[];
  /** Of the network's head: labels beyond it are refused. */
  numClasses?: number;
}

/**
 * Opens a held-out or test set, whatever it is: a tensor file, a folder with one sub-folder of images a class, WebDataset
 * shards, text files or parquet files (each also several paths, `shard-{000..011}.tar`, or a folder of them).
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED, MISMATCH, USAGE, ABORTED
 */
export async function openDataSet(
  path: string | readonly string[],
  options: DataOptions = {},
): Promise<DataSet> {
  const given: readonly unknown[] = Array.isArray(path) ? path : [path];
  if (given.length === 0 || !given.every((p) => typeof p === 'string' && p !== ''))
    throw new StockpotError('USAGE', 'expected the path of a data set');
  const paths = (given as string[]).flatMap(expandBraces);
  const data = await openByKind(paths, options);
  try {
    if (options.numClasses !== undefined) checkLabels(data, options.numClasses);
    return data;
  } catch (e) {
    await data.close();
    throw e;
  }
}

/** Kinds of which several files make up one set. */
const FILES = /\.(tar|tsv|csv|jsonl|parquet)$/i;

async function openByKind(paths: readonly string[], options: DataOptions): Promise<DataSet> {
  const [first] = paths as [string];
  const kinds = new Set(paths.map((p) => FILES.exec(p)?.[1]?.toLowerCase()));
  const [kind] = kinds;
  if (kinds.size === 1 && kind !== undefined) return openFiles(kind, paths, options);
  if (paths.length > 1) {
    throw new StockpotError(
      'USAGE',
      `expected one data set, or several files of one kind (.tar, .tsv, .csv, .jsonl, .parquet), but received ${paths.join(', ')}`,
    );
  }
  if (first.endsWith('.safetensors')) return tensorFile(first, options);
  const info = await statOrRefuse(first);
  if (!info.isDirectory()) throw unknownKind(first);
  const inside = await namesIn(first);
  for (const ending of ['.tar', '.parquet']) {
    const names = sortByBytes(inside.filter((n) => n.endsWith(ending)));
    if (ending === '.parquet') refuseSplits(first, names);
    const files = names.map((n) => join(first, n));
    if (files.length > 0) return openFiles(ending.slice(1), files, options);
  }
  return images(options, (k) => imageFolder(first, k));
}

/** A folder of the hub holds all splits of a data set, of which only one is meant. */
function refuseSplits(path: string, names: readonly string[]): void {
  const splits = names.map((n) => /^(train|validation|valid|dev|test)\b/.exec(n)?.[1]);
  const found = [...new Set(splits)].filter((s) => s !== undefined);
  if (found.length < 2) return;
  throw new StockpotError('USAGE', `${path}: holds several splits: ${found.join(', ')}`, {
    file: path,
    remedy: `Name the files of one: ${join(path, `${found[0]}-*.parquet`)}.`,
  });
}

async function openFiles(
  kind: string,
  paths: readonly string[],
  options: DataOptions,
): Promise<DataSet> {
  if (kind === 'tar') return images(options, (k) => shards(paths, k));
  if (kind === 'parquet') return parquet(paths, options);
  return texts(options, await textFiles(paths, options.columns));
}

async function parquet(paths: readonly string[], options: DataOptions): Promise<DataSet> {
  const source = await parquetSource(paths, options.columns);
  return 'images' in source ? images(options, source.images) : texts(options, source.texts);
}

async function texts(options: DataOptions, source: TextSource): Promise<DataSet> {
  return openText(source, { ...options, known: await namesFor(options) });
}

/** The network's names for its classes. */
async function namesFor({ classNames, model, config }: DataOptions) {
  if (classNames) return classNames;
  return model === undefined ? undefined : await classNamesOf(model, config);
}

async function images(
  options: DataOptions,
  find: (known?: readonly string[]) => Promise<ExampleSource>,
): Promise<DataSet> {
  const { model, config } = options;
  const source = await find(await namesFor(options));
  if (options.preparation) return imageSet(source, options.preparation, options);
  if (model === undefined && config === undefined) {
    throw new StockpotError(
      'USAGE',
      `${source.path}: images need a model that says how they are prepared`,
    );
  }
  const preparation = await readPreparation(model ?? (config as string), config);
  return imageSet(source, preparation, options);
}

const unknownKind = (path: string): StockpotError =>
  new StockpotError('UNSUPPORTED', `${path}: is no data set that is known`, {
    file: path,
    remedy:
      'Give a folder with one sub-folder of images a class, WebDataset shards (.tar), texts (.tsv, .csv, .jsonl), .parquet files, or a .safetensors file with input tensors and labels.',
  });

/** `a-{000..002}.tar` as WebDataset writes lists of shards; anything else is left as it is. */
export function expandBraces(path: string): string[] {
  const [, before, from = '', to = '', after] = /^(.*)\{(\d+)\.\.(\d+)\}(.*)$/.exec(path) ?? [];
  if (before === undefined || Number(to) < Number(from) || Number(to) - Number(from) > 1e6)
    return [path];
  return Array.from({ length: Number(to) - Number(from) + 1 }, (_, i) => {
    const number = String(Number(from) + i).padStart(from.length, '0');
    return `${before}${number}${after}`;
  });
}
