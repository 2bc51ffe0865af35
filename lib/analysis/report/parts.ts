import type { MethodKind } from '../compare/types.js';
import type { Cell, Figure, Table } from './figure.js';
import { Html, html } from './html.js';
import type { Renderer } from './render.js';
import { colour, LOOKS } from './theme.js';

/** A number as a table of a report shows it; the CSV has it in full. */
const showCell = (cell: Cell): string => {
  if (cell === null) return 'n/a';
  if (typeof cell === 'string') return cell;
  if (Number.isInteger(cell)) return String(cell).replace('-', '\u2212');
  const size = Math.abs(cell);
  const text = size >= 0.01 ? cell.toFixed(size >= 100 ? 1 : 3) : cell.toPrecision(2);
  return text.replace('-', '\u2212');
};

/** The numbers behind a figure, folded away. */
const dataTable = (
  title: string,
  { columns, rows }: Table,
): Html => html`<details><summary>Numbers of this figure (${rows.length} rows)</summary>
<div class="scroll" role="region" tabindex="0" aria-label="Numbers: ${title}"><table>
<thead><tr>${columns.map((c) => html`<th scope="col">${c}</th>`)}</tr></thead>
<tbody>${rows.map(
  (row) => html`<tr>${row.map((cell) => html`<td>${showCell(cell)}</td>`)}</tr>
`,
)}</tbody></table></div></details>`;

const SYMBOLS: Record<string, string> = {
  circle: 'M7 2a5 5 0 1 0 .01 0Z',
  square: 'M2.5 2.5h9v9h-9Z',
  diamond: 'M7 1 13 7 7 13 1 7Z',
  cross: 'M5 1.5h4v3.5h3.5v4H9v3.5H5V9H1.5V5H5Z',
  'triangle-up': 'M7 2 12.5 11.5h-11Z',
  'triangle-down': 'M7 12 1.5 2.5h11Z',
};

/** What the marks stand for. */
const key = (kinds: readonly MethodKind[]): Html | null =>
  kinds.length === 0
    ? null
    : html`<ul class="key" aria-label="Key">${kinds.map((kind) => {
        const look = LOOKS[kind];
        return html`<li><svg viewBox="0 0 14 14" aria-hidden="true"><path d="${SYMBOLS[look.shape] ?? ''}" fill="${colour(look.filled ? look.colour : 'page')}" stroke="${colour(look.colour)}" stroke-width="1.5"/></svg>${look.label}</li>`;
      })}</ul>`;

/** A figure with its key, caption and numbers. @param heading in its place among the headings */
export async function figureHtml(
  figure: Figure,
  draw: Renderer,
  heading: 'h2' | 'h3' = 'h3',
): Promise<Html> {
  const label = html`${figure.title}. ${figure.description}`;
  const svg = (await draw(figure.chart))
    .replace('<svg ', () => `<svg role="img" aria-label="${label}" `)
    // The page's style sheet says it once.
    .replace(/ font-family="[^"]*"/g, '')
    // Vega counts clipping paths from 0 in each chart.
    .replace(/( id="|url\(#)(clip\d+)/g, `$1${figure.id}-$2`);
  return html`<figure id="figure-${figure.id}"><${heading} class="figure">${figure.title}</${heading}>
${key(figure.kinds)}<div class="chart">${new Html(svg)}</div>
<figcaption>${figure.caption}</figcaption>
${dataTable(figure.title, figure.table)}</figure>`;
}
