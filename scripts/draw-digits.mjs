// Draws docs/digits.svg from examples/digits/zoo.json. With --check: fails where the file is not what would be drawn.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const zoo = JSON.parse(readFileSync(join(root, 'examples/digits/zoo.json'), 'utf8'));
const file = join(root, 'docs/digits.svg');

const SETS = [
  ['heldout', 'held-out'],
  ['test', 'test'],
  ['test_noise', 'test with noise'],
];
const COLOUR = { ingredient: '#8a94a6', best: '#1f4e9c', soup: '#d9480f', grid: '#dfe3ea' };
const [width, left, right, top, row] = [760, 130, 40, 62, 66];
const height = top + row * SETS.length + 44;
const [least, most] = [72, 98];

const percent = (model, set) => (100 * model.scores[set].correct) / zoo.examples[set];
const x = (p) => (left + ((p - least) / (most - least)) * (width - left - right)).toFixed(1);
const text = (at, y, words, more = '') => `<text x="${at}" y="${y}" ${more}>${words}</text>`;
const circle = (at, y, r, fill) =>
  `<circle cx="${at}" cy="${y}" r="${r}" fill="${fill}" fill-opacity="0.75"/>`;
const diamond = (at, y) =>
  `<path d="M${at} ${y - 9}l9 9-9 9-9-9z" fill="${COLOUR.soup}" stroke="#fff"/>`;

const ingredients = Object.values(zoo.ingredients);
const best = ingredients.reduce((a, b) =>
  b.scores.heldout.correct > a.scores.heldout.correct ? b : a,
);
const soup = zoo.uniform_soup;

const parts = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="13" fill="#26303f" role="img">`,
  `<title>Accuracy of ${ingredients.length} fine-tuned models and of their uniform soup</title>`,
  `<rect width="${width}" height="${height}" fill="#fff"/>`,
  text(left, 20, 'Correct answers: handwritten digits, one small ViT', 'font-weight="600"'),
  circle(left + 6, 37, 5, COLOUR.ingredient),
  text(left + 18, 41, `${ingredients.length} fine-tuned models`),
  circle(left + 176, 37, 5, COLOUR.best),
  text(left + 188, 41, 'the one best on held-out'),
  diamond(left + 376, 37),
  text(left + 390, 41, 'their uniform soup'),
];
for (let p = 75; p <= most; p += 5) {
  const at = x(p);
  parts.push(
    `<path d="M${at} ${top}V${height - 34}" stroke="${COLOUR.grid}"/>`,
    text(at, height - 16, `${p} %`, 'text-anchor="middle" fill="#5b6575"'),
  );
}
for (const [i, [set, name]] of SETS.entries()) {
  const y = top + row * i + row / 2;
  parts.push(
    text(left - 14, y - 2, name, 'text-anchor="end" font-weight="600"'),
    text(left - 14, y + 14, `${zoo.examples[set]} images`, 'text-anchor="end" fill="#5b6575"'),
    ...ingredients
      .filter((m) => m !== best)
      .map((m) => circle(x(percent(m, set)), y, 5.5, COLOUR.ingredient)),
    circle(x(percent(best, set)), y, 5.5, COLOUR.best),
    diamond(x(percent(soup, set)), y),
    text(
      x(percent(soup, set)),
      y - 14,
      `${percent(soup, set).toFixed(1)} %`,
      `text-anchor="middle" font-weight="600" fill="${COLOUR.soup}"`,
    ),
  );
}
const svg = `${[...parts, '</svg>'].join('\n')}\n`;

if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== svg) {
    console.error('docs/digits.svg is not what zoo.json says; run: node scripts/draw-digits.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(file, svg);
}
