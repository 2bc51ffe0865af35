import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { sortByBytes } from '../checkpoint/hash.js';
import { fileError } from '../checkpoint/open.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { classNamesOf } from './config.js';
import type { ExampleSource } from './examples.js';
import { imageFolder } from './folder.js';
import { type ImageOptions, imageSet } from './image_set.js';
import { checkLabels } from './labels.js';
import type { Preparation } from './preparation.js';
import { readPreparation } from './read_preparation.js';
import { shards } from './shards.js';
import { tensorFile } from './tensor_file.js';
import type { DataSet } from './types.js';

export interface DataOptions extends ImageOptions, RunOptions {
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
 * Opens a held-out or test set, whatever it is: a tensor file, a folder with one sub-folder of images a class, or
 * WebDataset shards (several paths, `shard-{000..011}.tar`, or a folder of them).
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED, MISMATCH, USAGE, ABORTED
 */
export async function openDataSet(
  path: string | readonly string[],
  options: DataOptions = {},
): Promise<DataSet> {
  const paths = (typeof path === 'string' ? [path] : path).flatMap(expandBraces);
  if (paths.length === 0 || paths.includes(''))
    throw new StockpotError('USAGE', 'expected the path of a data set');
  const data = await openByKind(paths, options);
  try {
    if (options.numClasses !== undefined) checkLabels(data, options.numClasses);
    return data;
  } catch (e) {
    await data.close();
    throw e;
  }
}

async function openByKind(paths: readonly string[], options: DataOptions): Promise<DataSet> {
  const [first] = paths as [string];
  if (paths.every((p) => p.endsWith('.tar'))) return images(options, (k) => shards(paths, k));
  if (paths.length > 1) {
    throw new StockpotError(
      'USAGE',
      `expected one data set, or several shards that end in .tar, but received ${paths.join(', ')}`,
    );
  }
  if (first.endsWith('.safetensors')) return tensorFile(first, options);
  const info = await stat(first).catch((cause) => {
    throw fileError(first, cause);
  });
  if (!info.isDirectory()) throw unknownKind(first);
  const inside = sortByBytes((await readdir(first)).filter((n) => n.endsWith('.tar')));
  if (inside.length > 0)
    return images(options, (k) =>
      shards(
        inside.map((n) => join(first, n)),
        k,
      ),
    );
  return images(options, (k) => imageFolder(first, k));
}

async function images(
  options: DataOptions,
  find: (known?: readonly string[]) => Promise<ExampleSource>,
): Promise<DataSet> {
  const { model, config } = options;
  const known = options.classNames ?? (model === undefined ? undefined : await classNamesOf(model));
  const source = await find(known);
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

function unknownKind(path: string): StockpotError {
  const extension = /\.(tsv|csv|jsonl|parquet)$/i.exec(path)?.[0];
  const message = extension
    ? `${path}: data sets of the kind ${extension} are not read yet`
    : `${path}: is no data set that is known`;
  return new StockpotError('UNSUPPORTED', message, {
    file: path,
    remedy:
      'Give a folder with one sub-folder of images a class, WebDataset shards (.tar), or a .safetensors file with input tensors and labels.',
  });
}

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
