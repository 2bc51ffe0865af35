import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  emptyScores,
  type Metric,
  metricsOf,
  type Scores,
  scoresOf,
} from '../../lib/evaluate/metrics.js';
import { type Accept, isBetter, isKept, startTrial } from '../../lib/evaluate/rejection.js';

interface Case {
  metric: Metric;
  accept: Accept;
  labels: Int32Array;
  best: Scores;
  candidate: Scores;
  classes: number;
  batch: number;
}

/** Candidates close to the best soup, so that both decisions are common; `bad` puts NaN or infinity in. */
const cases: fc.Arbitrary<Case> = fc
  .record({
    metric: fc.constantFrom<Metric>('accuracy', 'loss', 'f1', 'matthews'),
    accept: fc.constantFrom<Accept>('ge', 'gt'),
    n: fc.integer({ min: 1, max: 60 }),
    classes: fc.integer({ min: 2, max: 4 }),
    seed: fc.integer(),
    change: fc.constantFrom(0, 1e-7, 0.05, 0.5, 3),
    drift: fc.constantFrom(-0.5, 0, 0.5),
    bad: fc.constantFrom(null, null, null, Number.NaN, Number.POSITIVE_INFINITY),
    badIn: fc.constantFrom('best', 'candidate'),
    batch: fc.constantFrom(1, 2, 7, 100),
    coarse: fc.boolean(),
  })
  .map((c) => {
    let state = c.seed >>> 0;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const labels = Int32Array.from({ length: c.n }, () => Math.floor(random() * c.classes));
    const best = Float32Array.from({ length: c.n * c.classes }, (_, i) => {
      const right = labels[Math.floor(i / c.classes)] === i % c.classes;
      const x = 4 * random() + (right ? 1.5 : 0);
      return c.coarse ? Math.round(x) : x;
    });
    const candidate = best.map((x, i) => {
      const right = labels[Math.floor(i / c.classes)] === i % c.classes;
      const y = x + c.change * (random() - 0.5) + (right ? c.drift * c.change : 0);
      return c.coarse ? Math.round(y) : y;
    });
    if (c.bad !== null)
      (c.badIn === 'best' ? best : candidate)[Math.floor(random() * best.length)] = c.bad;
    return { ...c, labels, best: scoresOf(best, labels), candidate: scoresOf(candidate, labels) };
  });

/** Runs a trial; scores that were not asked for stay unknown. */
function run({ metric, accept, best, labels, candidate, batch, classes }: Case) {
  const trial = startTrial(metric, accept, best, labels);
  const seen = emptyScores(labels.length);
  let evaluated = 0;
  while (evaluated < labels.length && !trial.hopeless) {
    const part = trial.order.subarray(evaluated, evaluated + batch);
    for (const i of part)
      for (const name of ['prediction', 'loss', 'margin', 'confidence'] as const)
        seen[name][i] = candidate[name][i] as number;
    trial.add(part, seen);
    evaluated += part.length;
  }
  const finished = evaluated === labels.length;
  const value = finished ? metricsOf(seen, labels, classes)[metric] : null;
  return { trial, value, evaluated };
}

describe('early rejection', () => {
  it('behaviour 27: decides as a full evaluation does, and gives the same metric where it keeps', () => {
    let rejected = 0;
    let kept = 0;
    fc.assert(
      fc.property(cases, (c) => {
        const bestValue = metricsOf(c.best, c.labels, c.classes)[c.metric];
        const full = metricsOf(c.candidate, c.labels, c.classes)[c.metric];
        const wanted = isKept(c.metric, c.accept, full, bestValue);
        const { value } = run(c);
        const decision = value !== null && isKept(c.metric, c.accept, value, bestValue);
        expect(decision).toBe(wanted);
        if (value !== null) expect(value).toBe(full);
        else rejected++;
        if (decision) kept++;
      }),
      { numRuns: 3000 },
    );
    // The property says nothing where one of them hardly happens.
    expect(rejected).toBeGreaterThan(300);
    expect(kept).toBeGreaterThan(300);
  });

  it('asks for every example once', () => {
    fc.assert(
      fc.property(cases, (c) => {
        const { order } = startTrial(c.metric, c.accept, c.best, c.labels);
        expect([...order].sort((a, b) => a - b)).toEqual([...c.labels.keys()]);
      }),
    );
  });

  it('begins with what the best soup gets wrong, then rising margins', () => {
    const labels = Int32Array.of(0, 0, 0, 0, 0);
    const best = scoresOf(Float32Array.of(5, 0, 0, 1, 1, 0, 0, 9, 3, 0), labels);
    const { order } = startTrial('accuracy', 'ge', best, labels);
    expect([...order]).toEqual([1, 3, 2, 4, 0]);
  });

  it('sees little more than what the best soup gets wrong of a candidate that is worse', () => {
    // 84 % right, a candidate that flips the 5 % with the smallest margins and gains nothing.
    const n = 10_000;
    const labels = new Int32Array(n);
    const logits = Float32Array.from({ length: 2 * n }, (_, i) =>
      i % 2 ? 0 : i / 2 < 0.16 * n ? -1 : i / n,
    );
    const worse = logits.map((x, i) => (i % 2 === 0 && x > 0 && i / 2 < 0.21 * n ? -1 : x));
    const c: Case = {
      metric: 'accuracy',
      accept: 'ge',
      labels,
      classes: 2,
      batch: 100,
      best: scoresOf(logits, labels),
      candidate: scoresOf(worse, labels),
    };
    expect(run(c)).toMatchObject({ value: null, evaluated: 1700 });
  });

  it('needs no example of a soup that cannot be better', () => {
    const labels = Int32Array.of(0, 1);
    const best = scoresOf(Float32Array.of(1, 0, 0, 1), labels);
    expect(startTrial('accuracy', 'gt', best, labels).hopeless).toBe(true);
    expect(startTrial('accuracy', 'ge', best, labels).hopeless).toBe(false);
  });

  it('has NaN lose against every number', () => {
    expect(isBetter('accuracy', 0, Number.NaN)).toBe(true);
    expect(isBetter('loss', 9, Number.NaN)).toBe(true);
    expect(isBetter('loss', Number.NaN, Number.NaN)).toBe(false);
    for (const accept of ['ge', 'gt'] as const) {
      expect(isKept('accuracy', accept, Number.NaN, Number.NaN)).toBe(false);
      expect(isKept('loss', accept, Number.NaN, 1)).toBe(false);
      expect(isKept('loss', accept, 1, Number.NaN)).toBe(true);
    }
    expect(isKept('loss', 'ge', 1, 1)).toBe(true);
    expect(isKept('loss', 'gt', 1, 1)).toBe(false);
  });
});
