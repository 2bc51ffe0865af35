import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { prepareImage } from '../../lib/data/image_set.js';
import { readPreparation } from '../../lib/data/read_preparation.js';
import { failure } from '../helpers/errors.js';
import { decode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { readBack, type Tensor } from '../helpers/safetensors.js';
import { fixture } from './images.js';

const at = useFolder();

interface Case {
  file: string;
  config: object;
  images: string[];
}

const cases: Record<string, Case> = JSON.parse(await readFile(fixture('cases.json'), 'utf8'));
const { tensors } = await readBack(fixture('expected.safetensors'));

async function preparationOf({ file, config }: Pick<Case, 'file' | 'config'>) {
  await writeFile(at(file), JSON.stringify(config));
  return readPreparation(at(), at(file));
}

const expected = (name: string): Tensor => {
  const t = tensors.get(name);
  if (!t) throw new Error(`no tensor ${name}`);
  return t;
};

/**
 * The largest mean difference of bytes (of 255) that was measured over each case's images; no byte differs by more than
 * 1. timm scales with Pillow, whose arithmetic this is; transformers scales with torchvision's kernels for bytes, whose
 * weights have fewer bits. WebP and chroma-subsampled JPEG decoders add nothing that is seen.
 */
const MEASURED: Record<string, number> = {
  vit_bilinear: 0.0144,
  vit_bicubic: 0.0025,
  vit_lanczos: 0.006,
  vit_nearest: 0,
  vit_32: 0,
  clip_bicubic: 0.0048,
  clip_crop: 0.0017,
  timm_bicubic: 0,
  timm_bilinear: 0,
  timm_32: 0,
  timm_squash: 0,
  timm_border: 0,
  timm_wide: 0,
};
/** Pillow 13 scales this one down before across; Pillow before 13, and stockpot, do not: at most 3 of 255. */
const OTHER_WAY_ROUND = { 'tall.jpg|timm_squash': 0.17 };

describe('images are prepared as the libraries do it: mean difference of bytes', () => {
  const all = Object.entries(cases).flatMap(([name, c]) =>
    c.images.map((image) => {
      const other = (OTHER_WAY_ROUND as Record<string, number>)[`${image}|${name}`];
      return [image, name, other ?? (MEASURED[name] as number), other ? 3 : 1] as const;
    }),
  );
  it.for(all)('%s, %s: at most %d of 255, none above %d', async ([image, name, mean, most]) => {
    const p = await preparationOf(cases[name] as Case);
    const { bytes, shape } = expected(`${image}|${name}`);
    const made = await prepareImage(await readFile(fixture(image)), p);
    expect([3, p.height, p.width]).toEqual(shape);
    expect(made.length).toBe(bytes.length);
    const differences = Array.from(made, (x, i) => Math.abs(x - (bytes[i] as number)));
    expect(Math.max(...differences)).toBeLessThanOrEqual(most);
    // Another build of a decoder may round a few pixels otherwise.
    expect(differences.reduce((a, b) => a + b) / bytes.length).toBeLessThanOrEqual(mean + 0.01);
  });
});

describe('normalisation is the libraries’, to the bit', () => {
  it.for(['vit_32', 'timm_32'])('%s', async (name) => {
    const { table, width, height } = await preparationOf(cases[name] as Case);
    const bytes = expected(`digit.jpg|${name}`).bytes;
    const { dtype, bytes: raw } = expected(`digit.jpg|${name}|pixel_values`);
    const values = decode(dtype, raw);
    const plane = width * height;
    bytes.forEach((byte, i) => {
      expect(table[Math.floor(i / plane) * 256 + byte]).toBe(values[i]);
    });
  });

  it('leaves out the steps that are switched off', async () => {
    const size = { height: 8, width: 8 };
    const plain = { do_normalize: false, size, image_processor_type: 'ViTImageProcessor' };
    const file = 'preprocessor_config.json';
    const scaled = await preparationOf({ file, config: plain });
    expect(scaled.table[255]).toBe(1);
    const raw = await preparationOf({ file, config: { ...plain, do_rescale: false } });
    expect([raw.table[0], raw.table[255]]).toEqual([0, 255]);
  });
});

describe('configurations', () => {
  const file = 'preprocessor_config.json';

  it('takes what a file leaves out from the processor', async () => {
    const clip = await preparationOf({
      file,
      config: { feature_extractor_type: 'CLIPFeatureExtractor', size: 30, crop_size: 28 },
    });
    expect(clip).toMatchObject({
      width: 28,
      height: 28,
      resize: { mode: 'shortest', edge: 30 },
      filter: 'bicubic',
      onWhite: true,
    });
    const vit = await preparationOf({
      file,
      config: { image_processor_type: 'ViTImageProcessorFast', size: 30 },
    });
    expect(vit).toMatchObject({ width: 30, resize: { mode: 'exact' }, filter: 'bilinear' });
  });

  it('reads open_clip_config.json and a nested image_processor', async () => {
    const open = await preparationOf({
      file: 'open_clip_config.json',
      config: {
        model_cfg: { embed_dim: 8, vision_cfg: { image_size: 40 } },
        preprocess_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
      },
    });
    expect(open).toMatchObject({
      width: 40,
      resize: { mode: 'shortest', edge: 40 },
      filter: 'bicubic',
      orient: false,
    });
    const nested = { image_processor: { image_processor_type: 'ViTImageProcessor', size: 20 } };
    expect(await preparationOf({ file: 'processor_config.json', config: nested })).toMatchObject({
      width: 20,
    });
  });

  it.for([
    [{ size: { longest_edge: 9 } }, 'UNSUPPORTED', 'size'],
    [{ size: { shortest_edge: 9 } }, 'UNSUPPORTED', 'one size'],
    [{ size: { height: 9 } }, 'FORMAT', 'size.width'],
    [{ size: 9, resample: 7 }, 'FORMAT', 'resample'],
    [{ size: 9, do_pad: true }, 'UNSUPPORTED', 'do_pad'],
    [{ size: 9, image_mean: [0.5, 0.5] }, 'UNSUPPORTED', 'image_mean'],
    [{ size: 9, do_resize: 'yes' }, 'FORMAT', 'do_resize'],
    [{ size: 1e9 }, 'FORMAT', 'size'],
  ] as const)('refuses %j', async ([config, code, named]) => {
    const call = preparationOf({
      file,
      config: { image_mean: [0.5], image_std: [0.5], ...config },
    });
    const error = await failure(call, code);
    expect(error.message).toContain(named);
    expect(error.file).toBe(at(file));
  });

  it.for([
    { pretrained_cfg: { input_size: [1, 8, 8] } },
    { pretrained_cfg: { interpolation: 'random' } },
    { pretrained_cfg: { crop_mode: 'corner' } },
  ])('refuses %j', async (config) => {
    await failure(preparationOf({ file: 'config.json', config }), 'UNSUPPORTED');
  });

  it('says what is missing where nothing describes the images', async () => {
    const error = await failure(readPreparation(at('..', 'nowhere')), 'NOT_FOUND');
    expect(error.message).toContain('nowhere');
    await mkdir(at('text'));
    await writeFile(at('text/config.json'), '{"model_type":"bert"}');
    await failure(readPreparation(fixture(''), at('text/config.json')), 'NOT_FOUND');
  });

  it('is found beside the config that is named, where the model has nothing beside it', async () => {
    const { file, config } = Object.values(cases)[0] as Case;
    await mkdir(at('elsewhere'));
    await writeFile(at('elsewhere/model.json'), '{"model_type":"vit"}');
    await writeFile(at('elsewhere', file), JSON.stringify(config));
    const found = await readPreparation(fixture(''), at('elsewhere/model.json'));
    expect(found.file).toBe(at('elsewhere', file));
  });
});
