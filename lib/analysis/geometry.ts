import type { Gram } from '../merge/gram.js';

/** Rows and columns are ingredients. */
export type Matrix = (number | null)[][];

/** How some tensors of the ingredients lie to each other. Everything is float64. */
export interface Geometry {
  /** Elements that were compared. */
  parameters: number;
  /** ‖θ_i − θ_j‖; this and the matrices below are k × k, norms have k. */
  distances: number[][];
  /** Of the weights θ_i themselves: norms, and cosines (null where a norm is 0). */
  weights: { norms: number[]; cosines: Matrix };
  /** Of the task vectors θ_i − θ_0: norms, cosines, and angles in degrees. Null without a base. */
  taskVectors: { norms: number[]; cosines: Matrix; angles: Matrix } | null;
}

/**
 * The geometry that inner products stand for.
 * @param withBase the reference is the base, and no ingredient
 */
export function geometryOf(gram: Gram, parameters: number, withBase: boolean): Geometry {
  const first = withBase ? 1 : 0;
  const positions = Array.from({ length: gram.k - first }, (_, i) => i + first);
  const table = <T>(cell: (i: number, j: number) => T): T[][] =>
    positions.map((i) => positions.map((j) => cell(i, j)));
  const cosines = (product: (i: number, j: number) => number): Matrix =>
    table((i, j) => cosine(product(i, i), product(j, j), product(i, j), i === j));
  const task = cosines((i, j) => gram.at(i, j));
  return {
    parameters,
    distances: table((i, j) => gram.distance(i, j)),
    weights: {
      norms: positions.map((i) => Math.sqrt(gram.weights(i, i))),
      cosines: cosines((i, j) => gram.weights(i, j)),
    },
    taskVectors: withBase
      ? {
          norms: positions.map((i) => Math.sqrt(gram.at(i, i))),
          cosines: task,
          angles: task.map((row) => row.map((c) => (c === null ? null : degrees(c)))),
        }
      : null,
  };
}

/** Null where a vector has no length. */
function cosine(aa: number, bb: number, ab: number, same: boolean): number | null {
  if (aa === 0 || bb === 0) return null;
  return same ? 1 : Math.max(-1, Math.min(1, ab / Math.sqrt(aa) / Math.sqrt(bb)));
}

/** A cosine's angle; as precise as the cosine itself lets it be: within √(2 · 72 · 2^-53) radians near 0 and 180 degrees. */
const degrees = (c: number): number => (Math.acos(c) * 180) / Math.PI;
