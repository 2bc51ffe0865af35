import { describe, expect, it } from 'vitest';
import { adamW, noMoments } from '../../lib/learn/adamw.js';
import { crossEntropy } from '../../lib/learn/loss.js';
import { Minibatches } from '../../lib/learn/minibatches.js';
import { byRaw, coefficients } from '../../lib/learn/parametrisation.js';

describe('AdamW', () => {
  it("takes torch.optim.AdamW's steps", () => {
    // torch 2: p = tensor([1, -2], float64), g = p ** 3 + 0.1, lr 0.1, weight_decay 0.01, three steps.
    const p = Float64Array.of(1, -2);
    const moments = noMoments(2);
    for (let step = 1; step <= 3; step++) {
      const g = p.map((x) => x ** 3 + 0.1);
      adamW(p, g, moments, step, { lr: 0.1, weightDecay: 0.01 });
    }
    expect(p[0]).toBeCloseTo(0.703651272963577, 12);
    expect(p[1]).toBeCloseTo(-1.6970135882574002, 12);
  });
});

describe('the loss of β·logits', () => {
  const logits = Float32Array.of(1, 2, -1, 0.5, 0.25, 3);
  const labels = [1, 0];
  const loss = (z: ArrayLike<number>, beta: number) =>
    labels.reduce((sum, y, r) => {
      const row = Array.from({ length: 3 }, (_, c) => beta * (z[3 * r + c] as number));
      return sum + Math.log(row.reduce((s, x) => s + Math.exp(x), 0)) - (row[y] as number);
    }, 0) / 2;

  it('and its derivatives agree with differences', () => {
    const found = crossEntropy(logits, labels, 1.3, 2);
    expect(found.loss / 2).toBeCloseTo(loss(logits, 1.3), 12);
    const step = 1e-6;
    for (let i = 0; i < 6; i++) {
      const moved = (by: number) => Float64Array.from(logits, (x, j) => (i === j ? x + by : x));
      const slope = (loss(moved(step), 1.3) - loss(moved(-step), 1.3)) / (2 * step);
      expect(found.logits[i]).toBeCloseTo(slope, 7);
    }
    const slope = (loss(logits, 1.3 + step) - loss(logits, 1.3 - step)) / (2 * step);
    expect(found.beta / 2).toBeCloseTo(slope, 8);
  });

  it('adds up over parts to the same bits', () => {
    const whole = crossEntropy(logits, labels, 0.7, 2);
    const first = crossEntropy(logits.subarray(0, 3), [1], 0.7, 2);
    const second = crossEntropy(logits.subarray(3), [0], 0.7, 2, first);
    expect(second.loss).toBe(whole.loss);
    expect(second.beta).toBe(whole.beta);
    expect([...first.logits, ...second.logits]).toEqual([...whole.logits]);
  });

  it('is finite for logits beyond the range of exp', () => {
    const found = crossEntropy(Float32Array.of(5000, -5000, 0), [0], 1, 1);
    expect(found.loss).toBe(0);
    expect([...found.logits].every(Number.isFinite)).toBe(true);
  });
});

describe('coefficients', () => {
  it('of raw weights that are equal are equal, and sum to one', () => {
    expect([...coefficients('softmax', Float64Array.of(3, 3))]).toEqual([0.5, 0.5]);
    const large = coefficients('softmax', Float64Array.of(1000, 0, -1000));
    expect([...large]).toEqual([1, 0, 0]);
  });

  it("derivatives follow the softmax's", () => {
    const raw = Float64Array.of(0.3, -0.2, 1.1);
    const g = Float64Array.of(1, -2, 0.5);
    const value = (r: Float64Array) =>
      coefficients('softmax', r).reduce((s, a, i) => s + a * (g[i] as number), 0);
    const found = byRaw('softmax', coefficients('softmax', raw), g);
    raw.forEach((_, i) => {
      const moved = (by: number) => raw.map((x, j) => (i === j ? x + by : x));
      expect(found[i]).toBeCloseTo((value(moved(1e-6)) - value(moved(-1e-6))) / 2e-6, 8);
    });
  });
});

describe('minibatches', () => {
  it('take every example once an epoch, in another order each, the same for the same seed', () => {
    const epoch = (batches: Minibatches, e: number) =>
      Array.from({ length: batches.perEpoch }, (_, i) => [
        ...batches.examples(e * batches.perEpoch + i),
      ]);
    const batches = new Minibatches(10, 4, 7);
    const [first, second] = [epoch(batches, 0), epoch(batches, 1)];
    expect(first.map((b) => b.length)).toEqual([4, 4, 2]);
    for (const e of [first, second])
      expect(e.flat().sort((a, b) => a - b)).toEqual([...Array(10).keys()]);
    expect(first).not.toEqual(second);
    expect(epoch(new Minibatches(10, 4, 7), 1)).toEqual(second);
    expect(epoch(new Minibatches(10, 4, 8), 1)).not.toEqual(second);
  });

  it('of all examples keep their order', () => {
    expect([...new Minibatches(5, 5, 3).examples(4)]).toEqual([0, 1, 2, 3, 4]);
  });
});
