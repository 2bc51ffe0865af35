// The plane through three checkpoints and the line between two, against networks that are mixed and run in plain
// TypeScript; resumed runs; what cannot be.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Landscape, type LandscapeOptions, landscape } from '../../lib/analysis/landscape.js';
import { line } from '../../lib/analysis/line.js';
import { axis, Plane } from '../../lib/analysis/plane.js';
import type { Checkpoint } from '../../lib/checkpoint/types.js';
import type { Candidate } from '../../lib/evaluate/evaluator.js';
import { NativeEvaluator } from '../../lib/evaluate/native_evaluator.js';
import { Session } from '../../lib/evaluate/session.js';
import { Gram } from '../../lib/merge/gram.js';
import { finished, json, start, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';
import {
  accuracyOf,
  BASE,
  type Few,
  fewDigits,
  flat,
  ingredient,
  lossOf,
  mixLogits,
} from './digits.js';

const at = useFolder();
const three = [BASE, ingredient(2), ingredient(5)];
let few: Few;
beforeAll(async () => {
  few = await fewDigits(at('few.safetensors'));
});

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
const mix = (vectors: readonly number[][], w: readonly number[]): number[] =>
  (vectors[0] as number[]).map((_, e) =>
    vectors.reduce((sum, v, i) => sum + (w[i] as number) * (v[e] as number), 0),
  );

/** Products as the addon gives them, of a reference and differences from it. */
function gramOf(vectors: readonly number[][]): Gram {
  const first = vectors[0] as number[];
  const d = vectors.map((v, i) => (i === 0 ? v : v.map((x, e) => x - (first[e] as number))));
  const products = d.flatMap((a, i) => d.slice(i).map((b) => dot(a, b)));
  return new Gram(vectors.length, Float64Array.from(products));
}

describe('the plane', () => {
  const numbers = fc.array(fc.double({ min: -2, max: 2, noNaN: true }), {
    minLength: 6,
    maxLength: 6,
  });

  it('weights give the point; the basis is orthonormal; a projection is the nearest point', () => {
    fc.assert(
      fc.property(
        fc.tuple(numbers, numbers, numbers, numbers),
        fc.double({ min: -3, max: 3, noNaN: true }),
        fc.double({ min: -3, max: 3, noNaN: true }),
        (vectors, x, y) => {
          const gram = gramOf(vectors);
          const plane = Plane.through(gram);
          fc.pre(plane !== null && plane.corners[1].x > 0.1 && plane.corners[2].y > 0.1);
          if (!plane) return;
          const corners = vectors.slice(0, 3);
          const origin = corners[0] as number[];
          const place = (p: { x: number; y: number }) => mix(corners, plane.weights(p));
          const away = (p: { x: number; y: number }) =>
            place(p).map((v, e) => v - (origin[e] as number));
          const [u, v] = [away({ x: 1, y: 0 }), away({ x: 0, y: 1 })];
          expect(dot(u, u)).toBeCloseTo(1, 6);
          expect(dot(v, v)).toBeCloseTo(1, 6);
          expect(dot(u, v)).toBeCloseTo(0, 6);
          expect(plane.weights({ x, y }).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
          plane.corners.forEach((corner, i) => {
            place(corner).forEach((value, e) => {
              expect(value).toBeCloseTo(corners[i]?.[e] as number, 6);
            });
          });
          const found = plane.project(gram, 3);
          const off = (vectors[3] as number[]).map(
            (value, e) => value - (place(found)[e] as number),
          );
          expect(dot(off, u)).toBeCloseTo(0, 5);
          expect(dot(off, v)).toBeCloseTo(0, 5);
          expect(Math.sqrt(dot(off, off))).toBeCloseTo(found.distance, 5);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('three checkpoints on one line have none', () => {
    const [a, b] = [
      [1, 2, 3, 4],
      [2, 0, 1, 5],
    ];
    const middle = a.map((x, i) => (x + (b[i] as number)) / 2);
    expect(Plane.through(gramOf([a, b, middle]))).toBeNull();
    expect(Plane.through(gramOf([a, a, b]))).toBeNull();
    expect(Plane.through(gramOf([a, b, b]))).toBeNull();
  });

  it('an axis spans the range and its margins', () => {
    expect(axis([1, 0, 2], 5, 0)).toEqual([0, 0.5, 1, 1.5, 2]);
    expect(axis([0, 2], 3, 0.5)).toEqual([-1, 1, 3]);
  });
});

async function onDigits(options: Partial<LandscapeOptions> = {}): Promise<Landscape> {
  const soups = (options.soups ?? []) as string[];
  const session = await Session.open([...three, ...soups], { data: few.path, dtype: 'f32' });
  try {
    const evaluator = new NativeEvaluator(session);
    return await landscape(session.checkpoints.slice(0, 3), {
      evaluator,
      dtype: 'f32',
      ...options,
      soups: session.checkpoints.slice(3),
    });
  } finally {
    await session.close();
  }
}

describe('examples/digits', () => {
  it('every point is the network there; checkpoints and a soup lie where they lie', async () => {
    const soup = ingredient(0);
    const found = await onDigits({ grid: 3, margin: 0.1, soups: [soup] });
    expect(found.checkpoints).toEqual(three);
    expect([found.x.length, found.y.length, found.points.length]).toEqual([3, 3, 9]);
    for (const [i, p] of found.points.entries()) {
      expect([p.x, p.y]).toEqual([found.x[i % 3], found.y[Math.floor(i / 3)]]);
      const rows = await mixLogits(three, p.weights, few);
      expect(p.loss).toBeCloseTo(lossOf(rows, few.labels), 4);
      expect(p.accuracy).toBeCloseTo(accuracyOf(rows, few.labels), 12);
    }
    // Gram and Schmidt, step by step, on the weights themselves.
    const [origin, first, second, other] = (await Promise.all([...three, soup].map(flat))) as [
      number[],
      number[],
      number[],
      number[],
    ];
    const less = (a: readonly number[], b: readonly number[]) =>
      a.map((x, e) => x - (b[e] as number));
    const unit = (a: readonly number[]) => {
      const length = Math.sqrt(dot(a, a));
      return a.map((x) => x / length);
    };
    const u = unit(less(first, origin));
    const along = dot(less(second, origin), u);
    const v = unit(less(second, origin).map((x, e) => x - along * (u[e] as number)));
    for (const [i, theta] of [origin, first, second, other].entries()) {
      const mark = found.marks[i];
      expect(mark?.x).toBeCloseTo(dot(less(theta, origin), u), 9);
      expect(mark?.y).toBeCloseTo(dot(less(theta, origin), v), 9);
      const rows = await mixLogits([[...three, soup][i] as string], [1], few);
      expect(mark?.loss).toBeCloseTo(lossOf(rows, few.labels), 4);
    }
    expect(found.marks.map((m) => m.role)).toEqual(['base', 'ingredient', 'ingredient', 'soup']);
    expect(found.marks[3]?.distance).toBeGreaterThan(1);
    expect(found.marks.slice(0, 3).map((m) => m.distance)).toEqual([0, 0, 0]);
  });

  it('a run that ended goes on where it was, with the same result', async () => {
    const resume = at('kept');
    const stop = new AbortController();
    let seen = 0;
    const cut = onDigits({
      grid: 4,
      resume,
      signal: stop.signal,
      onPoint: () => {
        if (++seen === 5) stop.abort();
      },
    });
    await failure(cut, 'ABORTED');
    const kept = (await readdir(resume)).filter((n) => n.endsWith('.json'));
    expect(kept).toHaveLength(5 + 3); // and the three checkpoints themselves
    const fresh = await onDigits({ grid: 4 });
    const resumed = await onDigits({ grid: 4, resume });
    expect({ ...resumed, seconds: 0 }).toEqual({ ...fresh, seconds: 0 });
    expect((await readdir(resume)).filter((n) => n.endsWith('.json'))).toHaveLength(16 + 3);
  });

  it('progress counts every point', async () => {
    const steps: (number | undefined)[] = [];
    await onDigits({
      grid: 2,
      onProgress: (p) => {
        if (p.phase === 'landscape') steps.push(p.steps?.done);
      },
    });
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('the line from a base to a fine-tuned model, on two data sets', async () => {
    const ends = [BASE, ingredient(5)];
    const shifted = { ...few, pixels: few.pixels.map((x) => x * 0.5) };
    await putTensors(at('shifted.safetensors'), [
      tensor('pixel_values', 'F32', [few.labels.length, 3, 8, 8], shifted.pixels),
      tensor('labels', 'I64', [few.labels.length], few.labels),
    ]);
    const args = ['landscape', ...ends, '--line', '--grid', '3', '--margin', '0.25'];
    const { code, out } = await json([
      ...args,
      '--data',
      few.path,
      '--shifted',
      `dark=${at('shifted.safetensors')}`,
    ]);
    expect(code).toBe(0);
    expect(out.points.map((p: { alpha: number }) => p.alpha)).toEqual([-0.25, 0.5, 1.25]);
    for (const { alpha, scores } of out.points) {
      for (const [name, data] of [
        ['heldout', few],
        ['dark', shifted],
      ] as const) {
        const rows = await mixLogits(ends, [1 - alpha, alpha], data);
        expect(scores[name].loss).toBeCloseTo(lossOf(rows, few.labels), 4);
        expect(scores[name].accuracy).toBeCloseTo(accuracyOf(rows, few.labels), 12);
      }
    }
  });
});

describe('any evaluator', () => {
  const w = (name: string, ...values: number[]) =>
    putTensors(at(name), [tensor('w', 'F32', [values.length], values)]);
  /** ‖θ‖², from the weights of the mix. */
  const bowl =
    (thetas: readonly number[][]) =>
    ({ weights }: Candidate) => ({ loss: dot(mix(thetas, weights), mix(thetas, weights)) });

  it('a function of the soup: a bowl has its contours', async () => {
    const thetas = [
      [0, 0, 3],
      [2, 0, 3],
      [1, 1, 3],
    ];
    const paths = await Promise.all(thetas.map((t, i) => w(`b${i}.safetensors`, ...t)));
    const found = await landscape(paths, { evaluator: bowl(thetas), grid: 5, margin: 0 });
    for (const p of found.points) {
      expect(p.loss).toBeCloseTo(p.x ** 2 + p.y ** 2 + 9, 5);
      expect(p.accuracy).toBeNull();
    }
    const between = await line(paths.slice(0, 2), {
      evaluators: new Map([['held-out', bowl(thetas.slice(0, 2))]]),
      grid: 3,
    });
    expect(between.points.map((p) => p.scores['held-out']?.loss)).toEqual([9, 10, 13]);
  });

  it('what cannot be is refused', async () => {
    const [a, b, c] = await Promise.all([
      w('r0.safetensors', 1, 0),
      w('r1.safetensors', 2, 1),
      w('r2.safetensors', 3, 2),
    ]);
    const evaluator = () => ({ loss: 1 });
    const error = await failure(landscape([a, b, c], { evaluator }), 'MISMATCH');
    expect(error.message).toContain('one line');
    await failure(landscape([a, b], { evaluator }), 'USAGE');
    const d = await w('r3.safetensors', 0, 7);
    for (const wrong of [{ grid: 1 }, { grid: 2.5 }, { margin: -1 }, { margin: Number.NaN }])
      await failure(landscape([a, b, d], { evaluator, ...wrong }), 'USAGE');
    await failure(landscape([a, b, d], { evaluator, resume: at('r') }), 'USAGE');
    await failure(landscape([a, b, await w('r4.safetensors', 1)], { evaluator }), 'MISMATCH');
    const broken = { evaluator: () => Promise.reject(new Error('no')) };
    await expect(landscape([a, b, d], broken)).rejects.toThrow('no');
    const evaluators = new Map([['x', evaluator]]);
    await failure(line([a], { evaluators }), 'USAGE');
    await failure(line([a, b], { evaluators, grid: 1 }), 'USAGE');
    const opened: (string | Checkpoint)[] = [a, b];
    expect((await line(opened, { evaluators, grid: 2 })).points).toHaveLength(2);
  });
});

describe('the command', () => {
  it('gives the grid and the marks as JSON, and resumes', async () => {
    const args = [
      'landscape',
      ...three,
      '--data',
      few.path,
      '--grid',
      '3',
      '--soup',
      ingredient(1),
    ];
    const { code, out } = await json([...args, '--resume', at('cli')]);
    expect(code).toBe(0);
    expect(out.points).toHaveLength(9);
    expect(out.marks.map((m: { model: string }) => m.model)).toEqual([...three, ingredient(1)]);
    const based = await json([
      ...['landscape', ...three.slice(1), '--base', BASE, '--data', few.path, '--grid', '3'],
      ...['--soup', ingredient(1), '--resume', at('cli')],
    ]);
    expect({ ...based.out, seconds: 0 }).toEqual({ ...out, seconds: 0 });
  });

  it.each([
    [['--shifted', 'noise'], 'NAME=DATA'],
    [['--shifted', 'heldout=x'], 'taken'],
    [['--shifted', 'a=x'], '--line'],
    [['--line', '--soup', 'x'], '--soup'],
    [['--grid', '0'], 'whole number'],
    [['--margin', '-1'], '0 to 100'],
  ])('wrong usage exits with 2: %j', async (more, said) => {
    const { code, stderr } = await stockpot(['landscape', ...three, '--data', few.path, ...more]);
    expect(code).toBe(2);
    expect(stderr).toContain(said);
  });

  it('Ctrl-C exits with 130 and keeps what was evaluated; the next run goes on', async () => {
    const folder = at('interrupted');
    const args = ['landscape', ...three, '--data', few.path, '--grid', '12', '--resume', folder];
    const child = start(args);
    const ended = finished(child);
    const kept = async () =>
      (await readdir(folder).catch(() => [])).filter((n) => n.endsWith('.json'));
    while ((await kept()).length < 4) await setTimeout(5);
    child.kill('SIGINT');
    expect((await ended).code).toBe(130);
    const before = (await kept()).length;
    expect(before).toBeLessThan(12 * 12 + 3);
    expect((await readdir(folder)).filter((n) => n.endsWith('.partial'))).toEqual([]);
    const { code, out } = await json(args);
    expect([code, out.points.length]).toEqual([0, 144]);
    const fresh = await onDigits({ grid: 12 });
    expect(out.points).toEqual(fresh.points);
  });

  it('a dry run counts, and evaluates nothing', async () => {
    const { code, out } = await json(['landscape', ...three, '--grid', '4', '--dry-run']);
    expect(code).toBe(0);
    const bytes = (await Promise.all(three.map(flat))).reduce((n, w) => n + 2 * w.length, 0);
    expect(out).toMatchObject({ evaluations: 4 * 4 + 3, bytesRead: bytes, dryRun: true });
    const angles = await json(['angles', ...three, '--data', few.path, '--dry-run']);
    expect(angles.out).toMatchObject({ evaluations: 6, bytesRead: bytes });
    const gap = await json(['gap', ...three, '--alphas', '0.2,0.5', '--dry-run']);
    expect(gap.out).toMatchObject({ evaluations: 3 + 3 * 2 * 3, bytesRead: 0 });
  });

  it('a plane needs three, and data', async () => {
    const two = await stockpot(['landscape', ...three.slice(1), '--data', few.path]);
    expect([two.code, two.stderr]).toEqual([2, expect.stringContaining('the base and two')]);
    const bare = await stockpot(['landscape', ...three]);
    expect([bare.code, bare.stderr]).toEqual([2, expect.stringContaining('--data')]);
    const missing = await json(['landscape', ...three, '--data', join(at(), 'nowhere')]);
    expect([missing.code, missing.out.error.code]).toEqual([1, 'NOT_FOUND']);
  });
});
