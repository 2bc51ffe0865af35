import type { Interval } from '../bootstrap.js';
import type { Comparison, MethodKind, MethodResult, PairedDifference } from '../compare/types.js';
import { columnsOf, referenceOf, type SetColumn } from './figures/sets.js';
import { decimals, listed, pointsInterval } from './numbers.js';

/** Soups in the order in which a report speaks of them: one that was given, then what the paper recommends. */
const HEADLINE: readonly MethodKind[] = ['soup', 'greedy', 'learned', 'uniform'];

/** The soup that the report is about, or null where there is none. */
export const headlineOf = (c: Comparison): MethodResult | null =>
  HEADLINE.map((kind) => c.methods.find((m) => m.kind === kind)).find((m) => m !== undefined) ??
  null;

export type Verdict = 'clearly better' | 'clearly worse' | 'within noise' | 'not measured';

/** What a difference says. @param tested McNemar's test too, where it is of one set */
export function verdictOf(d: Interval | PairedDifference | null): Verdict {
  if (!d || !Number.isFinite(d.value)) return 'not measured';
  const beyond = 'moreThanNoise' in d ? d.moreThanNoise : d.low > 0 || d.high < 0;
  if (!beyond) return 'within noise';
  return d.value > 0 ? 'clearly better' : 'clearly worse';
}

/** How a soup is spoken of in a sentence. */
const called = (m: MethodResult): string => (m.kind === 'soup' ? m.label : `The ${m.label}`);

const place = (s: SetColumn): string =>
  s.role === 'shiftMean'
    ? 'the mean of the shifted sets'
    : s.role === 'heldout'
      ? 'the held-out set'
      : s.title;

/** The report's first sentence: is the soup better, on what, by how much, is that more than noise. */
export function headline(c: Comparison): string {
  const soup = headlineOf(c);
  const [judge] = columnsOf(c);
  if (!soup || !judge) return `${c.ingredients.length} models compared`;
  const d = judge.difference(soup);
  if (!d || !Number.isFinite(d.value))
    return `${called(soup)} could not be judged on ${place(judge)}`;
  const best = `the best single model on ${place(judge)}`;
  const by = `${decimals(Math.abs(100 * d.value), 1)} points`;
  switch (verdictOf(d)) {
    case 'clearly better':
      return `${called(soup)} beats ${best} by ${by}. That is more than noise.`;
    case 'clearly worse':
      return `${called(soup)} is worse than ${best} by ${by}. That is more than noise.`;
    default:
      if (d.value === 0) return `${called(soup)} is as accurate as ${best}.`;
      return `${called(soup)} is ${by} ${d.value > 0 ? 'ahead of' : 'behind'} ${best}. That is within noise.`;
  }
}

/** The second sentence: the other sets. */
export function elsewhere(c: Comparison): string | null {
  const soup = headlineOf(c);
  if (!soup) return null;
  const columns = columnsOf(c).slice(1);
  const shift =
    columns.find((s) => s.role === 'shiftMean') ?? columns.find((s) => s.role === 'shifted');
  const d = shift?.difference(soup);
  if (!shift || !d) return null;
  const where =
    shift.role === 'shiftMean' ? `on the mean of ${shiftedNames(c)}` : `on ${place(shift)}`;
  return `Under shift: ${pointsInterval(d)} points ${where}, ${verdictOf(d)}.`;
}

const shiftedNames = (c: Comparison): string =>
  listed(c.sets.filter((s) => s.role === 'shifted').map((s) => s.name));

/** What the numbers do not say by themselves. */
export function reservations(c: Comparison): string[] {
  const [judge] = columnsOf(c);
  return [
    ...(judge?.role === 'heldout'
      ? [
          'There is no test set: these numbers are of the held-out set, on which the soup was chosen, and are too good. Give --test.',
        ]
      : []),
    ...(judge?.n !== null && judge !== undefined && judge.n < 100
      ? [
          `${place(judge)} has only ${judge.n} examples, too few for intervals by resampling to be reliable.`,
        ]
      : []),
    ...(c.ingredients.length === 1 ? ['There is one ingredient only, so there is no soup.'] : []),
  ];
}

/** The methods that calibration is about: the reference, the soups, the ensembles. */
export const calibratedMethods = (c: Comparison): MethodResult[] => [
  referenceOf(c),
  ...c.methods.filter((m) =>
    ['soup', 'uniform', 'greedy', 'learned', 'ensemble', 'greedy-ensemble'].includes(m.kind),
  ),
];

/** The set that calibration is judged on. */
export const calibrationSet = (c: Comparison): SetColumn =>
  columnsOf(c).find((s) => s.role !== 'shiftMean') as SetColumn;

/** The paper's caveat about calibration, and whether it shows here. */
export function calibrationWords(c: Comparison): string {
  const set = calibrationSet(c);
  const caveat =
    'The paper’s caveat: ensembles are better calibrated than the models they are made of; soups, although as accurate, are not.';
  const ensemble = c.methods.find((m) => m.kind === 'ensemble');
  const soups = c.methods.filter((m) => ['soup', 'uniform', 'greedy', 'learned'].includes(m.kind));
  if (!ensemble || soups.length === 0) return caveat;
  const of = (m: MethodResult) => m.sets[set.name]?.eceDifference ?? null;
  return `${caveat} ${conclusion(place(set), of(ensemble), soups.map(of), referenceOf(c).beta)}`;
}

function conclusion(
  set: string,
  ensemble: Interval | null,
  soups: readonly (Interval | null)[],
  beta: number | null,
): string {
  const lower = (i: Interval | null) => i !== null && i.high < 0;
  const by = ensemble ? `by ${pointsInterval(ensemble)} points` : '';
  if (lower(ensemble) && !soups.some(lower))
    return `It shows here: on ${set} the ensemble’s error is lower than the best single model’s ${by}, the soups’ is not.`;
  if (lower(ensemble))
    return `Here, on ${set}, the ensemble’s error is lower than the best single model’s ${by}, and so is that of at least one soup.`;
  const unsure =
    beta !== null && beta > 1
      ? ` The best model’s β of ${decimals(beta, 2)} says that it is not sure enough as it is; averaging outputs makes predictions less sure still.`
      : '';
  if (ensemble !== null && ensemble.low > 0)
    return `It does not show here: on ${set} the ensemble’s error is higher than the best single model’s ${by}.${unsure}`;
  return `Here, on ${set}, the ensemble’s error differs from the best single model’s ${by}, which is within noise.`;
}
