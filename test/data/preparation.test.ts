import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { prepareImage } from '../../lib/data/image_set.js';
import type { Preparation } from '../../lib/data/preparation.js';
import { readPreparation } from '../../lib/data/read_preparation.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { readBack, type Tensor } from '../helpers/safetensors.js';
import { fixture, IMAGES } from './images.js';

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

function difference(a: Uint8Array, b: Uint8Array): { mean: number; largest: number } {
  expect(a.length).toBe(b.length);
  let sum = 0;
  let largest = 0;
  a.forEach((x, i) => {
    const d = Math.abs(x - (b[i] as number));
    sum += d;
    largest = Math.max(largest, d);
  });
  return { mean: sum / a.length, largest };
}

/**
 * Mean and largest difference of bytes that each case may have. timm scales with Pillow, whose arithmetic this is: what
 * is left are the decoders. transformers scales with torchvision's kernels for bytes, whose weights have fewer bits.
 */
const BOUNDS: Record<string, [mean: number, largest: number]> = {
  vit: [0.1, 2],
  clip: [0.1, 2],
  timm: [0.02, 1],
};
const table: Record<string, string> = {};

describe('images are prepared as the libraries do it', () => {
  const all = Object.entries(cases).flatMap(([name, c]) => c.images.map((i) => [i, name] as const));
  it.for(all)('%s, %s', async ([image, name]) => {
    const c = cases[name] as Case;
    const p = await preparationOf(c);
    const { bytes, shape } = expected(`${image}|${name}`);
    const made = await prepareImage(await readFile(fixture(image)), p);
    expect([3, p.height, p.width]).toEqual(shape);
    const { mean, largest } = difference(made, bytes);
    table[`${name} ${image}`] = `${mean.toFixed(4)} ${largest}`;
    const [mostMean, most] = BOUNDS[name.split('_')[0] as string] as [number, number];
    console.log(name, image, mean.toFixed(4), largest);
    expect(mean).toBeLessThanOrEqual(mostMean);
    expect(largest).toBeLessThanOrEqual(most);
  });
});
