import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ensemble, greedy, nativeEvaluator, predict, uniform } from '../../lib/index.js';
import { root } from '../helpers/cli.js';
import { decode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { readBack } from '../helpers/safetensors.js';

const at = useFolder();
const GOLDEN = join(root, '../shared/golden');

/** Of the largest logit: the reference is computed in float64, ONNX Runtime computes in float32. */
const WITHIN = 1e-4;

describe.skipIf(!existsSync(GOLDEN)).each(['coatnet_onnx', 'align_onnx'])('%s', (family) => {
  const folder = join(GOLDEN, family);
  const ingredients = [0, 1, 2].map((i) => join(folder, 'ingredients', String(i)));
  const options = { data: join(folder, 'inputs.safetensors'), graph: join(folder, 'graph.onnx') };
  const expected = async (name: string) => {
    const t = (await readBack(join(folder, 'expected.safetensors'))).tensors.get(name);
    return decode('F32', t?.bytes as Buffer);
  };
  const expectLogits = async (model: string, name: string, threads: number) => {
    const out = at('logits.safetensors');
    await predict(model, out, { ...options, threads, overwrite: true });
    const found = decode('F32', (await readBack(out)).tensors.get('logits')?.bytes as Buffer);
    const reference = await expected(name);
    const largest = Math.max(...reference.map(Math.abs));
    expect(found).toHaveLength(reference.length);
    const most = Math.max(...found.map((x, i) => Math.abs(x - (reference[i] as number))));
    expect(most / largest).toBeLessThan(WITHIN);
    return found;
  };

  it('logits of each ingredient and of the uniform soup; they do not depend on the threads', async () => {
    for (const [i, model] of ingredients.entries()) {
      const two = await expectLogits(model, `logits.${i}`, 2);
      expect(await expectLogits(model, `logits.${i}`, 1)).toEqual(two);
    }
    const soup = at(family);
    await uniform(ingredients, soup);
    await expectLogits(soup, 'uniform.logits', 2);
  });

  it('the greedy soup and the ensemble', async () => {
    const reference = JSON.parse(await readFile(join(folder, 'expected.json'), 'utf8'));
    const evaluator = await nativeEvaluator(ingredients, options);
    try {
      const out = at(`${family}.safetensors`);
      const made = await greedy(ingredients, out, { evaluator });
      expect(made.order).toEqual(reference.greedy.order);
      expect(made.members).toEqual(reference.greedy.members);
      expect(made.accuracy).toBe(reference.greedy.accuracy);
      expect(made.trace.map((t) => t.kept)).toEqual(
        reference.greedy.trace.map((t: { kept: boolean }) => t.kept),
      );
    } finally {
      await evaluator.close();
    }
    expect((await ensemble(ingredients, options)).accuracy).toBe(reference.accuracy.ensemble);
  });
});
