import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  type EvaluatorFunction,
  gradient,
  learned,
  nativeEvaluator,
  openCheckpoint,
} from '../../lib/index.js';
import { centralDifferences, planDifferences } from '../../lib/learn/central_differences.js';
import { groupTensors } from '../../lib/merge/groups.js';
import { matchTensors } from '../../lib/merge/match.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';
import {
  expectNear,
  followReference,
  GOLDEN,
  GRAPH_FAMILIES,
  readReference,
} from './reference_trajectory.js';

const at = useFolder();

describe.skipIf(!existsSync(GOLDEN)).each(GRAPH_FAMILIES)('%s', (family) => {
  it('the derivatives at the uniform soup, by model and by layer', async () => {
    const { ingredients, options, json, names, values } = await readReference(family);
    const found = await gradient(ingredients, { ...options, beta: json.beta, by: 'layer' });
    expect(found.loss).toBeCloseTo(values('uniform.loss')[0] as number, 4);
    expect(found.beta).toBeCloseTo(values('uniform.dbeta')[0] as number, 4);
    const sums = new Map<string, number[]>();
    const tensors = names.flatMap((n) => /^uniform\.dalpha_by_tensor\.(.*)$/.exec(n)?.[1] ?? []);
    const groups = Object.keys(found.byLayer ?? {});
    for (const t of tensors) {
      const group = groups
        .filter((g) => t === g || t.startsWith(`${g}.`))
        .sort((a, b) => b.length - a.length)[0];
      const sum = sums.get(group as string) ?? [0, 0, 0];
      const more = values(`uniform.dalpha_by_tensor.${t}`);
      sums.set(
        group as string,
        sum.map((x, i) => x + (more[i] as number)),
      );
    }
    const near = (x: readonly number[], y: readonly number[], what: string) => {
      const size = Math.max(...y.map(Math.abs), 0.1);
      for (const [i, v] of y.entries())
        expect(Math.abs((x[i] as number) - v) / size, what).toBeLessThan(2e-2);
    };
    for (const g of groups) near(found.byLayer?.[g] ?? [], sums.get(g) ?? [0, 0, 0], g);
    near(found.alpha, values('uniform.dalpha'), 'all');
  });

  it.for(['softmax', 'free'] as const)('the learned soup by model, %s', async (parametrisation) => {
    const reference = await readReference(family);
    const { ingredients, options, json } = reference;
    const evaluator = await nativeEvaluator(ingredients, options);
    try {
      const out = at('soup.safetensors');
      const made = await followReference(reference, out, evaluator, 'model', parametrisation);
      const name = parametrisation === 'softmax' ? 'learned' : 'learned_free';
      expectNear(reference, made.alpha as number[], `${name}.alpha`);
      expectNear(reference, [made.beta], `${name}.beta`);
      if (parametrisation === 'free') return;
      for (const [i, loss] of made.loss.entries())
        expect(Math.abs(loss - json.learned.loss[i])).toBeLessThan(5e-3 * json.learned.loss[0]);
      expect(made.accuracy).toBe(json.learned.accuracy);
    } finally {
      await evaluator.close();
    }
  });
});

/** Three ingredients of two groups, and batch-norm statistics, on a loss that is known. */
async function example() {
  const paths = await Promise.all(
    [0, 1, 2].map((i) =>
      putTensors(at(`${i}.safetensors`), [
        tensor('a.0.w', 'F64', [3], [i + 1, 0.5 - i, i * i]),
        tensor('b.1.w', 'F64', [2], [0.3 * i, 1 / (i + 1)]),
        tensor('a.0.running_mean', 'F64', [2], [i, 2 * i]),
        tensor('n', 'I64', [1], [3]),
      ]),
    ),
  );
  const checkpoints = await Promise.all(paths.map((p) => openCheckpoint(p)));
  const doubles = async (soup: Parameters<EvaluatorFunction>[0], name: string) => {
    const t = await soup.tensor(name);
    return [...t.float32()];
  };
  let calls = 0;
  /** Smooth, and bent; the statistics count, though they are constants. */
  const evaluate: EvaluatorFunction = async (soup, { beta }) => {
    calls++;
    const [a, b] = [await doubles(soup, 'a.0.w'), await doubles(soup, 'b.1.w')];
    const s = await doubles(soup, 'a.0.running_mean');
    const x =
      a.reduce((sum, v, i) => sum + v * Math.cos(i), 0) + (s[0] as number) * (b[0] as number);
    const loss = Math.log1p(Math.exp(0.5 * x)) + 0.1 * (b[1] as number) ** 2 * beta * beta;
    return { loss };
  };
  return { checkpoints, evaluate, calls: () => calls };
}

describe('a function that gives only a loss', () => {
  /** The loss of rows of weights, written down. */
  const lossAt = (
    rows: readonly (readonly number[])[],
    statistics: readonly number[],
    beta: number,
  ) => {
    const mix = (row: readonly number[], of: (i: number) => number) =>
      row.reduce((sum, w, i) => sum + w * of(i), 0);
    const [ra, rb] = rows as [number[], number[]];
    const a = [mix(ra, (i) => i + 1), mix(ra, (i) => 0.5 - i), mix(ra, (i) => i * i)];
    const b = [mix(rb, (i) => 0.3 * i), mix(rb, (i) => 1 / (i + 1))];
    const x =
      a.reduce((sum, v, i) => sum + v * Math.cos(i), 0) +
      mix(statistics, (i) => i) * (b[0] as number);
    return Math.log1p(Math.exp(0.5 * x)) + 0.1 * (b[1] as number) ** 2 * beta * beta;
  };

  it.for(['softmax', 'free'] as const)(
    '%s: derivatives, in as many evaluations as are said',
    async (parametrisation) => {
      const { checkpoints, evaluate, calls } = await example();
      const { tensors: matched } = await matchTensors(checkpoints);
      const grouping = await groupTensors(checkpoints, matched, 'layer');
      expect(grouping.names).toEqual(['a.0', 'b.1']);
      const options = { grouping, parametrisation, dtype: 'f32' as const };
      const objective = await centralDifferences(evaluate, checkpoints, matched, options);
      const free = parametrisation === 'free';
      const rows = free
        ? [
            [0.5, 0.2, 0.1],
            [0.3, -0.1, 0.4],
          ]
        : [
            [0.5, 0.2, 0.3],
            [0.25, 0.25, 0.5],
          ];
      const mix = { alpha: rows.map((r) => Float64Array.from(r)), beta: 1.2 };
      const found = await objective.gradient(mix, Int32Array.of(0), {});
      expect(found.loss).toBeCloseTo(lossAt(rows, rows[0] as number[], 1.2), 6);
      // Two for the derivative by β, since there are no logits.
      expect(calls() - 2).toBe(planDifferences(matched, options).evaluations);
      expect(calls() - 2).toBe(free ? 1 + 2 * (2 * 3) : 1 + 2 * (2 * 2));
      const h = 1e-5;
      for (const [g, row] of rows.entries()) {
        const exact = row.map((_, i) => {
          const by = (s: number) =>
            lossAt(
              rows.map((r, j) => (j === g ? r.map((w, l) => (l === i ? w + s : w)) : r)),
              rows[0] as number[],
              1.2,
            );
          return (by(h) - by(-h)) / (2 * h);
        });
        const mean = exact.reduce((sum, d, i) => sum + d * (row[i] as number), 0);
        for (const [i, d] of exact.entries())
          expect(Math.abs((found.alpha[g]?.[i] as number) - (free ? d : d - mean))).toBeLessThan(
            2e-3,
          );
      }
      const byBeta =
        (lossAt(rows, rows[0] as number[], 1.2 + h) - lossAt(rows, rows[0] as number[], 1.2 - h)) /
        (2 * h);
      expect(found.beta).toBeCloseTo(byBeta, 3);
    },
  );

  it('makes a learned soup, whose loss falls', async () => {
    const { checkpoints, evaluate } = await example();
    const made = await learned(checkpoints, at('learned.safetensors'), {
      ...{ evaluator: evaluate, steps: 20, lr: 0.2, by: 'tensor', temperature: false },
    });
    expect(made.loss.at(-1)).toBeLessThan(made.loss[0] as number);
    expect(made.metrics?.loss).toBeLessThan(made.loss[0] as number);
    expect(made.accuracy).toBeNull();
  });

  it.for(['model', 'tensor'] as const)(
    'by %s: weights are told at every step, for functions that look at nothing else',
    async (by) => {
      const { checkpoints } = await example();
      const target = [0.5, 0.3, 0.2];
      const evaluator: EvaluatorFunction = ({ weights }) => ({
        loss: target.reduce((sum, t, i) => sum + ((weights[i] as number) - t) ** 2, 0),
      });
      const made = await learned(checkpoints, at(`by-${by}.safetensors`), {
        ...{ evaluator, by, steps: 60, lr: 0.05, temperature: false },
      });
      expect(made.loss[0]).toBeCloseTo(0.0467, 4);
      expect(made.loss.at(-1)).toBeLessThan(1e-3);
      const searched = await learned(checkpoints, at(`searched-by-${by}.safetensors`), {
        ...{ evaluator, by, optimizer: 'cma', metric: 'loss', steps: 20, temperature: false },
      });
      expect(searched.metrics?.loss).toBeLessThan(0.02);
    },
  );
});
