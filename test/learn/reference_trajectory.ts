import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Evaluator, type LearnedSoup, learned } from '../../lib/index.js';
import type { By } from '../../lib/merge/groups.js';
import { root } from '../helpers/cli.js';
import { decode } from '../helpers/floats.js';
import { readBack } from '../helpers/safetensors.js';

export const GOLDEN = join(root, '../shared/golden');
export const GRAPH_FAMILIES = ['coatnet_onnx', 'align_onnx'];

/** What the reference cases say of a family. */
export async function readReference(family: string) {
  const folder = join(GOLDEN, family);
  const { tensors } = await readBack(join(folder, 'expected.safetensors'));
  return {
    ingredients: [0, 1, 2].map((i) => join(folder, 'ingredients', String(i))),
    options: { data: join(folder, 'inputs.safetensors'), graph: join(folder, 'graph.onnx') },
    json: JSON.parse(await readFile(join(folder, 'expected.json'), 'utf8')),
    names: [...tensors.keys()],
    values: (name: string): number[] => decode('F32', tensors.get(name)?.bytes as Buffer),
  };
}

type Reference = Awaited<ReturnType<typeof readReference>>;

/** The learned soup with the reference's settings. */
export const followReference = (
  { ingredients, json }: Reference,
  output: string,
  evaluator: Evaluator,
  by: By,
  parametrisation: 'softmax' | 'free' = 'softmax',
): Promise<LearnedSoup> => {
  const { lr, free_lr, steps } = json.learned;
  return learned(ingredients, output, {
    ...{ evaluator, by, parametrisation, steps, batchSize: 'full', overwrite: true },
    lr: parametrisation === 'free' ? free_lr : lr,
  });
};

export function expectNear({ values }: Reference, found: readonly number[], name: string): void {
  const expected = values(name);
  const most = Math.max(...expected.map((x, i) => Math.abs(x - (found[i] as number))));
  expect(most, name).toBeLessThan(5e-3);
}
