import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { buildNetwork, findConfig } from '../../lib/models/index.js';
import { root } from '../helpers/cli.js';
import { decodePng } from '../helpers/png.js';
import { runReference } from './reference.js';
import { readWeights } from './tensors.js';

const DIGITS = join(root, 'examples/digits');
const SIZE = 8;

async function heldOut(): Promise<{ pixels: number[]; labels: number[] }> {
  const pixels: number[] = [];
  const labels: number[] = [];
  for (let label = 0; label < 10; label++) {
    const folder = join(DIGITS, 'heldout', String(label));
    for (const name of (await readdir(folder)).sort()) {
      const picture = decodePng(await readFile(join(folder, name)));
      expect([picture.width, picture.height]).toEqual([SIZE, SIZE]);
      for (let c = 0; c < 3; c++)
        for (let p = 0; p < SIZE * SIZE; p++) {
          const at = p * picture.channels + Math.min(c, picture.channels - 1);
          pixels.push(((picture.pixels[at] as number) / 255 - 0.5) / 0.5);
        }
      labels.push(label);
    }
  }
  return { pixels, labels };
}

it.for(['base', 'ingredients/ft00', 'ingredients/ft05'])(
  'examples/digits/%s counts as many right as PyTorch did',
  async (name) => {
    const { pixels, labels } = await heldOut();
    const path = join(DIGITS, name);
    const checkpoint = await openCheckpoint(path);
    const network = buildNetwork(checkpoint, await findConfig(path));
    const logits = runReference(network, await readWeights(checkpoint), {
      pixel_values: { shape: [labels.length, 3, SIZE, SIZE], data: pixels },
    });
    let correct = 0;
    let loss = 0;
    for (const [i, label] of labels.entries()) {
      const row = [...logits.slice(i * 10, i * 10 + 10)];
      const top = Math.max(...row);
      if (row.indexOf(top) === label) correct++;
      const sum = row.reduce((s, x) => s + Math.exp(x - top), 0);
      loss += (Math.log(sum) + top - (row[label] as number)) / labels.length;
    }
    const zoo = JSON.parse(await readFile(join(DIGITS, 'zoo.json'), 'utf8'));
    const scored = name === 'base' ? zoo.base : zoo.ingredients[name.replace('ingredients/', '')];
    expect(correct).toBe(scored.scores.heldout.correct);
    expect(loss).toBeCloseTo(scored.scores.heldout.loss, 5);
  },
);
