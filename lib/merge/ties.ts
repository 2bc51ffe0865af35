import { tensorHashes } from '../checkpoint/hash.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import type { Matched } from './match.js';

/**
 * Names that one tensor has in the field's libraries, where they tie it (transformers `_tied_weights_keys`): T5's
 * embeddings and output head, BERT's and RoBERTa's language-model heads, GPT-2's.
 */
const KNOWN: readonly (readonly string[])[] = [
  ['shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight', 'lm_head.weight'],
  ['bert.embeddings.word_embeddings.weight', 'cls.predictions.decoder.weight'],
  ['cls.predictions.bias', 'cls.predictions.decoder.bias'],
  ['roberta.embeddings.word_embeddings.weight', 'lm_head.decoder.weight'],
  ['lm_head.bias', 'lm_head.decoder.bias'],
  ['transformer.wte.weight', 'lm_head.weight'],
  ['model.embed_tokens.weight', 'lm_head.weight'],
];

/** Other names that the tensor `name` may have, by the files' own word (`tied`) and by the libraries' habits. */
export function aliases(name: string, tied: readonly (readonly string[])[]): string[] {
  const groups = [...KNOWN, ...tied];
  return [...new Set(groups.filter((g) => g.includes(name)).flat())].filter((n) => n !== name);
}

/** Whether two tensors of one file hold the same values (so that one may stand for the other). */
export async function sameTensor(
  checkpoint: Checkpoint,
  a: TensorEntry,
  b: TensorEntry,
): Promise<boolean> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  if (a.file === b.file && a.offset === b.offset && String(a.strides) === String(b.strides))
    return true;
  const hashes = await tensorHashes(checkpoint, [a.name, b.name]);
  return hashes.get(a.name) === hashes.get(b.name);
}

/**
 * The tensors without those that are copies of an earlier one because the two are tied: a tied tensor counts once, under
 * the name that the first ingredient stores first. Two are tied where the files' own word or the libraries' habits say
 * that they may be, and all ingredients hold the same values under both names.
 */
export async function withoutTiedCopies(
  checkpoints: readonly Checkpoint[],
  tensors: readonly Matched[],
): Promise<Matched[]> {
  const kept = new Map<string, Matched>();
  const tied = checkpoints.flatMap((c) => c.tied);
  for (const t of tensors) {
    const stored = (t.entries[0] as TensorEntry).name;
    const before = [...new Set([...aliases(t.name, tied), ...aliases(stored, tied)])];
    let copy = false;
    for (const name of before) {
      const other = kept.get(name);
      if (other && !copy) copy = await tiedEverywhere(checkpoints, t, other);
    }
    if (!copy) kept.set(t.name, t);
  }
  return [...kept.values()];
}

async function tiedEverywhere(
  checkpoints: readonly Checkpoint[],
  a: Matched,
  b: Matched,
): Promise<boolean> {
  for (const [i, c] of checkpoints.entries()) {
    const [x, y] = [a.entries[i], b.entries[i]];
    if (!x || !y || !(await sameTensor(c, x, y))) return false;
  }
  return true;
}
