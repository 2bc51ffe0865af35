import { describe, expect, it } from 'vitest';
import { type EvaluatorFunction, learned, openCheckpoint } from '../../lib/index.js';
import { CmaEs } from '../../lib/learn/cma.js';
import { symmetricEigen } from '../../lib/learn/eigen.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();

/** Evaluations until the best value is below the target, or the most that are allowed. */
function minimise(
  f: (x: Float64Array) => number,
  n: number,
  target: number,
  most: number,
  seed = 1,
) {
  const search = new CmaEs(new Float64Array(n).fill(3), 1, { seed });
  let evaluations = 0;
  let best = Number.POSITIVE_INFINITY;
  while (evaluations < most && !(best < target)) {
    const values = search.ask().map(f);
    evaluations += values.length;
    best = Math.min(best, ...values.filter((v) => !Number.isNaN(v)));
    search.tell(values);
  }
  return { best, evaluations };
}

const sphere = (x: Float64Array) => x.reduce((s, v) => s + v * v, 0);
const ellipsoid = (x: Float64Array) =>
  x.reduce((s, v, i) => s + 10 ** ((6 * i) / (x.length - 1)) * v * v, 0);
const rosenbrock = (x: Float64Array) => {
  let s = 0;
  for (let i = 0; i + 1 < x.length; i++) {
    const [a, b] = [x[i] as number, x[i + 1] as number];
    s += 100 * (b - a * a) ** 2 + (1 - a) ** 2;
  }
  return s;
};
/** The ellipsoid in turned coordinates: only a full covariance learns it fast. */
const turned = (x: Float64Array) =>
  ellipsoid(x.map((v, i) => (v + (i % 2 ? -1 : 1) * (x[i ^ 1] as number)) / Math.SQRT2));
/** Only steps: no derivative anywhere. */
const steps = (x: Float64Array) => x.reduce((s, v) => s + Math.floor(Math.abs(v) * 10), 0);

describe('CMA-ES', () => {
  // Evaluations that are allowed: a multiple of what these settings need, so that a slower search fails.
  it.for([
    ['sphere', sphere, 10, 1e-10, 4000],
    ['ellipsoid of condition 1e6', ellipsoid, 10, 1e-10, 16000],
    ['turned ellipsoid', turned, 10, 1e-10, 16000],
    ['Rosenbrock', rosenbrock, 6, 1e-10, 16000],
    ['steps', steps, 5, 1, 3000],
    ['sphere of many variables, by the diagonal', sphere, 120, 1e-8, 40000],
  ] as const)('%s', ([, f, n, target, most]) => {
    for (const seed of [1, 2, 3]) {
      const { best, evaluations } = minimise(f, n, target, most, seed);
      expect(best).toBeLessThan(target);
      expect(evaluations).toBeLessThan(most);
    }
  });

  it('goes the same way for the same seed, and depends on the order of values only', () => {
    const points = (seed: number, f: (x: Float64Array) => number) => {
      const search = new CmaEs(new Float64Array(4), 0.5, { seed });
      for (let i = 0; i < 10; i++) search.tell(search.ask().map(f));
      return [...search.mean];
    };
    expect(points(5, sphere)).toEqual(points(5, (x) => Math.exp(sphere(x))));
    expect(points(5, sphere)).not.toEqual(points(6, sphere));
  });

  it('takes NaN for the worst', () => {
    const f = (x: Float64Array) => ((x[0] as number) > 3 ? Number.NaN : sphere(x));
    expect(minimise(f, 3, 1e-8, 4000).best).toBeLessThan(1e-8);
  });
});

describe('eigenvectors', () => {
  it('give the matrix back, and are orthonormal', () => {
    const n = 7;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) a[i * n + j] = Math.sin(i * j) + (i === j ? i : 0);
    const { values, vectors } = symmetricEigen(a, n);
    const column = (j: number) => Array.from({ length: n }, (_, i) => vectors[i * n + j] as number);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let back = 0;
        let product = 0;
        for (let l = 0; l < n; l++) {
          back += (values[l] as number) * (column(l)[i] as number) * (column(l)[j] as number);
          product += (column(i)[l] as number) * (column(j)[l] as number);
        }
        expect(back).toBeCloseTo(a[i * n + j] as number, 10);
        expect(product).toBeCloseTo(i === j ? 1 : 0, 12);
      }
    }
  });
});

describe('a learned soup by CMA-ES', () => {
  it.for(['model', 'tensor'] as const)('finds the mix of most right answers, by %s', async (by) => {
    const paths = await Promise.all(
      [0, 1, 2].map((i) =>
        putTensors(at(`${i}.safetensors`), [
          tensor(
            'a',
            'F32',
            [3],
            [0, 1, 2].map((j) => (i === j ? 1 : 0)),
          ),
          tensor(
            'b',
            'F32',
            [3],
            [0, 1, 2].map((j) => (i === j ? 1 : 0)),
          ),
        ]),
      ),
    );
    const checkpoints = await Promise.all(paths.map((p) => openCheckpoint(p)));
    const wanted = [0.7, 0.2, 0.1];
    /** Steps of 1/50: like an accuracy, without a derivative. */
    const evaluate: EvaluatorFunction = async (soup) => {
      const rows = [await soup.tensor('a'), await soup.tensor('b')].map((t) => [...t.float32()]);
      const away = rows.flatMap((r) => r.map((w, i) => Math.abs(w - (wanted[i] as number))));
      return Math.floor(50 * (1 - Math.max(...away))) / 50;
    };
    const options = { optimizer: 'cma', steps: 25, seed: 3, by, overwrite: true } as const;
    const make = () =>
      learned(checkpoints, at('soup.safetensors'), {
        ...options,
        evaluator: { id: 'distance', evaluate },
        resume: at(`kept ${by}`),
      });
    const made = await make();
    expect(made.accuracy).toBeGreaterThanOrEqual(by === 'model' ? 0.96 : 0.9);
    const rows = Array.isArray(made.alpha) ? [made.alpha] : Object.values(made.alpha);
    for (const row of rows) {
      expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
      for (const [i, w] of row.entries())
        expect(Math.abs(w - (wanted[i] as number))).toBeLessThan(0.12);
    }
    expect((await make()).alpha).toEqual(made.alpha);
    expect(made.metrics?.accuracy).toBe(made.accuracy);
  });
});
