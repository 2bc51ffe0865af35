import { tensorHashes } from '../checkpoint/hash.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';

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
