// Comparisons against PyTorch's counts (examples/digits/zoo.json), against the commands, and against plainer code.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { mcnemar } from '../../lib/analysis/bootstrap.js';
import { fitTemperature } from '../../lib/analysis/calibration.js';
import { type CompareOptions, compare } from '../../lib/analysis/compare/index.js';
import type { Comparison, MethodResult } from '../../lib/analysis/compare/types.js';
import { Random } from '../../lib/analysis/random.js';
import { ensemble } from '../../lib/evaluate/ensemble.js';
import { evaluate } from '../../lib/evaluate/evaluate.js';
import type { Candidate, ExampleEvaluator } from '../../lib/evaluate/evaluator.js';
import { allMetrics } from '../../lib/evaluate/metrics.js';
import { nativeEvaluator } from '../../lib/evaluate/native_evaluator.js';
import { learned } from '../../lib/recipes/learned.js';
import { root } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { numbers } from './made_up.js';

const at = useFolder();
const digits = join(root, 'examples/digits');
const zoo = JSON.parse(readFileSync(join(digits, 'zoo.json'), 'utf8'));
const ingredients = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => join(digits, `ingredients/ft0${i}`));
const heldout = join(digits, 'heldout');
const test = join(digits, 'test.tar');
const noise = join(digits, 'test-noise.tar');

const methodOf = (c: Comparison, id: string): MethodResult => {
  const found = c.methods.find((m) => m.id === id);
  if (!found) throw new Error(`no method ${id}`);
  return found;
};

describe('examples/digits', () => {
  let c: Comparison;
  const options = { data: heldout, test, shifted: { noise }, base: join(digits, 'base') };
  beforeAll(async () => {
    c = await compare(ingredients, { ...options, resamples: 200, orders: 2 });
  });

  const correct = (id: string, set: string) => {
    const of = methodOf(c, id).sets[set];
    const n = c.sets.find((s) => s.name === set)?.n as number;
    return Math.round((of?.accuracy.value as number) * n);
  };

  it('counts what PyTorch counted, for models and soups, on every set', () => {
    const scored: [string, Record<string, { correct: number; loss: number }>][] = [
      ['base', zoo.base.scores],
      ...ingredients.map((_, i): [string, Record<string, { correct: number; loss: number }>] => [
        `individual-${i}`,
        zoo.ingredients[`ft0${i}`].scores,
      ]),
      ['uniform', zoo.uniform_soup.scores],
      ['greedy', zoo.greedy_soup.scores],
    ];
    for (const [id, scores] of scored) {
      for (const [set, theirs] of [
        ['heldout', 'heldout'],
        ['test', 'test'],
        ['noise', 'test_noise'],
      ] as const) {
        expect([id, set, correct(id, set)]).toEqual([id, set, scores[theirs]?.correct]);
        expect(methodOf(c, id).sets[set]?.loss.value).toBeCloseTo(
          scores[theirs]?.loss as number,
          4,
        );
      }
    }
  });

  it('takes the greedy soup that PyTorch took', () => {
    const names = methodOf(c, 'greedy').members.map((i) => `ft0${i}`);
    expect(names).toEqual(zoo.greedy_soup.members);
    expect(c.reference).toBe('individual-5');
  });

  it('has the ensembles that `ensemble` has', async () => {
    for (const [id, greedy] of [
      ['ensemble', false],
      ['greedy-ensemble', true],
    ] as const) {
      const members = (await ensemble(ingredients, { data: heldout, greedy })).members;
      const mine = methodOf(c, id);
      expect(mine.members).toEqual(members);
      const theirs = await ensemble(
        members.map((i) => ingredients[i] as string),
        { data: test },
      );
      const found = mine.sets.test as MethodResult['sets'][string];
      expect(found.accuracy.value).toBe(theirs.accuracy);
      expect(found.loss.value).toBeCloseTo(theirs.loss, 12);
      expect(found.ece.value).toBeCloseTo(theirs.ece, 12);
      expect(mine.cost.passes).toBe(members.length);
      expect(mine.cost.flops).toBe((c.flops as number) * members.length);
    }
  });

  it('marks the oracle, which is the best of each set', () => {
    const oracle = methodOf(c, 'oracle');
    expect(oracle.looksAtTest).toBe(true);
    for (const { name } of c.sets) {
      const all = ingredients.map((_, i) => correct(`individual-${i}`, name));
      expect(correct('oracle', name)).toBe(Math.max(...all));
      expect(oracle.chosen?.[name]).toBe(all.indexOf(Math.max(...all)));
    }
    expect(c.methods.filter((m) => m.looksAtTest).map((m) => m.id)).toEqual(['oracle']);
  });

  it('ends its curves with the soups and ensembles of all', () => {
    const last = c.curve.at(-1) as Comparison['curve'][number];
    for (const { name } of c.sets) {
      for (const kind of ['uniform', 'greedy', 'ensemble'] as const)
        expect(last[kind][name]).toEqual(methodOf(c, kind).sets[name]?.accuracy);
      expect(c.curve[0]?.uniform[name]).toEqual(methodOf(c, c.reference).sets[name]?.accuracy);
      expect(last.soupMinusEnsemble[name]?.value).toBeCloseTo(
        (last.uniform[name]?.value as number) - (last.ensemble[name]?.value as number),
        12,
      );
    }
    expect(c.curve.map((p) => p.n)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('gives intervals that hold their values, and differences that are paired', () => {
    for (const m of c.methods) {
      for (const { name } of c.sets) {
        const r = m.sets[name] as MethodResult['sets'][string];
        for (const i of [r.accuracy, r.loss, r.ece]) {
          expect(i.low).toBeLessThanOrEqual(i.value);
          expect(i.high).toBeGreaterThanOrEqual(i.value);
        }
        if (m.id === c.reference) {
          expect(r.difference).toBeNull();
          continue;
        }
        const n = c.sets.find((s) => s.name === name)?.n as number;
        const d = r.difference as NonNullable<typeof r.difference>;
        expect(d.value).toBeCloseTo((d.better - d.worse) / n, 12);
        expect(d.p).toBe(mcnemar(d.better, d.worse));
        // Models of one family err on the same examples: pairing must show.
        const apart = methodOf(c, c.reference).sets[name]?.accuracy;
        if (m.kind === 'greedy')
          expect(d.high - d.low).toBeLessThan(
            Math.hypot(
              r.accuracy.high - r.accuracy.low,
              (apart?.high as number) - (apart?.low as number),
            ),
          );
      }
    }
  });

  it.each(['model', 'layer'] as const)(
    'takes the learned soup that `learned` makes: by %s',
    async (by) => {
      const few = ingredients.slice(0, 3);
      const found = await compare(few, {
        data: heldout,
        test,
        learned: [by],
        orders: 0,
        resamples: 100,
      });
      const soup = at(`learned-${by}`);
      const evaluator = await nativeEvaluator(few, { data: heldout });
      const made = await learned(few, soup, { evaluator, by });
      await evaluator.close();
      const [measured] = (await evaluate([soup], { data: test })).models;
      const mine = methodOf(found, 'learned');
      expect(mine.sets.heldout?.accuracy.value).toBe(made.accuracy);
      expect(mine.sets.test?.loss.value).toBeCloseTo(measured?.loss as number, 12);
      expect(mine.weights).toEqual(by === 'model' ? made.alpha : null);
      expect(mine.members).toEqual([0, 1, 2]);
    },
  );

  it('is the same again, and another with another seed only in what is random', async () => {
    const less = { ...options, resamples: 100, orders: 1 };
    const [a, b, other] = [
      await compare(ingredients.slice(0, 3), less),
      await compare(ingredients.slice(0, 3), less),
      await compare(ingredients.slice(0, 3), { ...less, seed: 1 }),
    ];
    const { seconds: _a, ...one } = a;
    const { seconds: _b, ...again } = b;
    expect(again).toEqual(one);
    expect(other.methods[0]?.sets.test?.accuracy.value).toBe(
      a.methods[0]?.sets.test?.accuracy.value,
    );
    expect(other.methods[0]?.sets.test?.accuracy).not.toEqual(a.methods[0]?.sets.test?.accuracy);
  });

  it('measures a soup that was given like any model', async () => {
    const soup = ingredients[3] as string;
    const found = await compare(ingredients.slice(0, 2), {
      data: heldout,
      soups: [soup],
      recipes: false,
      resamples: 100,
    });
    expect(found.methods.map((m) => m.kind)).toEqual(['individual', 'individual', 'soup']);
    const [measured] = (await evaluate([soup], { data: heldout })).models;
    expect(found.methods[2]?.sets.heldout?.accuracy.value).toBe(measured?.accuracy);
    expect(found.curve).toEqual([]);
  });
});

/** An evaluator whose logits follow from the weights alone, and that remembers what it was asked. */
function madeUpEvaluator(k: number, n: number, seed: number, classes = 3) {
  const random = numbers(seed);
  const labels = Int32Array.from({ length: n }, () => Math.floor(classes * random()));
  const tables = Array.from({ length: k }, () =>
    Array.from({ length: n * classes }, (_, j) => {
      const isLabel = j % classes === labels[Math.floor(j / classes)];
      return 3 * (random() - 0.5) + (isLabel ? 0.7 : 0);
    }),
  );
  const runs: { key: string; example: number }[] = [];
  const logitsOf = (weights: readonly number[]): Float32Array =>
    Float32Array.from({ length: n * classes }, (_, j) => {
      const mixed = weights.reduce((s, w, i) => s + w * ((tables[i] as number[])[j] as number), 0);
      // Soups are not ensembles.
      const spread = weights.reduce((s, w) => s + w * w, 0);
      return mixed + (1 - spread) * Math.sin(3 * mixed);
    });
  const evaluator: ExampleEvaluator = {
    id: `made up ${seed}`,
    labels,
    numClasses: classes,
    async *batches(soup: Candidate, order: Int32Array) {
      const all = logitsOf(soup.weights);
      for (let at = 0; at < order.length; at += 7) {
        const examples = order.subarray(at, at + 7);
        const logits = new Float32Array(examples.length * classes);
        for (const [r, i] of examples.entries()) {
          logits.set(all.subarray(i * classes, (i + 1) * classes), r * classes);
          runs.push({ key: soup.weights.join(' '), example: i });
        }
        yield { examples, logits };
      }
    },
  };
  const accuracyOf = (weights: readonly number[], examples: readonly number[]) => {
    const all = logitsOf(weights);
    const right = examples.filter((i) => {
      const row = [...all.subarray(i * classes, (i + 1) * classes)];
      return row.indexOf(Math.max(...row)) === labels[i];
    });
    return right.length / examples.length;
  };
  return { evaluator, labels, logitsOf, accuracyOf, runs, all: [...labels.keys()] };
}

describe('an evaluator of the caller', () => {
  const k = 5;
  const one = ingredients.slice(0, k);
  const mean = (members: readonly number[]) =>
    Array.from({ length: k }, (_, i) => (members.includes(i) ? 1 / members.length : 0));
  type MadeUp = ReturnType<typeof madeUpEvaluator>;

  /** The recipe in the paper's words, every soup evaluated in full. */
  function greedily(e: MadeUp, order: readonly number[], examples: readonly number[]): number[] {
    let members: number[] = [];
    let best = -1;
    for (const i of order) {
      const value = e.accuracyOf(mean([...members, i]), examples);
      if (value >= best) {
        members = [...members, i];
        best = value;
      }
    }
    return members;
  }
  const bestFirst = (e: MadeUp, examples: readonly number[]) => {
    const values = Array.from({ length: k }, (_, i) => e.accuracyOf(mean([i]), examples));
    return [...values.keys()].sort(
      (a, b) => (values[b] as number) - (values[a] as number) || a - b,
    );
  };

  it.each([1, 2, 3, 4, 5, 6])('gives the decisions of plain code: seed %i', async (seed) => {
    const [h, t] = [madeUpEvaluator(k, 60, seed), madeUpEvaluator(k, 90, 100 + seed)];
    const c = await compare(one, {
      data: h.evaluator,
      test: t.evaluator,
      orders: 3,
      resamples: 100,
      seed,
    });
    const order = bestFirst(h, h.all);
    expect(c.order).toEqual(order);
    expect(methodOf(c, 'greedy').members).toEqual(greedily(h, order, h.all));
    for (const r of [0, 1, 2]) {
      const m = methodOf(c, `greedy-random-${r}`);
      expect(m.order).toEqual(new Random(seed, 0, r).permutation(k));
      expect(m.members).toEqual(greedily(h, m.order as number[], h.all));
      expect(m.sets.test?.accuracy.value).toBeCloseTo(t.accuracyOf(mean(m.members), t.all), 12);
    }
    c.curve.forEach((p, i) => {
      const first = order.slice(0, i + 1);
      expect(p.uniform.test?.value).toBeCloseTo(t.accuracyOf(mean(first), t.all), 12);
      expect(p.greedy.test?.value).toBeCloseTo(
        t.accuracyOf(mean(greedily(h, first, h.all)), t.all),
        12,
      );
      const outputs = first.map((j) => t.logitsOf(mean([j])));
      const averaged = (outputs[0] as Float32Array).map(
        (_, j) => outputs.reduce((s, o) => s + (o[j] as number), 0) / first.length,
      );
      expect(p.ensemble.test?.value).toBe(allMetrics(averaged, t.labels).accuracy);
    });
    const { sets, beta } = methodOf(c, 'uniform');
    const logits = h.logitsOf(mean([0, 1, 2, 3, 4]));
    expect(beta).toBe(fitTemperature(logits, h.labels));
    const after = allMetrics(t.logitsOf(mean([0, 1, 2, 3, 4])), t.labels, beta as number);
    expect(sets.test?.calibrated?.ece.value).toBeCloseTo(after.ece, 12);
    expect(sets.test?.calibrated?.loss.value).toBeCloseTo(after.loss, 12);
  });

  it('runs each model once on each example, and stops where a candidate is lost', async () => {
    const h = madeUpEvaluator(k, 200, 9);
    const c = await compare(one, {
      data: h.evaluator,
      orders: 4,
      resamples: 100,
      subset: [20, 80],
    });
    expect(c.examplesRun).toBe(h.runs.length);
    for (let i = 0; i < k; i++) {
      const key = mean([i]).join(' ');
      expect(h.runs.filter((r) => r.key === key)).toHaveLength(200);
    }
    const keys = [...new Set(h.runs.map((r) => r.key))];
    const rejectedEarly = keys.filter(
      (key) => new Set(h.runs.filter((r) => r.key === key).map((r) => r.example)).size < 200,
    );
    expect(rejectedEarly.length).toBeGreaterThan(0);
  });

  it.each([
    ['a test set', true],
    ['the rest of the held-out set', false],
  ])('tries small held-out sets, judged by %s', async (_, withTest) => {
    const [h, t] = [madeUpEvaluator(k, 80, 21), madeUpEvaluator(k, 70, 22)];
    const c = await compare(one, {
      data: h.evaluator,
      ...(withTest ? { test: t.evaluator } : {}),
      resamples: 100,
      subset: [30, 8],
      repeats: 4,
      seed: 5,
      orders: 0,
    });
    expect(c.subset?.sizes.map((s) => s.n)).toEqual([8, 30]);
    expect(c.subset?.judge).toBe(withTest ? 'test' : 'the rest of the held-out set');
    for (const { n, rows } of c.subset?.sizes ?? []) {
      for (let r = 0; r < 4; r++) {
        const drawn = new Random(5, 1, r).permutation(80);
        const [subset, rest] = [drawn.slice(0, n), drawn.slice(n)];
        const order = bestFirst(h, subset);
        const judge = (members: readonly number[]) =>
          withTest ? t.accuracyOf(mean(members), t.all) : h.accuracyOf(mean(members), rest);
        const wanted = {
          individual: [order[0] as number],
          uniform: [0, 1, 2, 3, 4],
          greedy: greedily(h, order, subset),
        };
        for (const [kind, members] of Object.entries(wanted)) {
          const row = rows.find((x) => x.kind === kind);
          expect(row?.members[r]).toBe(members.length);
          expect(row?.seen[r]).toBeCloseTo(h.accuracyOf(mean(members), subset), 12);
          expect(row?.judged[r]).toBeCloseTo(judge(members), 12);
        }
      }
      const row = rows[2] as (typeof rows)[number];
      const average = row.judged.reduce((s, x) => s + x, 0) / 4;
      expect(row.mean.value).toBeCloseTo(average, 12);
      expect(row.noise).toBeCloseTo(
        Math.sqrt(row.judged.reduce((s, x) => s + (x - average) ** 2, 0) / 3),
        12,
      );
    }
  });

  it('takes logits that are not finite as wrong, and fits no temperature to them', async () => {
    const h = madeUpEvaluator(2, 20, 31);
    const broken: ExampleEvaluator = {
      ...h.evaluator,
      async *batches(soup, order, options) {
        for await (const b of h.evaluator.batches(soup, order, options)) {
          if (soup.weights[1] === 1) b.logits.fill(Number.NaN);
          yield b;
        }
      },
    };
    const c = await compare(one.slice(0, 2), { data: broken, resamples: 100 });
    expect(methodOf(c, 'individual-1').beta).toBeNull();
    expect(methodOf(c, 'individual-1').sets.heldout?.accuracy.value).toBe(0);
    expect(c.reference).toBe('individual-0');
  });

  it('is told when it gives too few', async () => {
    const h = madeUpEvaluator(2, 20, 31);
    const short: ExampleEvaluator = {
      ...h.evaluator,
      batches: (soup, order, options) => h.evaluator.batches(soup, order.subarray(1), options),
    };
    const error = await failure(compare(one.slice(0, 2), { data: short }), 'USAGE');
    expect(error.message).toContain('19 of 20');
  });
});

describe('what cannot be', () => {
  it.each<[string, Partial<CompareOptions>, RegExp]>([
    ['a subset as large as the set', { subset: [300] }, /heldout, which has 300 examples/],
    ['half an order', { orders: 1.5 }, /orders/],
    ['no resamples', { resamples: 1 }, /resamples/],
    ['a level of 1', { level: 1 }, /level/],
    ['a shifted set called test', { shifted: { test } }, /"test" cannot be the name/],
    ['a negative seed', { seed: -1 }, /seed/],
  ])('%s', async (_, wrong, message) => {
    const error = await failure(
      compare(ingredients.slice(0, 2), { data: heldout, ...wrong }),
      'USAGE',
    );
    expect(error.message).toMatch(message);
  });

  it('no ingredient', () => failure(compare([], { data: heldout }), 'USAGE'));

  it('an abort in the middle', async () => {
    const stop = new AbortController();
    const running = compare(ingredients, {
      data: heldout,
      signal: stop.signal,
      onStep: () => stop.abort(),
    });
    await failure(running, 'ABORTED');
  });
});

it('one ingredient is compared with nothing', async () => {
  const c = await compare(ingredients.slice(0, 1), { data: heldout, resamples: 100 });
  expect(c.methods.map((m) => m.id)).toEqual(['individual-0']);
  expect(c.curve).toEqual([]);
});
