import type { Sections } from '../../lib/analysis/run_file.js';

/** Numbers that look random and are the same every time. */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 16_807) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Sections of other analyses, with numbers that mean nothing. */
export function madeUpSections(ingredients: string[]): Omit<Sections, 'compare'> {
  const random = numbers(7);
  const pairs = ingredients.flatMap((_, a) =>
    ingredients.slice(a + 1).map((_, i) => ({ a, b: a + 1 + i })),
  );
  const axis = Array.from({ length: 9 }, (_, i) => i - 2);
  return {
    angles: {
      ingredients,
      refused: null,
      taskVectors: null,
      pairs: pairs.map((p) => {
        const angle = 60 + 30 * random();
        const gain = (angle - 65) / 1000 + (random() - 0.5) / 100;
        return { ...p, angle, gain, accuracy: 0.9 + gain, meanAccuracy: 0.9 };
      }),
      correlation: 0.7,
    },
    landscape: {
      checkpoints: ['zoo/base', 'zoo/one', 'zoo/two'],
      x: axis,
      y: axis,
      points: axis.flatMap((y) =>
        axis.map((x) => {
          const loss = 0.2 + ((x - 4) ** 2 + (y - 3) ** 2) / 60;
          return { x, y, loss, accuracy: Math.exp(-loss) };
        }),
      ),
      marks: [
        { model: 'zoo/base', role: 'base', x: 0, y: 0, distance: 0, loss: 0.6, accuracy: 0.5 },
        { model: 'zoo/one', role: 'ingredient', x: 5, y: 0, distance: 0, loss: 0.4, accuracy: 0.6 },
        { model: 'zoo/two', role: 'ingredient', x: 1, y: 5, distance: 0, loss: 0.4, accuracy: 0.6 },
        { model: 'soup', role: 'soup', x: 3, y: 3, distance: 0.5, loss: 0.2, accuracy: 0.8 },
      ],
    },
    line: {
      checkpoints: ['zoo/base', 'soup'],
      points: Array.from({ length: 6 }, (_, i) => {
        const alpha = i / 5;
        const score = (accuracy: number) => ({ accuracy, loss: -Math.log(accuracy) });
        return {
          alpha,
          scores: {
            heldout: score(0.8 + 0.1 * alpha),
            noise: score(0.6 + 0.4 * alpha - 0.2 * alpha ** 2),
          },
        };
      }),
    },
    gap: {
      ingredients,
      n: 300,
      step: 0.1,
      points: pairs.map((p) => {
        const predicted = (random() - 0.6) / 10;
        return {
          ...p,
          alpha: 0.5,
          beta: 1,
          predicted,
          measured: predicted + (random() - 0.5) / 100,
          soupLoss: 0.3,
          ensembleLoss: 0.3,
          secondDerivative: 0.1,
          variance: 0.1,
        };
      }),
      correlation: 0.95,
      meanError: 0.002,
    },
  };
}
