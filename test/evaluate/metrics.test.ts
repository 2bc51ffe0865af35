import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accuracy, allMetrics, scoresOf } from '../../lib/evaluate/metrics.js';
import { crossEntropy } from '../../lib/learn/loss.js';

const logits = (...rows: number[][]): Float32Array => Float32Array.from(rows.flat());
const labels = (...l: number[]): Int32Array => Int32Array.from(l);

/** Random logits and labels; `round` makes ties. */
const cases = fc
  .record({ n: fc.integer({ min: 1, max: 40 }), classes: fc.integer({ min: 1, max: 6 }) })
  .chain(({ n, classes }) =>
    fc.record({
      classes: fc.constant(classes),
      values: fc.array(fc.float({ min: -8, max: 8, noNaN: true }), {
        minLength: n * classes,
        maxLength: n * classes,
      }),
      round: fc.boolean(),
      labels: fc.array(fc.nat(classes - 1), { minLength: n, maxLength: n }),
    }),
  )
  .map(({ classes, values, round, labels: l }) => ({
    classes,
    logits: Float32Array.from(values, (v) => (round ? Math.round(v / 4) : v)),
    labels: Int32Array.from(l),
  }));

/** The definitions as scikit-learn writes them: a confusion matrix first. */
function reference(c: { classes: number; logits: Float32Array; labels: Int32Array }) {
  const rows = Array.from(c.labels, (_, i) => [
    ...c.logits.slice(i * c.classes, (i + 1) * c.classes),
  ]);
  const predictions = rows.map((r) => r.indexOf(Math.max(...r)));
  const probabilities = rows.map((r) => {
    const e = r.map((x) => Math.exp(x));
    const sum = e.reduce((a, b) => a + b);
    return e.map((x) => x / sum);
  });
  const n = rows.length;
  const confusion = Array.from({ length: c.classes }, (_, t) =>
    Array.from(
      { length: c.classes },
      (_, p) => predictions.filter((q, i) => q === p && c.labels[i] === t).length,
    ),
  );
  const at = (t: number, p: number) => confusion[t]?.[p] as number;
  const classes = [...Array(c.classes).keys()];
  const total = (f: (k: number) => number) => classes.reduce((s, k) => s + f(k), 0);
  const precisionRecallF1 = (k: number) => {
    const tp = at(k, k);
    const predicted = total((t) => at(t, k));
    const real = total((p) => at(k, p));
    const precision = predicted ? tp / predicted : 0;
    const recall = real ? tp / real : 0;
    const f1 = precision + recall ? (2 * precision * recall) / (precision + recall) : 0;
    return { f1, occurs: predicted + real > 0 };
  };
  const each = classes.map(precisionRecallF1).filter((x) => x.occurs);
  // matthews_corrcoef: covariances of one-hot labels and predictions.
  const cov = (x: (i: number, k: number) => number, y: (i: number, k: number) => number) =>
    total((k) => {
      const xs = rows.map((_, i) => x(i, k));
      const ys = rows.map((_, i) => y(i, k));
      const mean = (v: number[]) => v.reduce((a, b) => a + b) / n;
      return mean(xs.map((v, i) => v * (ys[i] as number))) - mean(xs) * mean(ys);
    });
  const truth = (i: number, k: number) => Number(c.labels[i] === k);
  const guess = (i: number, k: number) => Number(predictions[i] === k);
  const denominator = Math.sqrt(cov(truth, truth)) * Math.sqrt(cov(guess, guess));
  let ece = 0;
  for (let b = 0; b < 15; b++) {
    const inside = rows
      .map((_, i) => i)
      .filter((i) => {
        const confidence = Math.max(...(probabilities[i] as number[]));
        return confidence > b / 15 && confidence <= (b + 1) / 15;
      });
    if (inside.length === 0) continue;
    const right = inside.filter((i) => predictions[i] === c.labels[i]).length / inside.length;
    const confidence =
      inside.reduce((s, i) => s + Math.max(...(probabilities[i] as number[])), 0) / inside.length;
    ece += (inside.length / n) * Math.abs(right - confidence);
  }
  return {
    n,
    accuracy: predictions.filter((p, i) => p === c.labels[i]).length / n,
    loss:
      probabilities.reduce((s, p, i) => s - Math.log(p[c.labels[i] as number] as number), 0) / n,
    f1:
      c.classes === 2 ? precisionRecallF1(1).f1 : each.reduce((s, x) => s + x.f1, 0) / each.length,
    matthews: denominator > 1e-12 ? cov(truth, guess) / denominator : 0,
    ece,
  };
}

describe('metrics', () => {
  it('equal their definitions', () => {
    fc.assert(
      fc.property(cases, (c) => {
        const made = allMetrics(c.logits, c.labels);
        const { ece, ...wanted } = reference(c);
        for (const [name, value] of Object.entries(wanted))
          expect(made[name as keyof typeof made], name).toBeCloseTo(value, 9);
        expect(accuracy(c.logits, c.labels)).toBe(made.accuracy);
        // A confidence on an edge between bins may round to either side of it in the reference.
        const onEdge = [...scoresOf(c.logits, c.labels).confidence].some(
          (x) => Math.abs(x * 15 - Math.round(x * 15)) < 1e-9,
        );
        if (!onEdge) expect(made.ece).toBeCloseTo(ece, 9);
      }),
      { numRuns: 300 },
    );
  });

  it('of a case worked out by hand', () => {
    // Predictions 0, 1, 1, 2 of labels 0, 1, 2, 2.
    const m = allMetrics(logits([2, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2]), labels(0, 1, 2, 2));
    expect(m.n).toBe(4);
    expect(m.accuracy).toBe(0.75);
    expect(m.f1).toBeCloseTo((1 + 2 / 3 + 2 / 3) / 3, 12);
    // (right·n − Σ l·p) / √(n² − Σp²) / √(n² − Σl²) = (12 − 5) / √10 / √10
    expect(m.matthews).toBeCloseTo(0.7, 12);
    const p = Math.E ** 2 / (Math.E ** 2 + 2);
    expect(m.loss).toBeCloseTo((-3 * Math.log(p) - Math.log((1 - p) / 2)) / 4, 7);
    expect(m.ece).toBeCloseTo(Math.abs(0.75 - p), 7);
  });

  it('takes class 1 for F1 where there are two classes', () => {
    const m = allMetrics(logits([0, 1], [0, 1], [1, 0], [1, 0]), labels(1, 0, 1, 0));
    expect(m.f1).toBe(0.5);
    expect(allMetrics(logits([1, 0]), labels(0)).f1).toBe(0);
  });

  it('takes the lowest class of equal logits', () => {
    expect(accuracy(logits([1, 1, 0], [0, 1, 1], [3, 3, 3]), labels(0, 1, 0))).toBe(1);
    expect(accuracy(logits([1, 1, 0]), labels(1))).toBe(0);
  });

  it('counts logits that are not finite as wrong, and says that the loss is undefined', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const m = allMetrics(logits([bad, 0], [1, 0]), labels(0, 0));
      expect(m.accuracy).toBe(0.5);
      expect(m.loss).toBeNaN();
      expect(m.ece).toBeNaN();
      expect(m.f1).toBe(0);
    }
    for (const row of [
      [0, Number.NaN, 0],
      [Number.NaN, 9, Number.NaN],
      [Number.NEGATIVE_INFINITY, Number.NaN, Number.NEGATIVE_INFINITY],
      [Number.NaN, Number.NaN, Number.NaN],
    ]) {
      for (const label of [0, 1, 2]) {
        const m = allMetrics(logits(row), labels(label));
        expect([m.accuracy, m.f1]).toEqual([0, 0]);
        expect([m.loss, m.ece]).toEqual([Number.NaN, Number.NaN]);
        expect(crossEntropy(Float32Array.from(row), [label], 1, 1).loss).toBeNaN();
      }
    }
    const masked = allMetrics(logits([1, Number.NEGATIVE_INFINITY]), labels(0));
    expect([masked.accuracy, masked.loss]).toEqual([0, 0]);
  });

  it('puts confidences on an edge into the bin below', () => {
    // Five equal logits: confidence exactly 1/5 = 3/15, of which one in five is right: no error in one bin.
    const rows = Array.from({ length: 5 }, () => [0, 0, 0, 0, 0]);
    expect(allMetrics(logits(...rows), labels(0, 1, 2, 3, 4)).ece).toBeCloseTo(0, 15);
    // Just above it is another bin, which is then wrong by itself.
    const mixed = allMetrics(logits([0, 0, 0, 0, 0], [1e-3, 0, 0, 0, 0]), labels(0, 1));
    expect(mixed.ece).toBeCloseTo(0.5, 3);
  });

  it('scales logits before the softmax', () => {
    const z = logits([1, 3], [2, 1]);
    expect(allMetrics(z, labels(0, 1), 2.5).loss).toBeCloseTo(
      allMetrics(
        z.map((x) => x * 2.5),
        labels(0, 1),
      ).loss,
      12,
    );
    expect(allMetrics(logits([1000, 0]), labels(1), 1).loss).toBe(1000);
    expect(allMetrics(z, labels(0, 1), -1).loss).toBeCloseTo(
      allMetrics(
        z.map((x) => -x),
        labels(0, 1),
      ).loss,
      12,
    );
  });
});
