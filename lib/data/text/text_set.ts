import { createHash } from 'node:crypto';
import { throwIfAborted } from '../../checkpoint/job.js';
import type { Mismatch } from '../../errors.js';
import type { RunOptions } from '../../progress.js';
import { classLabels } from '../class_labels.js';
import { refuseEmpty } from '../labels.js';
import { badExamples, leftOut, reporter } from '../preparing.js';
import type { DataSet, TensorData } from '../types.js';
import type { TextSource } from './source.js';
import { TokenStore } from './token_store.js';
import type { TextTokenizer } from './tokenizer.js';

export interface TextSetOptions extends RunOptions {
  /** Most tokens of an example; what is longer is cut. */
  limit: number;
  /** Whether the network is told which of two texts a token is of. */
  types: boolean;
  /** Lists of names that the network has for its classes. */
  known: readonly (readonly string[])[];
  /** Int32 [classes, L], for text-to-text. */
  labelIds?: TensorData;
  /** Leave out rows that cannot be used, instead of failing. */
  skipBad?: boolean;
}

/** Tokenizing gives way to other work this often, in milliseconds. */
const BREATH = 20;

/**
 * Tokenizes every text of a source once and keeps the ids in memory.
 * @throws StockpotError FORMAT naming every row that cannot be used, unless `skipBad`
 */
export async function textSet(
  source: TextSource,
  tokenizer: TextTokenizer,
  options: TextSetOptions,
): Promise<DataSet> {
  const { limit, known, labelIds } = options;
  const store = new TokenStore();
  const rows: { at: number; file: string; label: string }[] = [];
  const problems: { at: number; file: string; message: string }[] = [];
  let at = 0;
  const progress = reporter(source.bytes, options);
  let cut = 0;
  let read = 0;
  let breathed = performance.now();
  for await (const row of source.examples(options.signal)) {
    if (performance.now() - breathed > BREATH) {
      await new Promise(setImmediate);
      breathed = performance.now();
      throwIfAborted(options.signal);
    }
    at++;
    if ('problem' in row) {
      problems.push({ at, file: row.file, message: row.problem });
      continue;
    }
    progress(row.read - read);
    read = row.read;
    const label = row.label.trim();
    if (label === '') {
      problems.push({ at, file: row.file, message: 'has no label' });
      continue;
    }
    try {
      const encoded = tokenizer.encode(row.text, row.pair, limit);
      if (encoded.ids.length === 0) throw new Error('has no tokens');
      if (encoded.cut) cut++;
      store.add(encoded);
      rows.push({ at, file: row.file, label });
    } catch (e) {
      problems.push({ at, file: row.file, message: (e as Error).message });
    }
  }
  throwIfAborted(options.signal);
  const meaning = classLabels(source.path, labelsOf(rows), known, source.classNames);
  const kept: number[] = [];
  const labels: number[] = [];
  for (const [i, { at, file, label }] of rows.entries()) {
    const place = meaning.classOf(label);
    if (place === undefined) {
      const shown = JSON.stringify(label.slice(0, 40));
      problems.push({ at, file, message: `has the label ${shown}, expected ${meaning.expected}` });
      continue;
    }
    kept.push(i);
    labels.push(place);
  }
  const bad: Mismatch[] = problems
    .sort((a, b) => a.at - b.at)
    .map(({ file, message }) => ({ file, message }));
  if (bad.length > 0 && !options.skipBad) throw badExamples(source.path, bad, kept.length);
  refuseEmpty(source.path, kept.length);
  const tokens = Int32Array.from(kept, (i) => store.length(i));
  const longest = tokens.reduce((a, b) => Math.max(a, b), 1);
  const input = (name: string) => ({ name, dtype: 'i32' as const, shape: [longest] });
  const cutNote = `${source.path}: ${cut} of ${rows.length} texts are longer than ${limit} tokens and are cut.`;
  return {
    path: source.path,
    count: kept.length,
    labels: Int32Array.from(labels),
    classNames: meaning.classNames,
    inputs: [
      input('input_ids'),
      input('attention_mask'),
      ...(options.types ? [input('token_type_ids')] : []),
    ],
    shared: labelIds ? { label_ids: labelIds } : {},
    tokens,
    batch: async (indices, length = longest) => {
      const examples = Array.from(indices, (i) => {
        if (kept[i] === undefined) throw new RangeError(`there is no example ${i}`);
        return kept[i];
      });
      const { token_type_ids, ...always } = store.padded(examples, length, tokenizer.padding);
      return options.types ? { ...always, token_type_ids } : always;
    },
    contentHash: hashOf(store, kept, labels, options),
    skipped: bad,
    notes: [
      ...meaning.notes,
      ...(cut > 0 ? [cutNote] : []),
      ...leftOut(source.path, bad.length, kept.length),
    ],
    close: async () => {},
  };
}

function* labelsOf(rows: readonly { label: string }[]): Generator<string> {
  for (const { label } of rows) yield label;
}

function hashOf(
  store: TokenStore,
  kept: readonly number[],
  labels: readonly number[],
  { types, labelIds }: TextSetOptions,
): string {
  const hash = createHash('sha256').update(`text ${types}\n`);
  for (const [i, example] of kept.entries()) {
    hash.update(`${labels[i]} ${store.length(example)}\n`);
    store.update(hash, example);
  }
  if (labelIds) hash.update(`${labelIds.shape}\n`).update(new Uint8Array(labelIds.data.buffer));
  return hash.digest('hex');
}
