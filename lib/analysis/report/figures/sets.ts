import type { Interval } from '../../bootstrap.js';
import type { Comparison, MethodResult } from '../../compare/types.js';

/** A set, or the mean of the shifted ones, as a column of tables and charts. */
export interface SetColumn {
  title: string;
  name: string;
  role: 'heldout' | 'test' | 'shifted' | 'shiftMean';
  n: number | null;
  accuracy(m: MethodResult): Interval | null;
  difference(m: MethodResult): Interval | null;
}

/** What decides first: test, the shifted sets and their mean; the held-out set, which recipes looked at, last. */
export function columnsOf(c: Comparison): SetColumn[] {
  const of = (role: string) => c.sets.filter((s) => s.role === role);
  const one = (s: Comparison['sets'][number]): SetColumn => ({
    title: s.role === 'heldout' ? 'held-out' : s.name,
    name: s.name,
    role: s.role,
    n: s.n,
    accuracy: (m) => m.sets[s.name]?.accuracy ?? null,
    difference: (m) => m.sets[s.name]?.difference ?? null,
  });
  const shifted = of('shifted');
  const mean: SetColumn = {
    title: 'mean of shifts',
    name: 'shiftMean',
    role: 'shiftMean',
    n: null,
    accuracy: (m) => m.shiftMean?.accuracy ?? null,
    difference: (m) => m.shiftMean?.difference ?? null,
  };
  return [
    ...of('test').map(one),
    ...shifted.map(one),
    ...(shifted.length > 1 ? [mean] : []),
    ...of('heldout').map(one),
  ];
}

/** The set that judges: the test set, else a shifted one, else the held-out set. */
export const judgeOf = (c: Comparison): SetColumn => columnsOf(c)[0] as SetColumn;

export const referenceOf = (c: Comparison): MethodResult =>
  c.methods.find((m) => m.id === c.reference) as MethodResult;

/** Short enough for a chart. */
export const labelOf = (m: MethodResult): string => (m.kind === 'oracle' ? 'oracle' : m.label);
