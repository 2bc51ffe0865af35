import { StockpotError } from '../errors.js';
import type { Config } from './config.js';
import type { Filter } from './filters.js';
import { transformersTable } from './normalise.js';
import type { Preparation, Resize } from './preparation.js';

/** What transformers takes where a processor's file leaves something out. */
interface Defaults {
  size: { height: number; width: number } | { shortest_edge: number };
  crop: number | null;
  resample: number;
  mean: readonly number[];
  std: readonly number[];
  rgb: boolean;
  /** A size that is a single number is a square; else the shorter edge. */
  square: boolean;
}

const HALF = [0.5, 0.5, 0.5];
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const OPENAI = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
const square = (n: number) => ({ height: n, width: n });

const VIT: Defaults = {
  size: square(224),
  crop: null,
  resample: 2,
  mean: HALF,
  std: HALF,
  rgb: false,
  square: true,
};

/** By the processor's name without `ImageProcessor` (models/*\/image_processing_*.py). */
const DEFAULTS: Record<string, Defaults> = {
  ViT: VIT,
  DeiT: { ...VIT, size: square(256), crop: 224, resample: 3, ...IMAGENET },
  CLIP: {
    size: { shortest_edge: 224 },
    crop: 224,
    resample: 3,
    ...OPENAI,
    rgb: true,
    square: false,
  },
  Siglip: { ...VIT, resample: 3 },
  EfficientNet: { ...VIT, size: square(346), resample: 0, ...IMAGENET },
};

/** Settings that would change the pixels in ways that are not done here. */
const OTHER_STEPS = [
  'do_pad',
  'do_thumbnail',
  'do_align_long_axis',
  'do_flip_channel_order',
  'do_reduce_labels',
  'do_grayscale',
  'do_color_quantize',
  'rescale_offset',
  'include_top',
  'crop_pct',
  'size_divisor',
];

/** Pillow's numbers. */
const FILTERS: readonly Filter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];

/**
 * The preparation that a preprocessor_config.json describes, as the processors of transformers that share its
 * TorchvisionBackend do it; images are read as its `load_image` does, turned as their EXIF tag says.
 * @throws StockpotError FORMAT, UNSUPPORTED
 */
export function fromTransformers(config: Config): Preparation {
  const type = config.text(
    'image_processor_type',
    config.text('feature_extractor_type', 'ViTImageProcessor'),
  );
  const name = type.replace(/(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/, '');
  const defaults = DEFAULTS[name] ?? VIT;
  for (const key of OTHER_STEPS) {
    if (config.has(key) && config.flag(key, false))
      throw config.refuse(key, 'false: this step of preparing images is not known', 'UNSUPPORTED');
  }
  const cropped = config.flag('do_center_crop', defaults.crop !== null);
  const size = resizeOf(config, defaults);
  const resize = config.flag('do_resize', true) ? size : null;
  const window = cropped ? sizeOf(config, 'crop_size', defaults.crop) : exactSize(size);
  if (window === null) {
    throw new StockpotError(
      'UNSUPPORTED',
      `${config.file}: images are neither scaled to one size nor cropped to one`,
      {
        file: config.file,
        remedy: 'Set size to {height, width}, or do_center_crop and crop_size.',
      },
    );
  }
  const filter = FILTERS[config.number('resample', defaults.resample)];
  if (filter === undefined) throw config.refuse('resample', "one of Pillow's filters, 0 to 5");
  const normalised = config.flag('do_normalize', true);
  const rescaled = config.flag('do_rescale', true);
  return {
    file: config.file,
    ...window,
    resize,
    asIs: resize === null && !cropped,
    filter,
    halves: 'down',
    fill: [0, 0, 0],
    orient: true,
    onWhite: config.flag('do_convert_rgb', defaults.rgb),
    table: transformersTable({
      rescale: rescaled ? config.number('rescale_factor', 1 / 255) : null,
      mean: normalised ? config.colours('image_mean', defaults.mean) : null,
      std: normalised ? config.colours('image_std', defaults.std) : null,
    }),
  };
}

const exactSize = (r: Resize): { width: number; height: number } | null =>
  r.mode === 'exact' ? { width: r.width, height: r.height } : null;

function resizeOf(config: Config, defaults: Defaults): Resize {
  const size = config.object('size');
  if (size?.has('height')) {
    return { mode: 'exact', width: size.size('width'), height: size.size('height') };
  }
  if (size?.has('shortest_edge') && !size.has('longest_edge'))
    return { mode: 'shortest', edge: size.size('shortest_edge') };
  if (size) {
    throw config.refuse('size', '{height, width} or {shortest_edge}', 'UNSUPPORTED');
  }
  if (config.has('size')) {
    const edge = config.size('size');
    return defaults.square
      ? { mode: 'exact', width: edge, height: edge }
      : { mode: 'shortest', edge };
  }
  return 'height' in defaults.size
    ? { mode: 'exact', ...defaults.size }
    : { mode: 'shortest', edge: defaults.size.shortest_edge };
}

function sizeOf(config: Config, key: string, otherwise: number | null) {
  const size = config.object(key);
  if (size) return { width: size.size('width'), height: size.size('height') };
  const edge = config.has(key) || otherwise === null ? config.size(key) : otherwise;
  return { width: edge, height: edge };
}
