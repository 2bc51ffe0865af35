import { describe, expect, it } from 'vitest';
import { readResult, wholeEvaluator } from '../../lib/evaluate/evaluator.js';
import { StockpotError } from '../../lib/index.js';

const labels = Int32Array.of(0, 1);
const rows = [
  [1, 0],
  [1, 0],
];

describe('what a function gives', () => {
  it('is the metric, or says it', () => {
    expect(readResult('f1', 0.25)).toEqual({ value: 0.25, metrics: { f1: 0.25 } });
    expect(readResult('loss', { loss: 2 }).value).toBe(2);
    const result = readResult('accuracy', { metrics: { accuracy: 0.5, f1: 1 }, loss: 3 });
    expect(result).toEqual({ value: 0.5, metrics: { accuracy: 0.5, f1: 1, loss: 3 } });
    expect(readResult('accuracy', Number.NaN).value).toBeNaN();
  });

  it('is taken from logits where the labels are known', () => {
    expect(readResult('accuracy', { logits: rows }, labels).value).toBe(0.5);
    const typed = readResult('loss', { logits: Float32Array.from(rows.flat()) }, labels, 2);
    expect(typed.value).toBeCloseTo(
      (Math.log(1 + Math.exp(-2)) + Math.log(1 + Math.exp(2))) / 2,
      7,
    );
    // What is said outright counts more than what can be worked out.
    expect(readResult('loss', { loss: 7, logits: rows }, labels).value).toBe(7);
  });

  it('is refused where it says nothing about the metric', () => {
    const refused = (call: () => unknown) => {
      expect(call).toThrow(StockpotError);
      expect(call).toThrow(/expected/);
    };
    refused(() => readResult('accuracy', { loss: 1 }));
    refused(() => readResult('accuracy', { logits: rows }));
    refused(() => readResult('accuracy', { logits: [[1, 2, 3]] }, labels));
    refused(() => readResult('accuracy', null as unknown as number));
    refused(() => readResult('accuracy', undefined as unknown as number));
    refused(() => wholeEvaluator('python eval.py' as unknown as () => number));
  });
});
