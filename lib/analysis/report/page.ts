import { basename } from 'node:path';
import { version } from '../../version.js';
import { firstFigure, type ReportInput, type ReportSection, sectionsOf } from './content.js';
import type { Figure } from './figure.js';
import { Html, html } from './html.js';
import { figureHtml } from './parts.js';
import type { Renderer } from './render.js';
import { STYLE } from './style.js';
import { answersTable, contents, soupFacts } from './summary.js';
import { elsewhere, headline, reservations } from './verdict.js';

/** The report as one HTML document that loads nothing. */
export async function pageOf(input: ReportInput, draw: Renderer): Promise<string> {
  const sections = sectionsOf(input);
  const drawn: Html[] = [];
  for (const s of sections) drawn.push(await sectionHtml(s, draw));
  const title = titleOf(input);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="generator" content="stockpot ${version}">
<title>${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<main id="content" tabindex="-1">
<header>
${await firstScreen(input, title, draw)}
</header>
<nav aria-label="Sections"><ul>${sections.map((s) => html`<li><a href="#${s.id}">${s.title}</a></li>`)}</ul></nav>
${drawn}
</main>
<footer>stockpot ${input.stockpot}. Wortsman et al. 2022, “Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time”. Numbers under each figure can be unfolded; <code>stockpot report --format csv</code> writes them in full.</footer>
</body>
</html>
`;
  return page.text;
}

async function sectionHtml(s: ReportSection, draw: Renderer): Promise<Html> {
  const blocks: Html[] = [];
  for (const block of s.blocks)
    blocks.push(block instanceof Html ? block : await figureHtml(block as Figure, draw));
  return html`<section aria-labelledby="${s.id}"><h2 id="${s.id}">${s.title}</h2>
${blocks}
</section>
`;
}

/** The document's name; for a soup that was not measured, also its first sentence. */
function titleOf({ sections, soup }: ReportInput): string {
  if (sections.compare) return headline(sections.compare);
  if (!soup) return 'Analysis of fine-tuned models';
  const { record } = soup;
  if (!record) return `${basename(soup.path)}: a checkpoint without a record`;
  return `A ${record.recipe} soup of ${record.members.length} of ${record.ingredients.length} ingredients, not measured here.`;
}

async function firstScreen(input: ReportInput, title: string, draw: Renderer): Promise<Html> {
  const { sections, soup } = input;
  const { compare: c } = sections;
  const record = soup?.record ?? undefined;
  const figure = firstFigure(input);
  const kicker = c
    ? `stockpot report: ${c.ingredients.length} fine-tuned model${c.ingredients.length === 1 ? '' : 's'}${soup ? ` and the soup ${soup.path}` : ''}`
    : `stockpot report${soup ? `: ${soup.path}` : ''}`;
  const facts: [string, string][] = c
    ? soupFacts(c, record)
    : record
      ? [
          [
            'in the soup',
            contents(
              record.ingredients.map((i) => i.path),
              record.members,
              record.weights,
            ),
          ],
        ]
      : [];
  const other = c ? elsewhere(c) : null;
  const missing =
    soup && !c
      ? 'Whether it is better is not known: give --data HELDOUT and --test DATA to measure it against its ingredients.'
      : null;
  return html`<p class="kicker">${kicker}</p>
<h1>${title}</h1>
${other ? html`<p class="lead">${other}</p>` : ''}${missing ? html`<p class="lead">${missing}</p>` : ''}
${c ? reservations(c).map((r) => html`<p class="warning">${r}</p>`) : ''}
${c ? answersTable(c) : ''}
${facts.length > 0 ? html`<dl class="facts">${facts.map(([term, value]) => html`<dt>${term}</dt><dd>${value}</dd>`)}</dl>` : ''}
${figure ? await figureHtml(figure, draw, 'h2') : ''}`;
}
