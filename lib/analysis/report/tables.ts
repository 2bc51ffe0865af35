import type {
  Comparison,
  MethodKind,
  MethodResult,
  SetResult,
  SubsetRow,
} from '../compare/types.js';
import { columnsOf, labelOf } from './figures/sets.js';
import { type Html, html } from './html.js';
import { decimals, percent, points, showFlops } from './numbers.js';
import { withInterval } from './summary.js';
import { calibratedMethods, calibrationSet, headlineOf } from './verdict.js';

const GROUPS: readonly (readonly MethodKind[])[] = [
  ['soup', 'uniform', 'greedy', 'learned'],
  ['greedy-random'],
  ['ensemble', 'greedy-ensemble'],
  ['oracle'],
  ['individual', 'base'],
];

/** The paper's table: accuracy of every method on every set, with intervals, and its cost. */
export function resultsTable(c: Comparison): Html {
  const columns = columnsOf(c);
  const headline = headlineOf(c);
  const note = (m: MethodResult): string => {
    if (m.id === c.reference) return 'best on held-out';
    if (m.looksAtTest) return 'best of each set, seen its labels';
    if (['individual', 'base', 'soup'].includes(m.kind)) return '';
    return `${m.members.length} of ${c.ingredients.length}`;
  };
  const row = (
    m: MethodResult,
  ): Html => html`<tr class="${m === headline ? 'mark' : ''}"><th scope="row">${labelOf(m)}<span class="ci">${note(m)}</span></th>${columns.map(
    (s) => html`<td>${withInterval(s.accuracy(m), (x) => percent(x))}</td>`,
  )}<td>${m.cost.passes}×</td></tr>
`;
  const cost = c.flops === null ? '' : `; one is ${showFlops(c.flops)}`;
  return html`<div class="scroll" role="region" tabindex="0" aria-label="Accuracies of all methods"><table class="${columns.length > 4 ? 'tight' : ''}">
<caption>Accuracy in %, with ${Math.round(100 * c.bootstrap.level)} % intervals. Cost: networks run for a prediction${cost}.</caption>
<thead><tr><th scope="col">method</th>${columns.map(
    (s) => html`<th scope="col">${s.title}${s.n === null ? '' : html`<br>n = ${s.n}`}</th>`,
  )}<th scope="col">cost</th></tr></thead>
${GROUPS.map((kinds) => {
  const methods = kinds.flatMap((kind) => c.methods.filter((m) => m.kind === kind));
  return methods.length === 0 ? '' : html`<tbody class="group">${methods.map(row)}</tbody>`;
})}</table></div>`;
}

/** Calibration errors as they are and with temperature, on the deciding set. */
export function calibrationTable(c: Comparison): Html {
  const set = calibrationSet(c);
  const percentOf = (x: number) => percent(x);
  const row = (m: MethodResult): Html => {
    const r = m.sets[set.name] as SetResult;
    return html`<tr><th scope="row">${m.label}</th><td>${withInterval(r.ece, percentOf)}</td><td>${
      m.id === c.reference ? 'reference' : withInterval(r.eceDifference, (x) => points(x))
    }</td><td>${decimals(m.beta, 2)}</td><td>${withInterval(r.calibrated?.ece ?? null, percentOf)}</td><td>${withInterval(
      r.loss,
      (x) => decimals(x, 2),
    )}</td><td>${withInterval(r.calibrated?.loss ?? null, (x) => decimals(x, 2))}</td></tr>
`;
  };
  return html`<div class="scroll" role="region" tabindex="0" aria-label="Calibration on ${set.title}"><table class="tight">
<caption>Expected calibration error and loss on ${set.title}. β is fitted on the held-out set.</caption>
<thead><tr><th scope="col">method</th><th scope="col">error, %</th><th scope="col">against best, points</th><th scope="col">β</th><th scope="col">error with β, %</th><th scope="col">loss, nats</th><th scope="col">loss with β</th></tr></thead>
<tbody>${calibratedMethods(c).map(row)}</tbody></table></div>`;
}

/** What few held-out examples do to each recipe. */
export function subsetTable(c: Comparison): Html {
  const row =
    (n: number) =>
    (r: SubsetRow): Html =>
      html`<tr><th scope="row">${r.label}</th><td>${n}</td><td>${withInterval(r.mean, (x) => percent(x))}</td><td>${decimals(100 * r.noise, 1)}</td><td>${withInterval(r.optimism, (x) => points(x))}</td><td>${Math.min(...r.members)} to ${Math.max(...r.members)}</td></tr>
`;
  return html`<div class="scroll" role="region" tabindex="0" aria-label="Accuracies with few held-out examples"><table>
<caption>On ${c.subset?.judge}, over ${c.subset?.repeats} random subsets.</caption>
<thead><tr><th scope="col">recipe</th><th scope="col">held-out examples</th><th scope="col">mean accuracy, %</th><th scope="col">deviation, points</th><th scope="col">looked better by, points</th><th scope="col">members</th></tr></thead>
${(c.subset?.sizes ?? []).map(({ n, rows }) => html`<tbody class="group">${rows.map(row(n))}</tbody>`)}</table></div>`;
}
