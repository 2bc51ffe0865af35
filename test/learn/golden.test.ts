// Derivatives and trajectories of mixing coefficients against PyTorch's in float64.
import { describe, expect, it } from 'vitest';
import { nativeEvaluator } from '../../lib/evaluate/native_evaluator.js';
import { gradient } from '../../lib/learn/gradient.js';
import type { LearnedOptions } from '../../lib/recipes/learned/options.js';
import { learned } from '../../lib/recipes/learned.js';
import { useFolder } from '../helpers/folder.js';
import {
  dataOf,
  expectedOf,
  hasGolden,
  ingredientsOf,
  NATIVE_FAMILIES,
  settingsOf,
} from '../helpers/golden.js';

const at = useFolder();

const far = (found: ArrayLike<number>, expected: ArrayLike<number>): number =>
  Math.max(...Array.from(expected, (e, i) => Math.abs(e - (found[i] as number))));
const size = (x: ArrayLike<number>): number => Math.max(...Array.from(x, Math.abs));

describe.skipIf(!hasGolden)('the reference cases (skipped without ../shared)', () => {
  it.each(NATIVE_FAMILIES)('%s: d loss / d alpha, by tensor too, within 1e-3', async (family) => {
    const expected = expectedOf(family);
    const { beta } = settingsOf(family);
    const found = await gradient(ingredientsOf(family), {
      data: dataOf(family),
      beta,
      by: 'tensor',
      threads: 2,
    });
    const scalar = (name: string) => expected.get(name)?.[0] as number;
    expect(Math.abs(found.loss - scalar('uniform.loss'))).toBeLessThan(1e-5);
    expect(Math.abs(found.beta - scalar('uniform.dbeta'))).toBeLessThan(1e-3);
    const alpha = expected.get('uniform.dalpha') as Float32Array;
    expect(far(found.alpha, alpha)).toBeLessThan(1e-3 * Math.max(1, size(alpha)));
    const tensors = [...expected].filter(([name]) => name.startsWith('uniform.dalpha_by_tensor.'));
    expect(tensors.length).toBeGreaterThan(10);
    for (const [name, row] of tensors) {
      const tensor = name.slice('uniform.dalpha_by_tensor.'.length);
      const its = found.byTensor?.[tensor] as number[];
      expect(its, tensor).toBeDefined();
      expect(far(its, row), tensor).toBeLessThan(1e-3 * Math.max(1e-2, size(row)));
    }
  });

  const learn = async (family: string, name: string, options: Partial<LearnedOptions>) => {
    const { learned: settings } = settingsOf(family);
    const evaluator = await nativeEvaluator(ingredientsOf(family), { data: dataOf(family) });
    try {
      return await learned(ingredientsOf(family), at(`${family}-${name}.safetensors`), {
        evaluator,
        lr: settings.lr,
        steps: settings.steps,
        batchSize: 'full',
        ...options,
      });
    } finally {
      await evaluator.close();
    }
  };

  it.each(NATIVE_FAMILIES)(
    '%s: learned by model, by layer and free, within 2e-3',
    async (family) => {
      const expected = expectedOf(family);
      const { learned: settings } = settingsOf(family);
      const value = (name: string) => expected.get(name) as Float32Array;

      const model = await learn(family, 'model', {});
      expect(far(model.alpha as number[], value('learned.alpha'))).toBeLessThan(2e-3);
      expect(Math.abs(model.beta - (value('learned.beta')[0] as number))).toBeLessThan(2e-3);
      expect(far(model.loss, settings.loss)).toBeLessThan(2e-3);
      expect(model.accuracy).toBeCloseTo(settings.accuracy, 12);

      const free = await learn(family, 'free', { parametrisation: 'free', lr: settings.free_lr });
      expect(far(free.alpha as number[], value('learned_free.alpha'))).toBeLessThan(2e-3);
      expect(Math.abs(free.beta - (value('learned_free.beta')[0] as number))).toBeLessThan(2e-3);

      const layers = await learn(family, 'layer', { by: 'layer' });
      const groups = [...expected.keys()].filter((n) => n.startsWith('learned_by_layer.alpha.'));
      expect(groups.length).toBeGreaterThan(3);
      for (const name of groups) {
        const row = (layers.alpha as Record<string, number[]>)[
          name.slice('learned_by_layer.alpha.'.length)
        ] as number[];
        expect(row, name).toBeDefined();
        expect(far(row, value(name)), name).toBeLessThan(2e-3);
      }
      expect(Math.abs(layers.beta - (value('learned_by_layer.beta')[0] as number))).toBeLessThan(
        2e-3,
      );
    },
  );

  it('the ways of keeping the ingredients give the same bits', async () => {
    const family = 'vit_hf';
    for (const by of ['model', 'layer', 'tensor'] as const) {
      const memory = await learn(family, `memory-${by}`, { by, steps: 4 });
      // Little memory: by layer a group at a time, by model from the files; activations computed again.
      for (const budget of [11_000_000, 9_600_000]) {
        const streamed = await learn(family, `${budget}-${by}`, { by, steps: 4, memory: budget });
        expect(streamed.alpha, `${by} ${budget}`).toEqual(memory.alpha);
      }
    }
  });
});
