import type { Interval } from '../bootstrap.js';

const MINUS = '\u2212';

/** A number with so many decimals and a real minus sign; "n/a" where it is none. */
export function decimals(x: number | null | undefined, digits: number): string {
  if (x === null || x === undefined || !Number.isFinite(x)) return 'n/a';
  const text = Math.abs(x).toFixed(digits);
  return x < 0 && Number(text) !== 0 ? `${MINUS}${text}` : text;
}

/** 0.5676 -> "56.8". */
export const percent = (x: number | null | undefined, digits = 1): string =>
  decimals(typeof x === 'number' ? 100 * x : null, digits);

/** 0.012 -> "+1.2". */
export function points(x: number | null | undefined, digits = 1): string {
  const text = percent(x, digits);
  return typeof x === 'number' && x > 0 && Number(text) !== 0 ? `+${text}` : text;
}

export const percentInterval = (i: Interval, digits = 1): string =>
  `${percent(i.value, digits)} [${percent(i.low, digits)}, ${percent(i.high, digits)}]`;

export const pointsInterval = (i: Interval, digits = 1): string =>
  `${points(i.value, digits)} [${points(i.low, digits)}, ${points(i.high, digits)}]`;

/** 8.8e9 -> "8.8 GFLOP". */
export function showFlops(flops: number): string {
  const units = ['FLOP', 'kFLOP', 'MFLOP', 'GFLOP', 'TFLOP', 'PFLOP'];
  const power = Math.max(
    0,
    Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, flops)) / 3)),
  );
  return `${Number((flops / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

/** p values below a thousandth say nothing more. */
export const showP = (p: number): string =>
  p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(p < 0.1 ? 3 : 2)}`;

/** "a, b and c". */
export const listed = (names: readonly string[]): string =>
  names.length < 2
    ? names.join('')
    : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`;
