import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { buildNetwork, type Dimensions, findConfig } from '../../lib/models/index.js';
import { root } from '../helpers/cli.js';
import { numbers } from '../helpers/safetensors.js';
import { type ReferenceInput, runReference } from './reference.js';
import { readBack, readInputs, readWeights, rowsOf } from './tensors.js';

const GOLDEN = join(root, '../shared/golden');
const EXAMPLES = 16;

function dimensionsOf(inputs: Record<string, ReferenceInput>): Dimensions {
  const { input_ids, class_input_ids, label_ids } = inputs;
  const [n = 0, sequenceLength = 0] = class_input_ids?.shape ?? [];
  return {
    inputs: Object.keys(inputs),
    ...(input_ids && { sequenceLength: input_ids.shape[1] }),
    ...(class_input_ids && { classes: { n, sequenceLength } }),
    ...(label_ids && { labelIds: rowsOf(label_ids) }),
  };
}

describe('logits equal those of the field’s own libraries', () => {
  it.for(['vit_hf', 'vit_timm', 'clip_soups_pt', 'clip_hf', 'bert_hf', 't5_relu', 't5_gated'])(
    '%s',
    async (family, { skip }) => {
      const folder = join(GOLDEN, family);
      if (!existsSync(folder)) skip('the reference cases are not part of the repository');
      const inputs = readInputs(await readBack(join(folder, 'inputs.safetensors')), EXAMPLES);
      const expected = await readBack(join(folder, 'expected.safetensors'));
      const ingredients = (await readdir(join(folder, 'ingredients'))).sort();
      expect(ingredients.length).toBeGreaterThan(2);
      for (const i of ingredients) {
        const path = join(folder, 'ingredients', i);
        const checkpoint = await openCheckpoint(path);
        const network = buildNetwork(checkpoint, await findConfig(path), dimensionsOf(inputs));
        const logits = runReference(network, await readWeights(checkpoint), inputs);
        expect(logits.length).toBe(EXAMPLES * network.numClasses);
        const all = numbers(expected, `logits.${i}`);
        const largest = Math.max(...all.map(Math.abs));
        const error = logits.reduce(
          (worst, x, j) => Math.max(worst, Math.abs(x - (all[j] as number)) / largest),
          0,
        );
        if (process.env.SHOW_ERRORS) console.log(family, i, error);
        expect(error, `ingredient ${i}`).toBeLessThan(1e-5);
      }
    },
  );
});
