import type { MethodKind, MethodResult } from '../../compare/types.js';
import { colour, LOOKS } from '../theme.js';

/** Pixels of a full-width chart. */
export const WIDTH = 840;

/** Encodings that give each kind its colour, shape and filling; the field is `kind`. */
export function lookOf(kinds: readonly MethodKind[]) {
  const domain = [...kinds];
  const range = domain.map((k) => colour(LOOKS[k].colour));
  return {
    stroke: { field: 'kind', type: 'nominal', scale: { domain, range }, legend: null },
    fill: {
      field: 'kind',
      type: 'nominal',
      scale: {
        domain,
        range: domain.map((k) => colour(LOOKS[k].filled ? LOOKS[k].colour : 'page')),
      },
      legend: null,
    },
    shape: {
      field: 'kind',
      type: 'nominal',
      scale: { domain, range: domain.map((k) => LOOKS[k].shape) },
      legend: null,
    },
    /** For lines and rules. */
    line: { field: 'kind', type: 'nominal', scale: { domain, range }, legend: null },
  };
}

/** Kinds that occur, in the order of the methods. */
export const kindsOf = (methods: readonly { kind: MethodKind }[]): MethodKind[] => [
  ...new Set(methods.map((m) => m.kind)),
];

/** A hundred times; NaN, which JSON has not, becomes null. */
export const hundred = (x: number | null | undefined): number | null =>
  typeof x === 'number' && Number.isFinite(x) ? 100 * x : null;

/** Soups and ensembles: all but the models that they are made of. */
export const isMade = (m: MethodResult): boolean =>
  !['base', 'individual', 'greedy-random', 'oracle'].includes(m.kind);

/** A scale's ends around these numbers, with some air. */
export function around(values: readonly (number | null)[]): [number, number] {
  const finite = values.filter((v): v is number => v !== null && Number.isFinite(v));
  if (finite.length === 0) return [0, 1];
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const air = Math.max((high - low) * 0.06, 0.05);
  return [low - air, high + air];
}
