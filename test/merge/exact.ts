// Sums of products with about 106 bits, written down from Dekker's and Knuth's error-free transformations: for checking
// what is computed in float64.

/** a + b as a rounded sum and its error. */
function twoSum(a: number, b: number): [number, number] {
  const s = a + b;
  const bb = s - a;
  return [s, a - (s - bb) + (b - bb)];
}

/** a · b as a rounded product and its error (Veltkamp's splitting). */
function twoProduct(a: number, b: number): [number, number] {
  const split = (x: number): [number, number] => {
    const t = 134217729 * x;
    const high = t - (t - x);
    return [high, x - high];
  };
  const p = a * b;
  const [ah, al] = split(a);
  const [bh, bl] = split(b);
  return [p, ah * bh - p + ah * bl + al * bh + al * bl];
}

/** Σ a_i b_i. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let high = 0;
  let low = 0;
  for (let i = 0; i < a.length; i++) {
    const [p, e] = twoProduct(a[i] as number, b[i] as number);
    const [s, f] = twoSum(high, p);
    high = s;
    low += e + f;
  }
  return high + low;
}

/** Σ |a_i b_i|, which error bounds are stated in. */
export const magnitude = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + Math.abs(x * (b[i] as number)), 0);
