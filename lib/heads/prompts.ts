import { dirname, join } from 'node:path';
import { statOrRefuse } from '../checkpoint/open.js';
import { readSmallFile } from '../checkpoint/small_file.js';
import { TextTokenizer } from '../data/text/tokenizer.js';
import { StockpotError } from '../errors.js';

/** Where a class's name goes in a template: `a photo of a {}.`; {c} as the model-soups code writes it. */
const PLACE = /\{c?\}/g;

/** Lines of a file, blank ones at its end left out. @throws StockpotError FORMAT for a blank line, or none at all */
export async function readLines(path: string, what: string): Promise<string[]> {
  const text = await readSmallFile(path);
  const lines = text
    .replace(/^\uFEFF/, '')
    .trimEnd()
    .split(/\r?\n/)
    .map((l) => l.trim());
  const blank = lines.indexOf('');
  if (blank >= 0) {
    throw new StockpotError(
      'FORMAT',
      `${path}: line ${blank + 1} is blank, expected ${what} a line`,
      {
        file: path,
      },
    );
  }
  return lines;
}

/** @throws StockpotError FORMAT where a template has no place for a class's name */
export async function readTemplates(path: string): Promise<((name: string) => string)[]> {
  const lines = await readLines(path, 'one template');
  return lines.map((line, i) => {
    if (!line.match(PLACE)) {
      throw new StockpotError('FORMAT', `${path}: line ${i + 1} has no {} for the class's name`, {
        file: path,
        remedy: 'Write {} where the name goes: a photo of a {}.',
      });
    }
    return (name) => line.replace(PLACE, () => name);
  });
}

/** Texts as ids, all of one length. */
export interface Prompts {
  /** [n, length], filled up with 0. */
  ids: Int32Array;
  /** 1 where there is a token. */
  mask: Int32Array;
  length: number;
}

/**
 * A tokenizer.json, given or beside a model.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED
 */
export async function promptTokenizer(model: string, given?: string): Promise<TextTokenizer> {
  if (given !== undefined) return TextTokenizer.read(given);
  const folder = (await statOrRefuse(model)).isDirectory() ? model : dirname(model);
  const file = join(folder, 'tokenizer.json');
  return TextTokenizer.read(file).catch((cause) => {
    if (cause.code !== 'NOT_FOUND') throw cause;
    throw new StockpotError('NOT_FOUND', cause.message, {
      file,
      cause,
      remedy: "Name the model's tokenizer: --tokenizer FILE (a tokenizer.json).",
    });
  });
}

/**
 * @param most tokens that the model takes; longer texts lose their last tokens, but not the special ones
 * @param length fill up to so many; to the longest text by default
 * @throws StockpotError FORMAT for a text that cannot be tokenized
 */
export function encodePrompts(
  tokenizer: TextTokenizer,
  texts: readonly string[],
  most: number,
  length?: number,
): Prompts {
  const rows = texts.map((t) => {
    try {
      return tokenizer.encode(t, undefined, most).ids;
    } catch (cause) {
      throw new StockpotError(
        'FORMAT',
        `the prompt "${t.slice(0, 80)}" ${(cause as Error).message}`,
        {
          file: tokenizer.file,
          cause,
        },
      );
    }
  });
  const width = length ?? Math.max(...rows.map((r) => r.length));
  const ids = new Int32Array(rows.length * width);
  const mask = new Int32Array(rows.length * width);
  for (const [r, row] of rows.entries()) {
    ids.set(row, r * width);
    mask.fill(1, r * width, r * width + row.length);
  }
  return { ids, mask, length: width };
}
