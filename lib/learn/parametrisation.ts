/** How mixing coefficients come from what is learned: softmax of raw weights, or the raw weights themselves. */
export type Parametrisation = 'softmax' | 'free';

export const PARAMETRISATIONS: readonly Parametrisation[] = ['softmax', 'free'];

/** Raw weights at which every ingredient has the share 1/k. */
export const startOf = (how: Parametrisation, k: number): Float64Array =>
  new Float64Array(k).fill(how === 'softmax' ? 0 : 1 / k);

/** The coefficients of raw weights. */
export function coefficients(how: Parametrisation, raw: Float64Array): Float64Array {
  if (how === 'free') return Float64Array.from(raw);
  const top = raw.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const e = raw.map((x) => Math.exp(x - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((x) => x / sum);
}

/** d loss / d raw, from d loss / d coefficients. */
export function byRaw(
  how: Parametrisation,
  alpha: ArrayLike<number>,
  gradient: Float64Array,
): Float64Array {
  if (how === 'free') return gradient;
  const mean = gradient.reduce((sum, g, i) => sum + g * (alpha[i] as number), 0);
  return gradient.map((g, i) => (alpha[i] as number) * (g - mean));
}
