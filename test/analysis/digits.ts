// The digit recognisers of examples/, on forty examples, mixed and run in plain TypeScript: what the analyses are held to.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { buildNetwork, findConfig } from '../../lib/models/index.js';
import { root } from '../helpers/cli.js';
import { decodePng } from '../helpers/png.js';
import { putTensors, tensor } from '../helpers/safetensors.js';
import { runReference } from '../models/reference.js';
import { readWeights } from '../models/tensors.js';

export const DIGITS = join(root, 'examples/digits');
export const BASE = join(DIGITS, 'base');
export const ingredient = (i: number): string => join(DIGITS, 'ingredients', `ft0${i}`);

const SIZE = 8;
const CLASSES = 10;

/** Four images a digit: as a data set, and as numbers. */
export async function fewDigits(path: string) {
  const pixels: number[] = [];
  const labels: number[] = [];
  for (let label = 0; label < CLASSES; label++) {
    const folder = join(DIGITS, 'heldout', String(label));
    for (const name of (await readdir(folder)).sort().slice(0, 4)) {
      const picture = decodePng(await readFile(join(folder, name)));
      for (let c = 0; c < 3; c++)
        for (let p = 0; p < SIZE * SIZE; p++) {
          const at = p * picture.channels + Math.min(c, picture.channels - 1);
          pixels.push(((picture.pixels[at] as number) / 255 - 0.5) / 0.5);
        }
      labels.push(label);
    }
  }
  const n = labels.length;
  await putTensors(path, [
    tensor('pixel_values', 'F32', [n, 3, SIZE, SIZE], pixels),
    tensor('labels', 'I64', [n], labels),
  ]);
  return { path, pixels, labels };
}

export type Few = Awaited<ReturnType<typeof fewDigits>>;

/** All elements of a checkpoint's tensors, one after another, in the order of the names. */
export async function flat(path: string): Promise<number[]> {
  const weights = await readWeights(await openCheckpoint(path));
  return [...weights.keys()].sort().flatMap((name) => [...(weights.get(name) ?? [])]);
}

/** Logits [n, classes] of a weighted sum of checkpoints, its weights rounded to float32. */
export async function mixLogits(
  paths: readonly string[],
  shares: readonly number[],
  { pixels, labels }: Few,
): Promise<number[][]> {
  const checkpoint = await openCheckpoint(paths[0] as string);
  const network = buildNetwork(checkpoint, await findConfig(paths[0] as string));
  const all = await Promise.all(paths.map(async (p) => readWeights(await openCheckpoint(p))));
  const mixed = new Map(
    [...(all[0] as Map<string, Float64Array>)].map(([name, first]) => [
      name,
      first.map((_, e) =>
        Math.fround(
          all.reduce((sum, w, i) => sum + (shares[i] as number) * (w.get(name)?.[e] as number), 0),
        ),
      ),
    ]),
  );
  const logits = runReference(network, mixed, {
    pixel_values: { shape: [labels.length, 3, SIZE, SIZE], data: pixels },
  });
  return labels.map((_, i) => [...logits.slice(i * CLASSES, (i + 1) * CLASSES)]);
}

export const softmax = (row: readonly number[]): number[] => {
  const top = Math.max(...row);
  const e = row.map((x) => Math.exp(x - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((x) => x / sum);
};

/** Mean cross-entropy of β·logits. */
export const lossOf = (rows: readonly number[][], labels: readonly number[], beta = 1): number =>
  rows.reduce(
    (sum, row, i) =>
      sum - Math.log(softmax(row.map((x) => beta * x))[labels[i] as number] as number),
    0,
  ) / rows.length;

export const accuracyOf = (rows: readonly number[][], labels: readonly number[]): number =>
  rows.filter((row, i) => row.indexOf(Math.max(...row)) === labels[i]).length / rows.length;
