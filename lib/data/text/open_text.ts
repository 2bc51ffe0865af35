import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StockpotError } from '../../errors.js';
import type { RunOptions } from '../../progress.js';
import { Config, folderOf } from '../config.js';
import type { DataSet, TensorData } from '../types.js';
import type { ColumnNames } from './columns.js';
import { linesOf } from './lines.js';
import type { TextSource } from './source.js';
import { textSet } from './text_set.js';
import { TextTokenizer } from './tokenizer.js';

export interface TextOptions {
  /** A tokenizer.json; by default the one beside the model. */
  tokenizer?: string;
  /** For text-to-text: a file with a word a line, one for each class. */
  labelWords?: string;
  /** Names of columns, where they are not of a layout that is known. */
  columns?: Partial<ColumnNames> & { image?: string };
}

interface OpenOptions extends TextOptions, RunOptions {
  /** The checkpoint (or its folder) that texts are tokenized for. */
  model?: string;
  config?: string;
  skipBad?: boolean;
  /** The network's names for its classes. */
  known?: readonly string[];
}

/** Tokens of a text where neither the model nor its tokenizer says how many it takes. */
const LONGEST = 512;
/** "No limit", as transformers writes it: 1e30. */
const UNLIMITED = 1e6;
/** Networks that answer with words. */
const TEXT_TO_TEXT = new Set(['t5', 'mt5']);

/**
 * Labelled texts as a network's inputs: tokenized with the model's tokenizer and cut to the length that the model takes.
 * @throws StockpotError
 */
export async function openText(source: TextSource, options: OpenOptions): Promise<DataSet> {
  const folder = options.model === undefined ? undefined : await folderOf(options.model);
  const tokenizer = await TextTokenizer.read(await tokenizerFile(source.path, folder, options));
  const beside = (name: string) =>
    folder === undefined ? null : Config.readIfThere(join(folder, name));
  const config = options.config ? await Config.read(options.config) : await beside('config.json');
  const settings = await beside('tokenizer_config.json');
  const words = await labelWords(source.path, tokenizer, config, options.labelWords);
  const known = [options.known, words?.names].filter((list) => list !== undefined);
  return textSet(source, tokenizer, {
    ...options,
    known,
    labelIds: words?.ids,
    limit: limitOf(config, settings),
    types: settings?.list('model_input_names')?.includes('token_type_ids') ?? true,
  });
}

async function tokenizerFile(path: string, folder: string | undefined, options: OpenOptions) {
  if (options.tokenizer !== undefined) {
    const given = await stat(options.tokenizer).catch(() => undefined);
    return given?.isDirectory() ? join(options.tokenizer, 'tokenizer.json') : options.tokenizer;
  }
  if (folder !== undefined) {
    const file = join(folder, 'tokenizer.json');
    if (await stat(file).catch(() => undefined)) return file;
  }
  throw new StockpotError(
    folder === undefined ? 'USAGE' : 'NOT_FOUND',
    `${path}: texts need a tokenizer${folder === undefined ? '' : `, but ${folder} has no tokenizer.json`}`,
    {
      file: path,
      remedy:
        'Name one: --tokenizer tokenizer.json. AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER) in transformers writes it, from a vocab.txt or spiece.model too.',
    },
  );
}

/** The least of what the network's positions and the tokenizer's settings allow. */
function limitOf(config: Config | null, settings: Config | null): number {
  const said = [
    config?.has('max_position_embeddings')
      ? config.number('max_position_embeddings', 0)
      : undefined,
    settings?.has('model_max_length') ? settings.number('model_max_length', 0) : undefined,
  ].filter((n) => n !== undefined && n >= 1 && n < UNLIMITED) as number[];
  return said.length > 0 ? Math.floor(Math.min(...said)) : LONGEST;
}

/** A class's word is its tokens with the end token, which the network must put out too. */
async function labelWords(
  path: string,
  tokenizer: TextTokenizer,
  config: Config | null,
  file?: string,
): Promise<{ names: string[]; ids: TensorData } | undefined> {
  const wanted = TEXT_TO_TEXT.has(config?.text('model_type', '') ?? '');
  if (file === undefined) {
    if (!wanted) return undefined;
    throw new StockpotError(
      'USAGE',
      `${path}: a text-to-text network needs a word for each class`,
      {
        file: path,
        remedy: 'Name a file with a word a line, in the order of the classes: --label-words FILE.',
      },
    );
  }
  if (config && !wanted) {
    throw new StockpotError(
      'USAGE',
      `--label-words is for text-to-text networks (T5), but ${config.file} is of another`,
      { file: config.file, remedy: 'Leave it out.' },
    );
  }
  const names: string[] = [];
  for await (const line of linesOf(file)) names.push(line.text.replace(/\r$/, ''));
  const empty = names.indexOf('');
  if (names.length === 0 || empty >= 0) {
    throw new StockpotError(
      'FORMAT',
      `${file}${empty >= 0 ? `:${empty + 1}` : ''}: expected a word for each class, one a line`,
      { file, remedy: 'Remove empty lines, or write the missing word.' },
    );
  }
  const end = config?.has('eos_token_id') ? config.number('eos_token_id', 1) : 1;
  const rows = names.map((name) => {
    const { ids } = tokenizer.encode(name);
    return ids.at(-1) === end ? ids : [...ids, end];
  });
  const length = Math.max(...rows.map((r) => r.length));
  const data = new Int32Array(rows.length * length);
  rows.forEach((ids, c) => {
    data.set(ids, c * length);
  });
  return { names, ids: { dtype: 'i32', shape: [rows.length, length], data } };
}
