import type { Gram } from '../merge/gram.js';

/** A point of the plane: coordinates along û1 and û2, in units of the weights' norm. */
export interface PlanePoint {
  x: number;
  y: number;
}

/**
 * The plane through three checkpoints θ_0, θ_1, θ_2 with the orthonormal basis that Gram and Schmidt's process makes of
 * θ_1 − θ_0 and θ_2 − θ_0 (Wortsman et al. 2022, appendix on error landscapes; Garipov et al. 2018): θ_0 is the origin,
 * θ_1 lies on the x axis, θ_2 above it. Every point is a weighted sum of the three, so nothing but inner products is
 * needed.
 */
export class Plane {
  private constructor(
    /** ‖θ_1 − θ_0‖ */
    private readonly length: number,
    /** θ_2 − θ_0 along û1, and across it. */
    private readonly along: number,
    private readonly across: number,
  ) {}

  /** Null where the three lie on a line. @param gram of θ_0, θ_1 − θ_0, θ_2 − θ_0 (and others) */
  static through(gram: Gram): Plane | null {
    const [aa, ab, bb] = [gram.at(1, 1), gram.at(1, 2), gram.at(2, 2)];
    const across = bb - (ab * ab) / aa;
    // What is left by rounding alone is no direction.
    if (!(aa > 0) || !(across > 1e-12 * bb)) return null;
    return new Plane(Math.sqrt(aa), ab / Math.sqrt(aa), Math.sqrt(across));
  }

  /** Of θ_0, θ_1 and θ_2. */
  get corners(): [PlanePoint, PlanePoint, PlanePoint] {
    return [
      { x: 0, y: 0 },
      { x: this.length, y: 0 },
      { x: this.along, y: this.across },
    ];
  }

  /** The weights of θ_0, θ_1 and θ_2 in a point. They sum to 1. */
  weights({ x, y }: PlanePoint): [number, number, number] {
    const second = y / this.across;
    const first = (x - second * this.along) / this.length;
    return [1 - first - second, first, second];
  }

  /** The nearest point to checkpoint `i` of the same products, and how far it lies from it. */
  project(gram: Gram, i: number): PlanePoint & { distance: number } {
    const x = gram.at(1, i) / this.length;
    const y = (gram.at(2, i) - x * this.along) / this.across;
    const rest = gram.at(i, i) - x * x - y * y;
    return { x, y, distance: Math.sqrt(Math.max(0, rest)) };
  }
}

/** Evenly spaced coordinates over the points' range, wider by a share of it on both sides. */
export function axis(values: readonly number[], n: number, margin: number): number[] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const from = low - margin * (high - low);
  const step = ((high - low) * (1 + 2 * margin)) / (n - 1);
  return Array.from({ length: n }, (_, i) => from + i * step);
}
