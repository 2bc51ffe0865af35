import { dirname, join } from 'node:path';
import { StockpotError } from '../errors.js';
import { Config, folderOf } from './config.js';
import type { Preparation } from './preparation.js';
import { fromOpenClip, fromTimm } from './timm.js';
import { fromTransformers } from './transformers.js';

/** Where libraries put it, in the order in which they are looked at. */
const FILES = [
  'preprocessor_config.json',
  'image_processor_config.json',
  'processor_config.json',
  'config.json',
  'open_clip_config.json',
];

/**
 * How a model's images are prepared, from what lies beside its weights.
 * @param model a checkpoint: a folder, or a file
 * @param config a file to read instead; where neither it nor the model's folder says anything, what lies beside it counts
 * @throws StockpotError NOT_FOUND, FORMAT, UNSUPPORTED
 */
export async function readPreparation(model: string, config?: string): Promise<Preparation> {
  if (config !== undefined) {
    const found = interpret(await Config.read(config));
    if (found) return found;
  }
  const folder = await folderOf(model);
  const folders = config === undefined ? [folder] : [folder, dirname(config)];
  for (const where of folders)
    for (const name of FILES) {
      const c = await Config.readIfThere(join(where, name));
      const found = c && interpret(c);
      if (found) return found;
    }
  throw new StockpotError(
    'NOT_FOUND',
    `${folder}: nothing says how images are prepared for this model`,
    {
      file: folder,
      remedy:
        "Put the model's preprocessor_config.json beside it (or timm's config.json with pretrained_cfg, or open_clip_config.json), or use a tensor file with pixel_values.",
    },
  );
}

/** Pixels of a network's input; no network takes images of 4096 × 4096. */
const MOST_INPUT = 2 ** 24;

/** Null where a file says nothing about images. */
function interpret(config: Config): Preparation | null {
  const found = preparationOf(config);
  if (found && found.width * found.height > MOST_INPUT) {
    throw new StockpotError(
      'UNSUPPORTED',
      `${config.file}: asks for images of ${found.width} × ${found.height}, larger than any network takes`,
      { file: config.file },
    );
  }
  return found;
}

function preparationOf(config: Config): Preparation | null {
  const processor = config.object('image_processor');
  if (processor) return fromTransformers(processor);
  const timm = config.object('pretrained_cfg');
  if (timm) return fromTimm(timm);
  if (config.object('preprocess_cfg') || config.object('model_cfg')) return fromOpenClip(config);
  const isProcessor =
    ['image_processor_type', 'feature_extractor_type', 'do_resize', 'image_mean'].some((k) =>
      config.has(k),
    ) && !config.has('model_type');
  return isProcessor ? fromTransformers(config) : null;
}
