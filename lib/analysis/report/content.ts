import type { SoupRecord } from '../../checkpoint/record.js';
import type { Comparison } from '../compare/types.js';
import type { Sections } from '../run_file.js';
import type { Figure } from './figure.js';
import { calibrationFigure, reliabilityFigure } from './figures/calibration.js';
import { curvesFigure, ensembleFigure } from './figures/curves.js';
import { differencesFigure } from './figures/differences.js';
import { landscapeFigure } from './figures/landscape.js';
import { lineFigure } from './figures/line.js';
import { anglesFigure, gapFigure } from './figures/pairs.js';
import { scatterFigure } from './figures/scatter.js';
import { subsetFigure } from './figures/subset.js';
import { type Html, html } from './html.js';
import { decimals, listed } from './numbers.js';
import { calibrationTable, resultsTable, subsetTable } from './tables.js';
import { calibrationWords } from './verdict.js';

/** What a report is made from. */
export interface ReportInput {
  /** Version that measured. */
  stockpot: string;
  sections: Sections;
  /** A soup that the report is about, and what it says about itself. */
  soup?: { path: string; record: SoupRecord | null };
}

export interface ReportSection {
  id: string;
  title: string;
  blocks: (Html | Figure)[];
}

const isFigure = (block: Html | Figure): block is Figure => 'chart' in block;

export const figuresOf = (sections: readonly ReportSection[]): Figure[] =>
  sections.flatMap((s) => s.blocks.filter(isFigure));

const only = <T>(items: readonly (T | null)[]): T[] => items.filter((x): x is T => x !== null);

/** The sections after the first screen, those that have something to show. */
export function sectionsOf({ sections, soup }: ReportInput): ReportSection[] {
  const { compare: c, angles, landscape, line, gap } = sections;
  const made: ReportSection[] = [];
  if (c) {
    made.push(
      {
        id: 'methods',
        title: 'All methods',
        blocks: only<Html | Figure>([resultsTable(c), scatterFigure(c)]),
      },
      {
        id: 'number',
        title: 'How many models, and soup or ensemble',
        blocks: only<Html | Figure>([curvesFigure(c), ensembleFigure(c)]),
      },
      {
        id: 'calibration',
        title: 'Calibration',
        blocks: [
          html`<p>${calibrationWords(c)} A soup whose probabilities are to be used should be given its temperature.</p>`,
          calibrationTable(c),
          calibrationFigure(c),
          reliabilityFigure(c),
        ],
      },
    );
    const few = subsetFigure(c);
    if (few)
      made.push({
        id: 'few',
        title: 'Few held-out examples',
        blocks: [
          html`<p>A recipe that chooses on few examples chooses partly by luck: it looks better on them than it is, and another draw would choose otherwise. A uniform soup chooses nothing.</p>`,
          few,
          subsetTable(c),
        ],
      });
  }
  made.push({
    id: 'geometry',
    title: 'Where the models lie',
    blocks: only<Figure>([
      angles ? anglesFigure(angles) : null,
      landscape ? landscapeFigure(landscape, 'loss') : null,
      landscape ? landscapeFigure(landscape, 'accuracy') : null,
      line ? lineFigure(line) : null,
    ]),
  });
  const analytical = gap ? gapFigure(gap) : null;
  if (analytical) {
    made.push({
      id: 'analytical',
      title: 'Soup against ensemble, analytically',
      blocks: [
        html`<p>The paper’s section 4: for two models and a mix α of them, the soup’s loss minus the ensemble’s is about α(1 − α)/2 · (−d²L/dα² + β² E Var[Δf]). It holds where the logits are close to linear in α and the difference of the two models’ logits is small: for models fine-tuned from one initialisation, not far apart.</p>`,
        analytical,
      ],
    });
  }
  if (soup) made.push({ id: 'record', title: 'The soup’s record', blocks: [recordTable(soup)] });
  if (c) made.push({ id: 'measured', title: 'How this was measured', blocks: [methodWords(c)] });
  return made.filter((s) => s.blocks.length > 0);
}

/** The figure of the first screen. */
export const firstFigure = ({ sections }: ReportInput): Figure | null =>
  sections.compare ? differencesFigure(sections.compare) : null;

const shareOf = (w: number): string => decimals(w, 4).replace(/\.?0+$/, '') || '0';

function recordTable(soup: NonNullable<ReportInput['soup']>): Html {
  const { record } = soup;
  if (!record)
    return html`<p>${soup.path} carries no record, so what is in it is not known. Soups that stockpot makes have one.</p>`;
  const size = (i: SoupRecord['ingredients'][number]) =>
    i.files.reduce((sum, f) => sum + f.size, 0).toLocaleString('en');
  const hash = (i: SoupRecord['ingredients'][number]) => {
    const [first] = i.files;
    return first?.sha256 ? `sha256 ${first.sha256.slice(0, 16)}…` : 'not hashed';
  };
  const beta = record.details?.beta;
  const learned =
    typeof beta === 'number'
      ? ` Its temperature β is ${decimals(beta, 3)}: it belongs to the logits and is not in the weights.`
      : '';
  return html`<p>Made by stockpot ${record.stockpot}, recipe ${record.recipe}.${learned} <code>stockpot verify</code> proves it bit by bit.</p>
<div class="scroll" role="region" tabindex="0" aria-label="Ingredients"><table>
<thead><tr><th scope="col">ingredient</th><th scope="col">${record.mixture ? `mean weight over ${record.mixture.by}s` : 'weight'}</th><th scope="col">bytes</th><th scope="col" class="left">identity</th></tr></thead>
<tbody>${record.ingredients.map(
    (
      i,
      at,
    ) => html`<tr class="${record.members.includes(at) ? '' : 'muted'}"><th scope="row">${i.path}</th><td>${
      record.members.includes(at) ? shareOf(record.weights[at] ?? 0) : 'left out'
    }</td><td>${size(i)}</td><td class="left"><code>${hash(i)}</code></td></tr>
`,
  )}</tbody></table></div>
<p class="note">Options: <code>${JSON.stringify(record.options)}</code></p>`;
}

function methodWords(c: Comparison): Html {
  const level = Math.round(100 * c.bootstrap.level);
  return html`<ul>
<li>Sets: ${listed(c.sets.map((s) => `${s.role === 'heldout' ? 'held-out' : s.name} ${s.path} (${s.n} examples, ${s.classes} classes)`))}. Recipes and temperatures look at the held-out set alone.</li>
<li>Intervals hold ${level} %: the examples are drawn again with replacement ${c.bootstrap.resamples} times and the percentiles taken; all methods share the draws, so that differences are paired, and sets with the same labels in the same order (one test set, shifted) do too. Those of calibration errors are moved so that their mean is the estimate. They are about the examples only: other trainings would differ too.</li>
<li>“More than noise”: the interval of the difference does not hold 0, and McNemar’s exact test on the examples that one of the two alone gets right has p below ${decimals(1 - c.bootstrap.level, 2)}; for a mean over sets, the interval alone. Many methods are compared, so one of them may pass by luck.</li>
<li>Best first is by held-out accuracy. Greedy soups keep an ingredient where the held-out accuracy does not fall (Wortsman et al. 2022, recipe 1); random orders, the same in another order. Ensembles average logits. The oracle is the best individual model of each set, chosen with that set’s labels: no method, only a mark.</li>
<li>Temperature: the β that minimises the held-out cross-entropy of β·logits (Guo et al. 2017). Calibration error: 15 right-closed bins of top-1 confidence.</li>
<li>Cost counts matrix products, a multiply-add as two. ${c.parameters.toLocaleString('en')} parameters a model. Networks were run on ${c.examplesRun.toLocaleString('en')} examples in all. Seed ${c.seed}.</li>
</ul>
${c.notes.length > 0 ? html`<p class="note">Notes: ${c.notes.join(' ')}</p>` : ''}`;
}
