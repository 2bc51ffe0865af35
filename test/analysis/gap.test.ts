// The expression for a soup's loss against its ensemble's: its terms in plain arithmetic, on real networks, and where it
// must become exact.
import { beforeAll, describe, expect, it } from 'vitest';
import { type GapPoint, gap, gapTerms } from '../../lib/analysis/gap.js';
import type { Candidate } from '../../lib/evaluate/evaluator.js';
import { json, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';
import { randomNumbers } from '../models/made_up.js';
import { type Few, fewDigits, ingredient, lossOf, mixLogits, softmax } from './digits.js';

const at = useFolder();

interface Setting {
  alpha: number;
  beta: number;
  step: number;
}

/** The expression written down again, row by row. */
function expectedTerms(
  logits: (alpha: number) => number[][],
  a: number[][],
  b: number[][],
  labels: number[],
  { alpha, beta, step }: Setting,
) {
  const soup = logits(alpha);
  const ensemble = a.map((row, i) =>
    row.map((x, c) => (1 - alpha) * x + alpha * (b[i]?.[c] as number)),
  );
  const variance =
    soup.reduce((sum, row, i) => {
      const p = softmax(row.map((x) => beta * x));
      const delta = row.map((_, c) => (b[i]?.[c] as number) - (a[i]?.[c] as number));
      const mean = p.reduce((m, q, c) => m + q * (delta[c] as number), 0);
      return sum + p.reduce((v, q, c) => v + q * ((delta[c] as number) - mean) ** 2, 0);
    }, 0) / soup.length;
  const loss = (rows: number[][]) => lossOf(rows, labels, beta);
  const second =
    (loss(logits(alpha - step)) - 2 * loss(soup) + loss(logits(alpha + step))) / step ** 2;
  return {
    soupLoss: loss(soup),
    ensembleLoss: loss(ensemble),
    measured: loss(soup) - loss(ensemble),
    secondDerivative: second,
    variance,
    predicted: ((alpha * (1 - alpha)) / 2) * (beta ** 2 * variance - second),
  };
}

describe('networks whose logits bend along the line', () => {
  const [n, classes] = [30, 5];
  const labels = Array.from({ length: n }, (_, i) => i % classes);
  const next = randomNumbers(4);
  const random = () =>
    Array.from({ length: n }, () => Array.from({ length: classes }, () => 2 * next()));
  const [f, g, h] = [random(), random(), random()];
  /** f + αΔ + α²C: models `distance` apart. */
  const along = (distance: number) => (alpha: number) =>
    f.map((row, i) =>
      row.map(
        (x, c) =>
          x +
          distance * alpha * (g[i]?.[c] as number) +
          (distance * alpha) ** 2 * (h[i]?.[c] as number),
      ),
    );
  const at32 = (rows: number[][]) => Float64Array.from(rows.flat());
  const terms = (distance: number, setting: Setting) => {
    const line = along(distance);
    const { alpha, step } = setting;
    const rows = [alpha - step, alpha, alpha + step].map((t) => at32(line(t)));
    return gapTerms(
      [at32(line(0)), at32(line(1))],
      rows as [Float64Array, Float64Array, Float64Array],
      Int32Array.from(labels),
      setting,
    );
  };

  it.each([
    { alpha: 0.5, beta: 1, step: 0.1 },
    { alpha: 0.25, beta: 2, step: 0.05 },
    { alpha: 0.9, beta: 0.5, step: 0.2 },
  ])('terms are those of plain arithmetic: %j', (setting) => {
    const line = along(0.7);
    const want = expectedTerms(line, line(0), line(1), labels, setting);
    const got = terms(0.7, setting);
    for (const [name, value] of Object.entries(want))
      expect(got[name as keyof typeof got], name).toBeCloseTo(value, 9);
  });

  it('the closer the models, the better it holds: the error falls with the third power of their distance', () => {
    for (const alpha of [0.3, 0.5, 0.8]) {
      const error = (distance: number) => {
        const t = terms(distance, { alpha, beta: 1.5, step: 0.01 });
        return Math.abs(t.predicted - t.measured);
      };
      const size = Math.abs(terms(0.1, { alpha, beta: 1.5, step: 0.01 }).measured);
      expect(error(0.1)).toBeLessThan(0.2 * size);
      // At least by 4 for half the distance, where the gap itself falls by 4, and the error by 8.
      expect(error(0.05)).toBeLessThan(error(0.1) / 5);
      expect(error(0.025)).toBeLessThan(error(0.05) / 5);
    }
  });

  it('at the ends there is no gap', () => {
    for (const alpha of [0, 1]) {
      const t = terms(0.7, { alpha, beta: 1, step: 0.1 });
      expect(t.measured).toBeCloseTo(0, 12);
      expect(t.predicted).toBeCloseTo(0, 12);
    }
  });
});

describe('a linear model, by a function that gives logits', () => {
  const [n, inputs, classes] = [40, 6, 3];
  const next = randomNumbers(9);
  const x = Array.from({ length: n }, () => Array.from({ length: inputs }, () => next()));
  const labels = Int32Array.from({ length: n }, (_, i) => i % classes);
  const thetas = Array.from({ length: 3 }, () =>
    Array.from({ length: inputs * classes }, () => Math.fround(next())),
  );
  const logitsOf = (weights: readonly number[]): number[][] =>
    x.map((row) =>
      Array.from({ length: classes }, (_, c) =>
        row.reduce(
          (sum, v, i) =>
            sum +
            v * weights.reduce((w, s, k) => w + s * (thetas[k]?.[c * inputs + i] as number), 0),
          0,
        ),
      ),
    );
  const evaluator = {
    labels,
    evaluate: ({ weights }: Candidate) => ({ logits: logitsOf(weights) }),
  };
  let paths: string[] = [];
  beforeAll(async () => {
    paths = await Promise.all(
      thetas.map((t, i) =>
        putTensors(at(`linear${i}.safetensors`), [tensor('w', 'F32', [classes, inputs], t)]),
      ),
    );
  });

  it('soup and ensemble are one: no gap is measured, and none predicted', async () => {
    const found = await gap(paths, { evaluator, alphas: [0.2, 0.5], betas: [1, 3], step: 0.01 });
    expect(found.points).toHaveLength(3 * 2 * 2);
    expect(found.n).toBe(n);
    for (const p of found.points) {
      expect(Math.abs(p.measured)).toBeLessThan(1e-6);
      // d²L/dα² of a linear model is β² times the variance: only the differences' step is left.
      expect(Math.abs(p.predicted)).toBeLessThan(0.01 * p.beta ** 2 * p.variance + 1e-4);
      expect(p.variance).toBeGreaterThan(0.01);
    }
  });

  it('what cannot be is refused', async () => {
    await failure(gap(paths.slice(0, 1), { evaluator }), 'USAGE');
    await failure(gap(paths, { evaluator: () => 0.5 }), 'USAGE');
    await failure(gap(paths, { evaluator: { labels, evaluate: () => 0.5 } }), 'USAGE');
    for (const wrong of [{ alphas: [] }, { betas: [Number.NaN] }, { step: 0 }, { step: -1 }])
      await failure(gap(paths, { evaluator, ...wrong }), 'USAGE');
    await failure(gap(paths, { evaluator, signal: AbortSignal.abort() }), 'ABORTED');
  });
});

describe('examples/digits', () => {
  let few: Few;
  beforeAll(async () => {
    few = await fewDigits(at('few.safetensors'));
  });

  it('the command: every point is that of networks mixed and run in plain TypeScript', async () => {
    const paths = [ingredient(2), ingredient(5)];
    const args = ['gap', ...paths, '--data', few.path, '--alphas', '0.25,0.5', '--betas', '1,2'];
    const { code, out } = await json([...args, '--step', '0.2']);
    expect(code).toBe(0);
    expect(out).toMatchObject({ n: 40, step: 0.2, ingredients: paths });
    const keys = out.points.map((p: GapPoint) => [p.a, p.b, p.alpha, p.beta]);
    expect(keys).toEqual([
      [0, 1, 0.25, 1],
      [0, 1, 0.25, 2],
      [0, 1, 0.5, 1],
      [0, 1, 0.5, 2],
    ]);
    const made = new Map<number, number[][]>();
    for (const alpha of [0, 1, 0.05, 0.25, 0.45, 0.3, 0.5, 0.7])
      made.set(Math.round(alpha * 100), await mixLogits(paths, [1 - alpha, alpha], few));
    const logits = (alpha: number) => made.get(Math.round(alpha * 100)) as number[][];
    for (const p of out.points as GapPoint[]) {
      const setting = { alpha: p.alpha, beta: p.beta, step: 0.2 };
      const want = expectedTerms(logits, logits(0), logits(1), few.labels, setting);
      expect(p.soupLoss).toBeCloseTo(want.soupLoss, 4);
      expect(p.measured).toBeCloseTo(want.measured, 4);
      expect(p.variance).toBeCloseTo(want.variance, 3);
      expect(p.predicted).toBeCloseTo(want.predicted, 3);
    }
  });

  it('wrong usage exits with 2', async () => {
    const base = ['gap', ingredient(0), ingredient(1)];
    for (const [args, said] of [
      [[...base], '--data'],
      [[...base, '--data', few.path, '--alphas', 'x'], 'numbers'],
      [[...base, '--data', few.path, '--step', '0'], 'above 0'],
      [['gap', ingredient(0), '--data', few.path], 'two'],
    ] as const) {
      const { code, stderr } = await stockpot(args);
      expect(code).toBe(2);
      expect(stderr).toContain(said);
    }
  });
});
