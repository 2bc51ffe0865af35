// An oracle for the mean that shares nothing with the addon: exact rational arithmetic on BigInt, then one rounding to
// float64 and one to the output's type (both to nearest even).
import { DTYPES, type DType } from '../../lib/checkpoint/dtype.js';

interface Format {
  bytes: number;
  /** Mantissa bits and exponent bits. */
  m: number;
  e: number;
}

const FORMATS: Partial<Record<DType, Format>> = {
  F64: { bytes: 8, m: 52, e: 11 },
  F32: { bytes: 4, m: 23, e: 8 },
  F16: { bytes: 2, m: 10, e: 5 },
  BF16: { bytes: 2, m: 7, e: 8 },
  F8_E4M3: { bytes: 1, m: 3, e: 4 },
  F8_E5M2: { bytes: 1, m: 2, e: 5 },
};

export const FLOATS = Object.keys(FORMATS) as DType[];
export const OUTPUTS: DType[] = ['F64', 'F32', 'F16', 'BF16'];
export const index = (t: DType): number => DTYPES.indexOf(t);
export const format = (t: DType): Format => FORMATS[t] as Format;

/** numerator / 2^1200, so that every float64 (and product of two) is an integer numerator. */
const SCALE = 1200n;
type Exact = bigint | 'nan' | 'inf' | '-inf';

/** The exact value of a stored pattern. */
export function decode(t: DType, bits: bigint): Exact {
  const { m, e, bytes } = format(t);
  const mantissa = bits & ((1n << BigInt(m)) - 1n);
  const exponent = Number((bits >> BigInt(m)) & ((1n << BigInt(e)) - 1n));
  const negative = bits >> BigInt(bytes * 8 - 1) === 1n;
  const top = 2 ** e - 1;
  if (t === 'F8_E4M3') {
    if (exponent === top && mantissa === 7n) return 'nan';
  } else if (exponent === top) {
    return mantissa !== 0n ? 'nan' : negative ? '-inf' : 'inf';
  }
  const bias = 2 ** (e - 1) - 1;
  const significand = exponent === 0 ? mantissa : mantissa | (1n << BigInt(m));
  const power = SCALE + BigInt(Math.max(exponent, 1) - bias - m);
  return (negative ? -significand : significand) << power;
}

/** numerator / denominator / 2^1200 rounded to nearest even into a format: its bits. */
export function round(
  t: DType,
  numerator: bigint,
  denominator = 1n,
): { bits: bigint; overflow: boolean } {
  const { m, e, bytes } = format(t);
  const negative = numerator < 0n;
  const sign = negative ? 1n << BigInt(bytes * 8 - 1) : 0n;
  const n = negative ? -numerator : numerator;
  if (n === 0n) return { bits: 0n, overflow: false };
  const bias = 2 ** (e - 1) - 1;
  const least = 1 - bias - m; // exponent of the least subnormal
  // floor(log2 of the value), by bit lengths and one comparison.
  let log = n.toString(2).length - denominator.toString(2).length - Number(SCALE);
  const atLeast = (p: number) => {
    const shift = BigInt(p) + SCALE;
    return shift >= 0n ? n >= denominator << shift : n << -shift >= denominator;
  };
  if (!atLeast(log)) log--;
  const unit = Math.max(log - m, least); // exponent of the last bit kept
  const shift = SCALE + BigInt(unit);
  const d = denominator << shift;
  let q = n / d;
  const twice = 2n * (n % d);
  if (twice > d || (twice === d && q % 2n === 1n)) q++;
  const infinity = ((1n << BigInt(e)) - 1n) << BigInt(m);
  const bits = unit === least ? q : (BigInt(unit + m + bias - 1) << BigInt(m)) + q;
  return bits >= infinity
    ? { bits: sign | infinity, overflow: true }
    : { bits: sign | bits, overflow: false };
}

const quietNaN = (t: DType): bigint => {
  const { m, e } = format(t);
  return (((1n << BigInt(e)) - 1n) << BigInt(m)) | (1n << BigInt(m - 1));
};

const f64bits = (x: number): bigint => {
  const b = Buffer.alloc(8);
  b.writeDoubleLE(x);
  return b.readBigUInt64LE();
};
const fromF64bits = (bits: bigint): number => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(bits);
  return b.readDoubleLE();
};

/** Rounds a float64 (no NaN) once more, into the output's type. */
function roundDouble(t: DType, x: number): { bits: bigint; overflow: boolean } {
  const { m, e, bytes } = format(t);
  const negative = x < 0 || Object.is(x, -0);
  const sign = negative ? 1n << BigInt(bytes * 8 - 1) : 0n;
  if (x === 0) return { bits: sign, overflow: false };
  if (!Number.isFinite(x))
    return { bits: sign | (((1n << BigInt(e)) - 1n) << BigInt(m)), overflow: false };
  const r = round(t, decode('F64', f64bits(x)) as bigint);
  return { bits: sign | r.bits, overflow: r.overflow };
}

/** What the mean must be, as docs/numerics.md defines it. */
export function oracle(
  types: readonly DType[],
  patterns: readonly bigint[],
  weights: readonly number[] | null,
  out: DType,
): { bits: bigint; overflow: boolean; nonfinite: boolean } {
  const values = patterns.map((p, i) => decode(types[i] as DType, p));
  const nonfinite = values.some((v) => typeof v !== 'bigint');
  let q: number;
  if (weights) {
    const x = values.map((v, i) =>
      v === 'nan'
        ? Number.NaN
        : v === 'inf'
          ? Infinity
          : v === '-inf'
            ? -Infinity
            : toDouble(v, types[i] as DType, patterns[i] as bigint),
    );
    q = (weights[0] as number) * (x[0] as number);
    for (let i = 1; i < x.length; i++) q += (weights[i] as number) * (x[i] as number);
  } else if (nonfinite) {
    const nan = values.includes('nan') || (values.includes('inf') && values.includes('-inf'));
    q = nan ? Number.NaN : values.includes('inf') ? Infinity : -Infinity;
  } else {
    const sum = (values as bigint[]).reduce((a, b) => a + b, 0n);
    const allNegativeZero = patterns.every(
      (p, i) => p === 1n << BigInt(format(types[i] as DType).bytes * 8 - 1),
    );
    q =
      sum === 0n
        ? allNegativeZero
          ? -0
          : 0
        : fromF64bits(round('F64', sum, BigInt(values.length)).bits);
    if (sum < 0n && q === 0) q = -0;
  }
  if (Number.isNaN(q)) return { bits: quietNaN(out), overflow: !nonfinite, nonfinite };
  const r = roundDouble(out, q);
  return { bits: r.bits, overflow: !nonfinite && (r.overflow || !Number.isFinite(q)), nonfinite };
}

function toDouble(v: bigint, t: DType, pattern: bigint): number {
  if (v === 0n) return pattern === 0n ? 0 : -0;
  return t === 'F64' ? fromF64bits(pattern) : fromF64bits(round('F64', v).bits);
}

export function encodeBits(t: DType, patterns: readonly bigint[]): Uint8Array {
  const { bytes } = format(t);
  const out = new Uint8Array(patterns.length * bytes);
  patterns.forEach((p, i) => {
    for (let b = 0; b < bytes; b++) out[i * bytes + b] = Number((p >> BigInt(8 * b)) & 0xffn);
  });
  return out;
}

export function decodeBits(t: DType, data: Uint8Array): bigint[] {
  const { bytes } = format(t);
  const out: bigint[] = [];
  for (let i = 0; i < data.length; i += bytes) {
    let v = 0n;
    for (let b = bytes - 1; b >= 0; b--) v = (v << 8n) | BigInt(data[i + b] as number);
    out.push(v);
  }
  return out;
}

/** A small seeded generator (mulberry32), so that a failure can be repeated. */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Any pattern of the type; `finite` leaves out NaN and infinity. */
export function anyPattern(t: DType, next: () => number, finite: boolean): bigint {
  const { bytes } = format(t);
  for (;;) {
    let v = 0n;
    for (let b = 0; b < bytes; b++) v = (v << 8n) | BigInt(Math.floor(next() * 256));
    if (!finite || typeof decode(t, v) === 'bigint') return v;
  }
}

/** The pattern nearest to a number. */
export const patternOf = (t: DType, x: number): bigint =>
  roundDouble(t === 'F8_E4M3' && Math.abs(x) > 448 ? 'F8_E4M3' : t, x).bits;
