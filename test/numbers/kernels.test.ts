import { describe, expect, it } from 'vitest';
import type { DType } from '../../lib/checkpoint/dtype.js';
import { native } from '../../lib/native.js';
import {
  anyPattern,
  decodeBits,
  encodeBits,
  FLOATS,
  index,
  OUTPUTS,
  oracle,
  patternOf,
  random,
} from './oracle.js';

const variants = native().variants();

/** Runs a variant on inputs that begin `skew` bytes into their buffers. */
function mean(
  variant: string,
  types: DType[],
  columns: bigint[][],
  weights: number[] | null,
  out: DType,
  skew = 0,
) {
  const inputs = columns.map((c, i) => {
    const bytes = encodeBits(types[i] as DType, c);
    const buffer = new Uint8Array(bytes.length + skew);
    buffer.set(bytes, skew);
    return buffer.subarray(skew);
  });
  const r = native().meanBlock(variant, inputs, types.map(index), weights, index(out));
  return { ...r, bits: decodeBits(out, r.out) };
}

function check(
  variant: string,
  types: DType[],
  columns: bigint[][],
  weights: number[] | null,
  out: DType,
  skew = 0,
) {
  const n = (columns[0] as bigint[]).length;
  const found = mean(variant, types, columns, weights, out, skew);
  let overflows = 0;
  let nonfinite = false;
  for (let e = 0; e < n; e++) {
    const patterns = columns.map((c) => c[e] as bigint);
    const want = oracle(types, patterns, weights, out);
    overflows += Number(want.overflow);
    nonfinite ||= want.nonfinite;
    if (found.bits[e] !== want.bits) {
      const where = `${variant} ${types} -> ${out}, element ${e} of ${n}: inputs ${patterns.map((p) => p.toString(16))}`;
      expect(`${where} gives ${found.bits[e]?.toString(16)}`).toBe(
        `${where} gives ${want.bits.toString(16)}`,
      );
    }
  }
  expect(found.overflows).toBe(overflows);
  expect(found.nonfinite).toBe(nonfinite);
}

it('this machine runs a vector variant, or only the plain one', () => {
  expect(variants.at(-1)).toBe('plain');
  if (process.arch === 'arm64') expect(variants[0]).toBe('neon');
});

describe.each(variants)('the mean, variant %s, against exact arithmetic', (variant) => {
  for (const type of FLOATS) {
    for (const out of OUTPUTS) {
      it(`behaviour 1, 2: ${type} -> ${out}: values like weights, odd lengths, unaligned starts`, () => {
        const next = random(index(type) * 31 + index(out));
        for (const [k, n] of [
          [1, 5],
          [2, 33],
          [3, 47],
          [5, 16],
          [8, 31],
          [17, 64],
          [72, 19],
        ] as const) {
          const columns = Array.from({ length: k }, () =>
            Array.from({ length: n }, () =>
              patternOf(type, (next() + next() + next() - 1.5) * 0.1),
            ),
          );
          check(variant, Array(k).fill(type), columns, null, out, n % 8);
        }
      });

      it(`behaviour 1, 2: ${type} -> ${out}: any finite bits, subnormals and huge spans among them`, () => {
        const next = random(1000 + index(type) * 31 + index(out));
        for (const k of [1, 2, 3, 7, 20]) {
          const columns = Array.from({ length: k }, () =>
            Array.from({ length: 45 }, () => anyPattern(type, next, true)),
          );
          check(variant, Array(k).fill(type), columns, null, out);
        }
      });

      it(`behaviour 4: ${type} -> ${out}: any bits, NaN and infinity among them`, () => {
        const next = random(2000 + index(type) * 31 + index(out));
        for (const weights of [null, [0.5, -2, 1e-3]]) {
          const columns = Array.from({ length: 3 }, () =>
            Array.from({ length: 80 }, () => anyPattern(type, next, false)),
          );
          check(variant, Array(3).fill(type), columns, weights, out);
        }
      });

      it(`behaviour 1, 5: ${type} -> ${out}: unequal weights, products in argument order`, () => {
        const next = random(3000 + index(type) * 31 + index(out));
        for (const k of [1, 2, 3, 10]) {
          const weights = Array.from({ length: k }, () => (next() - 0.3) * 2);
          const columns = Array.from({ length: k }, () =>
            Array.from({ length: 37 }, () => patternOf(type, (next() - 0.5) * 4)),
          );
          check(variant, Array(k).fill(type), columns, weights, out, 1);
        }
      });
    }
  }

  it('behaviour 3: mixed types', () => {
    const next = random(4000);
    for (const out of OUTPUTS) {
      const types: DType[] = ['BF16', 'F32', 'F16', 'F8_E4M3', 'F8_E5M2', 'BF16'];
      check(
        variant,
        types,
        types.map((t) => Array.from({ length: 50 }, () => anyPattern(t, next, true))),
        null,
        out,
      );
      check(
        variant,
        types,
        types.map((t) => Array.from({ length: 50 }, () => patternOf(t, next() - 0.5))),
        null,
        out,
      );
      const wide: DType[] = ['F32', 'F64', 'F16'];
      check(
        variant,
        wide,
        wide.map((t) => Array.from({ length: 50 }, () => anyPattern(t, next, true))),
        null,
        out,
      );
    }
  });

  it('behaviour 1: spans around the limit of exact float64 sums, by every exponent', () => {
    // 1 + 2^-s + …: from exact, over inexact, to beyond 128 bits; with signs that cancel.
    for (const type of ['F32', 'BF16', 'F64'] as const) {
      const columns: bigint[][] = [[], [], [], []];
      for (let s = 0; s <= 140; s++) {
        for (const sign of [1, -1]) {
          const tiny = 2 ** -s * (type === 'F64' ? 1 : 1);
          columns[0]?.push(patternOf(type, 1));
          columns[1]?.push(patternOf(type, sign * tiny));
          columns[2]?.push(patternOf(type, -1));
          columns[3]?.push(patternOf(type, 1.5 * tiny * 2 ** -20));
        }
      }
      for (const out of OUTPUTS) {
        check(variant, Array(4).fill(type), columns, null, out);
        check(variant, Array(3).fill(type), columns.slice(1), null, out);
        check(variant, Array(2).fill(type), columns.slice(0, 2), null, out);
      }
    }
  });

  it('behaviour 2: rounding to bf16 and f16 is from float64, once', () => {
    // Two addends whose mean is 1 + 2^-8 + 2^-40: by way of float32 it would round down to 1.
    const two: [DType, number][] = [
      ['F64', 2],
      ['F64', 2 * 2 ** -8 + 2 * 2 ** -40],
    ];
    const columns = two.map(([t, x]) => [patternOf(t, x)]);
    const bf16 = mean(variant, ['F64', 'F64'], columns, null, 'BF16');
    expect(bf16.bits[0]).toBe(0x3f81n); // 1.0078125
    // The same through float32 inputs, which vector variants take their own way for.
    for (const n of [1, 16, 40]) {
      const parts = [3, 0.01171875, 3 * 2 ** -40].map((x) =>
        Array.from({ length: n }, () => patternOf('F32', x)),
      );
      check(variant, ['F32', 'F32', 'F32'], parts, null, 'BF16');
      expect(
        mean(variant, ['F32', 'F32', 'F32'], parts, null, 'BF16').bits.every((b) => b === 0x3f81n),
      ).toBe(true);
      const half = [3, 3 * 2 ** -11, 3 * 2 ** -40].map((x) =>
        Array.from({ length: n }, () => patternOf('F32', x)),
      );
      check(variant, ['F32', 'F32', 'F32'], half, null, 'F16');
      expect(
        mean(variant, ['F32', 'F32', 'F32'], half, null, 'F16').bits.every((b) => b === 0x3c01n),
      ).toBe(true);
    }
  });

  it('behaviour 2: overflow of the output type is counted, and only of it', () => {
    for (const n of [1, 16, 33]) {
      const big = Array.from({ length: n }, () => patternOf('F16', 60000));
      // The mean of 60000 and 60000 is 60000, in spite of the sum; with weights 1, 1 it is 120000.
      expect(mean(variant, ['F16', 'F16'], [big, big], null, 'F16').overflows).toBe(0);
      expect(mean(variant, ['F16', 'F16'], [big, big], [1, 1], 'F16').overflows).toBe(n);
      expect(mean(variant, ['F16', 'F16'], [big, big], [1, 1], 'F32').overflows).toBe(0);
      // The largest value that still rounds down to 65504, and the least that does not.
      for (const [x, overflows] of [
        [65519.99, 0],
        [65520, n],
      ] as const) {
        const f32 = Array.from({ length: n }, () => patternOf('F32', x));
        expect(mean(variant, ['F32'], [f32], null, 'F16').overflows).toBe(overflows);
      }
    }
  });

  it('behaviour 1: sums of float64 that overflow still have a mean', () => {
    const max = Array.from({ length: 9 }, () => patternOf('F64', Number.MAX_VALUE));
    check(variant, ['F64', 'F64', 'F64'], [max, max, max], null, 'F64');
  });

  it('behaviour 4: subnormals are kept', () => {
    for (const type of ['F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2', 'F64'] as const) {
      const least = Array.from({ length: 40 }, () => 1n);
      const r = mean(
        variant,
        [type, type],
        [least, least],
        null,
        type.startsWith('F8') ? 'F32' : type,
      );
      expect(r.bits.every((b) => b !== 0n)).toBe(true);
    }
  });
});
