import { readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StockpotError } from '../errors.js';
import { readSmallFile } from './small_file.js';
import { fileError } from './system_error.js';

/** Configurations, tokenizers and image processors, as transformers, timm, open_clip and sentence-transformers name them. */
const NAMES = new Set([
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'image_processor_config.json',
  'feature_extractor_config.json',
  'video_preprocessor_config.json',
  'open_clip_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'spiece.model',
  'sentencepiece.bpe.model',
  'sentencepiece.model',
  'spm.model',
  'bpe.codes',
  'chat_template.json',
  'chat_template.jinja',
  'modules.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  'label_map.json',
]);
/** sentence-transformers' modules: 1_Pooling/ and the like. */
const MODULE = /^\d+_[A-Za-z]+$/;

/** Whether a file (or folder) beside a checkpoint's weights belongs to the model. */
export const isSideFile = (name: string): boolean => NAMES.has(name) || MODULE.test(name);

/**
 * The side files of a checkpoint: of the folder, or of the folder that the file lies in. Names in byte order.
 * @throws StockpotError NOT_FOUND, IO
 */
export async function sideFiles(
  checkpointPath: string,
): Promise<{ folder: string; names: string[] }> {
  try {
    const folder = (await stat(checkpointPath)).isDirectory()
      ? checkpointPath
      : dirname(checkpointPath);
    const names = (await readdir(folder)).filter(isSideFile).sort();
    for (const name of names) {
      await stat(join(folder, name)).catch((cause) => {
        throw fileError(join(folder, name), cause);
      });
    }
    return { folder, names };
  } catch (cause) {
    throw cause instanceof StockpotError ? cause : fileError(checkpointPath, cause);
  }
}

const TORCH_DTYPE: Record<string, string> = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' };
const FLOATS = 'float64|float32|float16|bfloat16|float8_\\w+';

/**
 * A config.json that names the dtype its weights are saved in (transformers: `dtype`, before `torch_dtype`; once more in
 * the configs of a model's parts), brought up to date with the output's type; null where there is nothing to change.
 * Everything else stays byte for byte. With `keep`, only fp8 changes: its mean is written as bf16.
 */
export async function configWithDtype(path: string, dtype: string): Promise<string | null> {
  const text = await readSmallFile(path);
  const [from, to] =
    dtype === 'keep' ? ['float8_\\w+', TORCH_DTYPE.bf16] : [FLOATS, TORCH_DTYPE[dtype]];
  const changed = text.replace(
    new RegExp(`("(?:torch_)?dtype"\\s*:\\s*)"(?:${from})"`, 'g'),
    `$1"${to}"`,
  );
  return changed === text ? null : changed;
}
