import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { nativeEvaluator } from '../../lib/index.js';
import { useFolder } from '../helpers/folder.js';
import {
  expectNear,
  followReference,
  GOLDEN,
  GRAPH_FAMILIES,
  readReference,
} from './reference_trajectory.js';

const at = useFolder();

/** Some 500 and 1000 evaluations of graphs: a minute or more. */
describe.skipIf(!existsSync(GOLDEN)).each(GRAPH_FAMILIES)('%s', (family) => {
  it('the learned soup by layer follows the reference', { timeout: 900_000 }, async () => {
    const reference = await readReference(family);
    const evaluator = await nativeEvaluator(reference.ingredients, reference.options);
    try {
      const out = at('soup.safetensors');
      const made = await followReference(reference, out, evaluator, 'layer');
      const known = reference.names.filter((n) => n.startsWith('learned_by_layer.alpha.'));
      expect(known.length).toBeGreaterThan(5);
      for (const name of known) {
        const group = name.slice('learned_by_layer.alpha.'.length);
        expectNear(reference, (made.alpha as Record<string, number[]>)[group] ?? [], name);
      }
      expectNear(reference, [made.beta], 'learned_by_layer.beta');
    } finally {
      await evaluator.close();
    }
  });
});
