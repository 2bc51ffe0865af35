import { basename, extname, join, relative } from 'node:path';
import { sortByBytes } from '../../checkpoint/hash.js';
import { namesIn, statOrRefuse } from '../../checkpoint/open.js';
import { StockpotError } from '../../errors.js';
import { imageFolder } from '../folder.js';
import { expandBraces } from '../open.js';
import { samples } from '../shards.js';

/** One image of a set, not decoded yet. */
export interface RawImage {
  /** For messages. */
  file: string;
  /** In the set: CLASS/FILE, or the key of a shard's example. The noise follows from it. */
  name: string;
  /** Where it goes: the position of the shard, and the example's label there; in a folder, its own place. */
  shard: number;
  label: string;
  size: number;
  /** Why it cannot be used. */
  problem?: string;
  load(): Promise<Buffer>;
}

/** How an image set lies on the disk. */
export interface Layout {
  path: string;
  kind: 'folder' | 'shards';
  /** The output is one file, a tar archive. */
  isFile: boolean;
  /** Names of the sub-folders, or of the shards. */
  parts: string[];
  inputs: string[];
  bytes: number;
  notes: readonly string[];
  /** In the set's order. */
  images(signal?: AbortSignal): AsyncIterable<RawImage>;
}

/** @throws StockpotError NOT_FOUND, IO, UNSUPPORTED, USAGE where the output's name is of another layout */
export async function openLayout(given: readonly string[], output: string): Promise<Layout> {
  const paths = given.flatMap(expandBraces);
  const [first] = paths;
  if (first === undefined || paths.includes(''))
    throw new StockpotError('USAGE', 'expected the path of an image set');
  if (paths.every((p) => p.endsWith('.tar'))) return archives(paths, output);
  if (paths.length > 1)
    throw new StockpotError(
      'USAGE',
      `expected one folder, or several shards that end in .tar, but received ${paths.join(', ')}`,
    );
  const info = await statOrRefuse(first);
  if (!info.isDirectory()) {
    throw new StockpotError('UNSUPPORTED', `${first}: is no image set that can be shifted`, {
      file: first,
      remedy: 'Give a folder with one sub-folder of images a class, or WebDataset shards (.tar).',
    });
  }
  const inside = sortByBytes((await namesIn(first)).filter((n) => n.endsWith('.tar')));
  return inside.length > 0
    ? archives(
        inside.map((n) => join(first, n)),
        output,
      )
    : folder(first, output);
}

async function folder(path: string, output: string): Promise<Layout> {
  if (output.endsWith('.tar'))
    throw new StockpotError('USAGE', `${output}: expected a folder, as ${path} is one`, {
      remedy: 'Name a folder: the layout of the set is kept.',
    });
  const source = await imageFolder(path);
  return {
    path,
    kind: 'folder',
    isFile: false,
    parts: [...(source.classNames ?? [])],
    inputs: [path],
    bytes: source.bytes,
    notes: source.notes,
    async *images(signal) {
      for await (const e of source.examples(signal)) {
        if ('problem' in e) continue; // a folder has none
        const name = relative(path, e.file);
        yield { file: e.file, name, shard: 0, label: '', size: e.size, load: e.load };
      }
    },
  };
}

async function archives(paths: readonly string[], output: string): Promise<Layout> {
  const isFile = output.endsWith('.tar');
  if (isFile && paths.length > 1)
    throw new StockpotError(
      'USAGE',
      `${output}: expected a folder for ${paths.length} shards but received the name of a file`,
    );
  const parts = paths.map((p) => basename(p));
  if (new Set(parts).size < parts.length)
    throw new StockpotError('USAGE', 'two shards have the same name, and would be one file');
  let bytes = 0;
  for (const path of paths) bytes += (await statOrRefuse(path)).size;
  return {
    path: paths.join(', '),
    kind: 'shards',
    isFile,
    parts,
    inputs: [...paths],
    bytes,
    notes: [],
    async *images(signal) {
      for (const [shard, path] of paths.entries()) {
        for await (const { key, image, label, problem } of samples(path, signal)) {
          const missing = !image
            ? 'has no image (jpg, jpeg, png, webp)'
            : label === undefined
              ? `has no label (${key}.cls)`
              : undefined;
          yield {
            file: `${path}:${image?.name ?? key}`,
            name: key,
            shard,
            label: label ?? '',
            size: image?.bytes.length ?? 0,
            problem: problem ?? missing,
            load: async () => image?.bytes ?? Buffer.alloc(0),
          };
        }
      }
    },
  };
}

/** An image's name with another extension. */
export const withExtension = (name: string, extension: string): string =>
  name.slice(0, name.length - extname(name).length) + extension;
