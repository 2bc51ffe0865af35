/** A value and its gradient. */
export type Smooth = (x: Float64Array, gradient: Float64Array) => number;

export interface LbfgsOptions {
  /** Ends where no element of the gradient is larger; 1e-8 by default. */
  tolerance?: number;
  /** 1000 by default. */
  iterations?: number;
  /** Told before each iteration; ends the search with its exception. */
  onIteration?: (iteration: number, value: number) => void;
}

/** Pairs that the curvature is remembered by. */
const MEMORY = 10;

/**
 * Minimises a smooth convex function: limited-memory BFGS with two loops (Nocedal & Wright 2006, algorithm 7.4) and a
 * backtracking line search. No random numbers: the same function gives the same bits.
 * @param start not changed
 */
export function lbfgs(
  f: Smooth,
  start: Float64Array,
  { tolerance = 1e-8, iterations = 1000, onIteration }: LbfgsOptions = {},
): { x: Float64Array; value: number; iterations: number; converged: boolean } {
  let x = start.slice();
  let g = new Float64Array(x.length);
  let value = f(x, g);
  const pairs: { s: Float64Array; y: Float64Array; rho: number }[] = [];
  for (let it = 0; it < iterations; it++) {
    if (g.every((v) => Math.abs(v) <= tolerance))
      return { x, value, iterations: it, converged: true };
    onIteration?.(it, value);
    const direction = twoLoops(g, pairs);
    const slope = dot(direction, g);
    // Without curvature the gradient says nothing about how far to go.
    let step = pairs.length === 0 ? Math.min(1, 1 / Math.sqrt(dot(g, g))) : 1;
    let next = x;
    let nextG = new Float64Array(x.length);
    let nextValue = Number.NaN;
    let found = false;
    for (let tries = 0; tries < 60 && !found; tries++, step /= 2) {
      next = x.map((v, i) => v + step * (direction[i] as number));
      nextG = new Float64Array(x.length);
      nextValue = f(next, nextG);
      found = nextValue <= value + 1e-4 * step * slope;
    }
    // Rounding leaves nothing to be gained.
    if (!found) return { x, value, iterations: it, converged: false };
    const s = next.map((v, i) => v - (x[i] as number));
    const y = nextG.map((v, i) => v - (g[i] as number));
    const sy = dot(s, y);
    if (sy > 1e-14 * dot(y, y)) {
      pairs.push({ s, y, rho: 1 / sy });
      if (pairs.length > MEMORY) pairs.shift();
    }
    [x, g, value] = [next, nextG, nextValue];
  }
  return { x, value, iterations, converged: false };
}

function twoLoops(
  g: Float64Array,
  pairs: readonly { s: Float64Array; y: Float64Array; rho: number }[],
): Float64Array {
  const q = g.slice();
  const alpha = new Array<number>(pairs.length);
  for (let i = pairs.length - 1; i >= 0; i--) {
    const { s, y, rho } = pairs[i] as (typeof pairs)[number];
    const a = rho * dot(s, q);
    alpha[i] = a;
    for (let j = 0; j < q.length; j++) q[j] = (q[j] as number) - a * (y[j] as number);
  }
  const last = pairs.at(-1);
  const scale = last ? 1 / (last.rho * dot(last.y, last.y)) : 1;
  for (let j = 0; j < q.length; j++) q[j] = (q[j] as number) * scale;
  for (const [i, { s, y, rho }] of pairs.entries()) {
    const b = (alpha[i] as number) - rho * dot(y, q);
    for (let j = 0; j < q.length; j++) q[j] = (q[j] as number) + b * (s[j] as number);
  }
  return q.map((v) => -v);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
