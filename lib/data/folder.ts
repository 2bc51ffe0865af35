import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sortByBytes } from '../checkpoint/hash.js';
import { namesIn, statOrRefuse } from '../checkpoint/open.js';
import { fileError } from '../checkpoint/system_error.js';
import { StockpotError } from '../errors.js';
import type { ExampleSource } from './examples.js';

const IMAGE = /\.(jpe?g|png|webp|tiff?|gif|avif)$/i;

/** Entries of a folder that are not hidden, in byte order. */
async function list(folder: string): Promise<string[]> {
  return sortByBytes((await namesIn(folder)).filter((n) => !n.startsWith('.')));
}

/**
 * The class of each folder: its name's place among the network's own names where all folders are named so, else its
 * place among the folders in byte order. Folders that are named so only in part would be mislabelled silently: refused.
 */
function classesOf(path: string, folders: readonly string[], known?: readonly string[]) {
  const found = folders.map((f) => known?.indexOf(f) ?? -1);
  if (found.every((c) => c >= 0))
    return { classes: found, classNames: known as readonly string[], notes: [] };
  const named = found.filter((c) => c >= 0).length;
  if (named > 0) {
    const strange = folders.filter((_, i) => (found[i] as number) < 0);
    throw new StockpotError(
      'MISMATCH',
      `${path}: ${named} of ${folders.length} folders have names of the network's classes, but ${strange.slice(0, 5).join(', ')}${strange.length > 5 ? ', …' : ''} ${strange.length === 1 ? 'has' : 'have'} not`,
      {
        file: path,
        details: strange.map((s) => ({
          file: join(path, s),
          message: "is no name in the config's id2label",
        })),
        remedy: "Name every folder as the config's id2label does, or none.",
      },
    );
  }
  const notes = known
    ? [
        `${path}: the folders do not have the names in the config's id2label; classes are numbered in byte order of the folders.`,
      ]
    : [];
  return { classes: folders.map((_, i) => i), classNames: folders, notes };
}

/**
 * A folder with one sub-folder of images a class.
 * @param known the network's names for its classes
 * @throws StockpotError NOT_FOUND, IO, MISMATCH
 */
export async function imageFolder(path: string, known?: readonly string[]): Promise<ExampleSource> {
  const folders: string[] = [];
  for (const name of await list(path))
    if ((await statOrRefuse(join(path, name))).isDirectory()) folders.push(name);
  const { classes, classNames, notes: said } = classesOf(path, folders, known);
  const notes = [...said];
  const files: { file: string; label: number; size: number }[] = [];
  for (const [i, folder] of folders.entries()) {
    const names = (await list(join(path, folder))).filter((n) => IMAGE.test(n));
    if (names.length === 0) notes.push(`${join(path, folder)}: holds no images.`);
    const sized = await Promise.all(
      names.map(async (name) => {
        const file = join(path, folder, name);
        return { file, label: classes[i] as number, size: (await statOrRefuse(file)).size };
      }),
    );
    files.push(...sized);
  }
  return {
    path,
    classNames,
    notes,
    bytes: files.reduce((sum, f) => sum + f.size, 0),
    async *examples() {
      for (const f of files)
        yield {
          ...f,
          load: () =>
            readFile(f.file).catch((cause) => {
              throw fileError(f.file, cause);
            }),
        };
    },
  };
}
