// Greedy soups, evaluations and ensembles by the native executor: the decisions and counts of the field's own libraries.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contentHash } from '../../lib/checkpoint/hash.js';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import type { TensorEntry } from '../../lib/checkpoint/types.js';
import { ensemble } from '../../lib/evaluate/ensemble.js';
import { evaluate } from '../../lib/evaluate/evaluate.js';
import { NativeEvaluator } from '../../lib/evaluate/native_evaluator.js';
import { Session } from '../../lib/evaluate/session.js';
import { packageRoot } from '../../lib/native.js';
import { type GreedyOptions, greedy } from '../../lib/recipes/greedy.js';
import { uniform } from '../../lib/recipes/uniform.js';
import { golden, hasGolden, NATIVE_FAMILIES } from '../helpers/golden.js';

const digits = join(packageRoot, 'examples/digits');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stockpot-greedy-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ingredientsOf = (path: string): string[] =>
  readdirSync(join(path, 'ingredients'))
    .sort()
    .map((name) => join(path, 'ingredients', name));

async function greedySoup(
  ingredients: string[],
  data: string,
  output: string,
  options: Partial<GreedyOptions> = {},
) {
  const session = await Session.open(ingredients, { data });
  try {
    const evaluator = new NativeEvaluator(session);
    return await greedy(session.checkpoints, join(folder, output), { evaluator, ...options });
  } finally {
    await session.close();
  }
}

const hashOf = async (path: string): Promise<string> => contentHash(await openCheckpoint(path));

/** Behaviour "greedy equals uniform of its members, bit for bit". */
async function expectUniformOf(soup: string, ingredients: string[], members: readonly number[]) {
  const chosen = [...members].sort((a, b) => a - b).map((i) => ingredients[i] as string);
  const again = join(folder, `again-${Math.random()}.safetensors`);
  await uniform(chosen, again);
  expect(await hashOf(soup)).toBe(await hashOf(again));
}

describe.skipIf(!hasGolden)('the reference cases (skipped without ../shared)', () => {
  for (const family of NATIVE_FAMILIES) {
    it(`${family}: order, members and accuracies of the greedy soup; the ensemble's accuracy`, async () => {
      const path = join(golden, family);
      const expected = JSON.parse(readFileSync(join(path, 'expected.json'), 'utf8'));
      const data = join(path, 'inputs.safetensors');
      const ingredients = ingredientsOf(path);
      const { models } = await evaluate(ingredients, { data });
      expect(models.map((m) => m.accuracy)).toEqual(expected.accuracy.ingredients);
      const soup = await greedySoup(ingredients, data, `${family}.safetensors`);
      expect(soup.order).toEqual(expected.greedy.order);
      expect(soup.members).toEqual(expected.greedy.members);
      expect(soup.accuracy).toBe(expected.greedy.accuracy);
      for (const [i, step] of soup.trace.entries()) {
        const want = expected.greedy.trace[i];
        expect([step.candidate, step.kept]).toEqual([want.candidate, want.kept]);
        if (step.value !== null) expect(step.value).toBe(want.accuracy);
      }
      await expectUniformOf(join(folder, `${family}.safetensors`), ingredients, soup.members);
      const whole = await ensemble(ingredients, { data });
      expect(whole.accuracy).toBe(expected.accuracy.ensemble);
    });
  }
});

describe('examples/digits', () => {
  const zoo = JSON.parse(readFileSync(join(digits, 'zoo.json'), 'utf8'));
  const ingredients = ingredientsOf(digits);
  const scoresOf = (name: string) => (zoo.ingredients[name] ?? zoo.base).scores;

  it('evaluate counts the answers that PyTorch counted, on a folder and on tar shards', async () => {
    for (const [name, data] of [
      ['heldout', 'heldout'],
      ['test', 'test.tar'],
      ['test_noise', 'test-noise.tar'],
    ] as const) {
      const { models } = await evaluate([join(digits, 'base'), ...ingredients], {
        data: join(digits, data),
      });
      const counted = models.map((m) => Math.round(m.accuracy * m.n));
      const names = ['base', ...ingredients.map((p) => p.slice(-4))];
      expect(counted).toEqual(names.map((n) => scoresOf(n)[name].correct));
      models.forEach((m, i) => {
        expect(m.loss).toBeCloseTo(scoresOf(names[i] as string)[name].loss, 4);
      });
    }
  });

  it('greedy keeps the members that PyTorch kept, resumed or not', async () => {
    const data = join(digits, 'heldout');
    const resume = join(folder, 'evaluations');
    const first = await greedySoup(ingredients, data, 'digits', { resume });
    const named = (positions: number[]) =>
      positions.map((i) => (ingredients[i] as string).slice(-4));
    expect(named(first.order)).toEqual(zoo.greedy_soup.order);
    expect(named(first.members)).toEqual(zoo.greedy_soup.members);
    await expectUniformOf(join(folder, 'digits'), ingredients, first.members);
    const again = await greedySoup(ingredients, data, 'digits', { resume, overwrite: true });
    expect([again.members, again.trace, again.sha256]).toEqual([
      first.members,
      first.trace,
      first.sha256,
    ]);
    // Early rejection saw fewer examples, and changed nothing.
    expect(first.trace.some((s) => !s.kept && (s.evaluated as number) < 300)).toBe(true);
  });

  it.each([
    'vit.encoder.layer.0.attention.attention.key.weight',
    'vit.encoder.layer.1.intermediate.dense.bias',
    'classifier.bias',
  ])('behaviour 25: a NaN in %s makes all logits wrong, and is never kept', async (name) => {
    const bad = join(folder, `nan-${name}`);
    cpSync(ingredients[0] as string, bad, { recursive: true });
    const file = join(bad, 'model.safetensors');
    const { offset } = (await openCheckpoint(file)).tensors.get(name) as TensorEntry;
    const bytes = readFileSync(file);
    bytes.writeUInt16LE(0x7e00, offset); // float16's NaN
    writeFileSync(file, bytes);
    const data = join(digits, 'heldout');
    const mixed = [...ingredients.slice(0, 2), bad];
    for (const metric of ['accuracy', 'loss'] as const) {
      const allowing = { metric, allowNonfinite: true };
      const alone = await greedySoup([bad], data, `${metric}-${name}`, allowing);
      expect(alone.accuracy).toBe(0);
      if (metric === 'loss') expect(alone.value).toBeNaN();
      const soup = await greedySoup(mixed, data, `${metric}-of-3-${name}`, allowing);
      expect(soup.order[2]).toBe(2);
      expect(soup.members).not.toContain(2);
    }
  });

  it('behaviour 29: abort ends it, and leaves nothing', async () => {
    const stop = new AbortController();
    const run = greedySoup(ingredients, join(digits, 'heldout'), 'aborted', {
      signal: stop.signal,
      onStep: () => stop.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
    expect(readdirSync(folder).filter((n) => n.includes('aborted'))).toEqual([]);
  });
});
