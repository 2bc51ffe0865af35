import type { SoupRecord } from '../../checkpoint/record.js';
import { shortNames } from '../compare/methods.js';
import type { Comparison, MethodResult } from '../compare/types.js';
import { columnsOf, referenceOf } from './figures/sets.js';
import { type Html, html } from './html.js';
import { listed, percent, points, showFlops, showP } from './numbers.js';
import { headlineOf, verdictOf } from './verdict.js';

/** A value with its interval, the interval quieter. */
export const withInterval = (
  i: { value: number; low: number; high: number } | null,
  show: (x: number) => string,
): Html =>
  i ? html`${show(i.value)}<span class="ci">[${show(i.low)}, ${show(i.high)}]</span>` : html`n/a`;

const percentOf = (x: number): string => percent(x);
const pointsOf = (x: number): string => points(x);

/** On every set: the best single model, the soup, the difference, and whether it is more than noise. */
export function answersTable(c: Comparison): Html | null {
  const soup = headlineOf(c);
  if (!soup) return null;
  const reference = referenceOf(c);
  const row = (s: ReturnType<typeof columnsOf>[number]): Html => {
    const d = s.difference(soup);
    const verdict = verdictOf(d);
    const tested = s.role === 'shiftMean' ? null : soup.sets[s.name]?.difference;
    return html`<tr><th scope="row">${s.title}${
      s.n === null
        ? ''
        : html`<span class="ci">n = ${s.n}${s.role === 'heldout' ? ', chosen on it' : ''}</span>`
    }</th><td>${withInterval(d, pointsOf)}</td><td class="left">${
      verdict === 'within noise' ? verdict : html`<span class="strong">${verdict}</span>`
    }${tested ? html`<span class="ci">${showP(tested.p)}</span>` : ''}</td><td>${withInterval(
      s.accuracy(soup),
      percentOf,
    )}</td><td>${withInterval(s.accuracy(reference), percentOf)}</td></tr>
`;
  };
  return html`<div class="scroll answers" role="region" tabindex="0" aria-label="The soup on every set"><table>
<thead><tr><th scope="col">accuracy in %</th><th scope="col">difference, points</th><th scope="col" class="left">verdict</th><th scope="col">${soup.label}</th><th scope="col">best single model, ${reference.label}</th></tr></thead>
<tbody>${columnsOf(c).map(row)}</tbody></table></div>`;
}

/** "4 of 10 ingredients, 1/4 each: ft05, …". */
export function contents(
  paths: readonly string[],
  members: readonly number[],
  weights: readonly number[] | null,
): string {
  const names = shortNames(paths);
  if (weights === null)
    return `${members.length} of ${paths.length} ingredients, with weights of their own for each part of the network`;
  const used = members.map((i) => weights[i] ?? 0);
  const equal = used.every((w) => Math.abs(w - 1 / members.length) < 1e-9);
  const list = members.map((i, at) =>
    equal ? (names[i] ?? '?') : `${names[i] ?? '?'} ${(used[at] as number).toFixed(3)}`,
  );
  return `${members.length} of ${paths.length} ingredients${equal && members.length > 1 ? `, 1/${members.length} each` : ''}: ${listed(list)}`;
}

/** What is in the soup, and what it costs. */
export function soupFacts(c: Comparison, record?: SoupRecord): [string, string][] {
  const soup = headlineOf(c);
  const ensemble = c.methods.find((m) => m.kind === 'ensemble');
  const facts: [string, string][] = [];
  if (record) {
    const paths = record.ingredients.map((i) => i.path);
    facts.push(['in the soup', contents(paths, record.members, record.weights)]);
  } else if (soup && soup.members.length > 0) {
    facts.push(['in the soup', contents(c.ingredients, soup.members, soup.weights)]);
  }
  if (soup) facts.push(['cost of a prediction', costOf(soup, ensemble, c.flops)]);
  return facts;
}

function costOf(
  soup: MethodResult,
  ensemble: MethodResult | undefined,
  flops: number | null,
): string {
  const one = flops === null ? '' : ` (${showFlops(flops)})`;
  const many = ensemble
    ? `; the ensemble of all costs ${ensemble.cost.passes}×${ensemble.cost.flops === null ? '' : ` (${showFlops(ensemble.cost.flops)})`}`
    : '';
  return `${soup.cost.passes}×, as one model${one}${many}`;
}
