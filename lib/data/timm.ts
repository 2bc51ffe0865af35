import type { Config } from './config.js';
import type { Filter } from './filters.js';
import { torchvisionTable } from './normalise.js';
import { type Preparation, type Resize, roundEven } from './preparation.js';

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const OPENAI = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};

const FILTERS = new Set(['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos']);

function filterOf(config: Config): Filter {
  const name = config.text('interpolation', 'bicubic');
  if (FILTERS.has(name)) return name as Filter;
  throw config.refuse('interpolation', `one of ${[...FILTERS].join(', ')}`, 'UNSUPPORTED');
}

/** Neither library turns images by their EXIF tag; both drop transparency. */
const SHARED = { asIs: false, halves: 'even', orient: false, onWhite: false } as const;

/**
 * What timm does to evaluate a model with this `pretrained_cfg` (`resolve_data_config`, `transforms_imagenet_eval`).
 * @throws StockpotError FORMAT, UNSUPPORTED
 */
export function fromTimm(config: Config): Preparation {
  const [channels, height, width] = config.has('input_size')
    ? (config.sizes('input_size') ?? [])
    : [3, 224, 224];
  if (channels !== 3 || height === undefined || width === undefined)
    throw config.refuse('input_size', '[3, height, width]', 'UNSUPPORTED');
  const mean = config.colours('mean', IMAGENET.mean);
  const fraction = config.number('crop_pct', 0.875);
  if (!(fraction > 0 && fraction <= 16)) throw config.refuse('crop_pct', 'a positive number');
  const scaled = { width: Math.floor(width / fraction), height: Math.floor(height / fraction) };
  const mode = config.text('crop_mode', 'center');
  const resizes: Record<string, Resize> = {
    squash: { mode: 'exact', ...scaled },
    border: { mode: 'fit', ...scaled },
    center:
      width === height ? { mode: 'shortest', edge: scaled.width } : { mode: 'cover', ...scaled },
  };
  const resize = Object.hasOwn(resizes, mode) ? resizes[mode] : undefined;
  if (!resize) throw config.refuse('crop_mode', 'center, squash or border', 'UNSUPPORTED');
  return {
    file: config.file,
    width,
    height,
    resize,
    filter: filterOf(config),
    fill: mode === 'border' ? mean.map((m) => roundEven(255 * m)) : [0, 0, 0],
    ...SHARED,
    table: torchvisionTable(mean, config.colours('std', IMAGENET.std)),
  };
}

/**
 * What open_clip does to evaluate a model with this `preprocess_cfg` (open_clip `transform.py`, `image_transform`).
 * @param config the whole open_clip_config.json
 * @throws StockpotError FORMAT, UNSUPPORTED
 */
export function fromOpenClip(config: Config): Preparation {
  const steps = config.object('preprocess_cfg') ?? config;
  const vision = config.object('model_cfg')?.object('vision_cfg');
  const from = steps.has('size') ? steps : vision;
  const key = steps.has('size') ? 'size' : 'image_size';
  const edge = from?.has(key) ? (from.sizes(key) ?? [from.size(key)]) : [224];
  const [height = 224, width = height] = edge;
  const mode = steps.text('resize_mode', 'shortest');
  const resizes: Record<string, Resize> = {
    squash: { mode: 'exact', width, height },
    longest: { mode: 'fit', width, height },
    shortest:
      width === height ? { mode: 'shortest', edge: width } : { mode: 'cover', width, height },
  };
  const resize = Object.hasOwn(resizes, mode) ? resizes[mode] : undefined;
  if (!resize) throw steps.refuse('resize_mode', 'shortest, longest or squash', 'UNSUPPORTED');
  return {
    file: config.file,
    width,
    height,
    resize,
    filter: filterOf(steps),
    fill: steps.colours('fill_color', [0, 0, 0]),
    ...SHARED,
    table: torchvisionTable(steps.colours('mean', OPENAI.mean), steps.colours('std', OPENAI.std)),
  };
}
