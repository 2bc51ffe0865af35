// npm run demo: makes the uniform, the greedy and the learned soup of the eight fine-tuned digit recognisers in
// examples/digits, proves the first, counts what all of them get right, and writes a report.
import { readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  devices,
  diff,
  evaluate,
  everything,
  greedy,
  learned,
  nativeEvaluator,
  report,
  showRun,
  uniform,
  verify,
} from '../dist/index.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const digits = 'examples/digits';
const ingredients = readdirSync(join(digits, 'ingredients'))
  .sort()
  .map((name) => join(digits, 'ingredients', name));
const output = '.scratch/demo/uniform-soup';

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(3)} MB`;
const table = (rows) => {
  const widths = rows[0].map((_, c) => Math.max(...rows.map((r) => r[c].length)));
  for (const row of rows) {
    const [first, ...rest] = row.map((cell, c) =>
      c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]),
    );
    console.log(`    ${first}  ${rest.join('  ')}`);
  }
};

const [cpu] = devices().devices;
console.log(`
A soup of ${ingredients.length} Vision Transformers that read handwritten digits
Each was fine-tuned from ${digits}/base with other settings (${digits}/README.md).
On ${cpu.description}, averaging kernel ${cpu.kernels[0]}, ${cpu.threads} threads.

1. The uniform soup: the mean of all weights, from disk to disk`);
const soup = await uniform(ingredients, output, { overwrite: true, hash: true });
const moved = soup.bytesRead + soup.bytesWritten;
table([
  ['read', megabytes(soup.bytesRead)],
  ['wrote', megabytes(soup.bytesWritten)],
  ['tensors', String(soup.tensors)],
  ['parameters', soup.parameters.toLocaleString('en')],
  ['seconds', soup.seconds.toFixed(3)],
  ['GB/s', (moved / soup.seconds / 1e9).toFixed(3)],
]);
console.log(`    sha256 ${soup.sha256}
    (These checkpoints are tiny, so the time is that of opening and syncing files; npm run bench has large ones.)

2. Verified: ingredients and soup are read again, the mean is computed again, every bit compared`);
const proof = await verify(output);
console.log(`    ${proof.verified ? 'the soup is what its record says' : 'the soup is NOT right'}`);
for (const reason of [...proof.unproved, ...proof.mismatches.map((m) => m.message)]) {
  console.log(`    ${reason}`);
}
if (!proof.verified) process.exit(1);

console.log(`
3. How far the soup lies from its first ingredient`);
const { same, differing } = await diff(ingredients[0], output);
console.log(`    ${same} tensors are the same, ${differing.length} differ; the most:`);
const far = differing.sort((a, b) => b.rms - a.rms).slice(0, 3);
table([
  ['tensor', 'elements', 'differ', 'largest', 'rms'],
  ...far.map((t) => [
    t.name,
    String(t.elements),
    String(t.different),
    t.largest.toPrecision(3),
    t.rms.toPrecision(3),
  ]),
]);

console.log(`
4. The greedy soup: best first, kept while the held-out accuracy does not fall`);
const evaluator = await nativeEvaluator(ingredients, { data: join(digits, 'heldout') });
const greedySoup = await greedy(ingredients, '.scratch/demo/greedy-soup', {
  evaluator,
  overwrite: true,
});
for (const step of greedySoup.trace) {
  console.log(
    `    ${basename(ingredients[step.candidate])} ${step.kept ? 'kept    ' : 'rejected'} after ${step.evaluated} examples`,
  );
}

console.log(`
5. The learned soup: how much of each, by gradient descent on the held-out loss`);
const learnedSoup = await learned(ingredients, '.scratch/demo/learned-soup', {
  evaluator,
  steps: 20,
  batchSize: 'full',
  lr: 0.1,
  overwrite: true,
});
await evaluator.close();
console.log(
  `    loss ${learnedSoup.loss[0].toFixed(4)} to ${learnedSoup.metrics.loss.toFixed(4)} in ${learnedSoup.steps} steps; beta ${learnedSoup.beta.toFixed(3)}
    coefficients ${learnedSoup.alpha.map((a) => a.toFixed(3)).join(' ')}`,
);

console.log(`
6. Why one does this: correct answers on data that chose nothing, and on the same with noise`);
const models = [...ingredients, output, '.scratch/demo/greedy-soup', '.scratch/demo/learned-soup'];
const sets = { 'held-out': 'heldout', test: 'test.tar', 'test-noise': 'test-noise.tar' };
const columns = [];
for (const data of Object.values(sets)) {
  columns.push((await evaluate(models, { data: join(digits, data) })).models);
}
const [heldOut] = columns;
const best = heldOut
  .slice(0, ingredients.length)
  .reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
table([
  ['', ...Object.keys(sets).map((name, i) => `${name} (${columns[i][0].n})`)],
  ...models.map((path, row) => [
    heldOut[row] === best ? `${basename(path)}, best on held-out` : basename(path),
    ...columns.map(
      (c) => `${Math.round(c[row].accuracy * c[row].n)} (${(100 * c[row].accuracy).toFixed(1)} %)`,
    ),
  ]),
]);
console.log(`
7. The report: soups of all recipes, ensembles and single models, with intervals, and where they lie`);
const found = await everything(ingredients, {
  data: join(digits, 'heldout'),
  test: join(digits, 'test.tar'),
  shifted: { noise: join(digits, 'test-noise.tar') },
  base: join(digits, 'base'),
  learned: ['model', 'layer'],
  subset: [20, 100],
});
writeFileSync('.scratch/demo/run.json', showRun(found));
const page = await report('.scratch/demo/run.json', '.scratch/demo/report.html', {
  overwrite: true,
});
const tested = found.compare.methods.find((m) => m.kind === 'greedy').sets.test.difference;
const points = (x) => `${x < 0 ? '' : '+'}${(100 * x).toFixed(1)}`;
console.log(`    greedy soup against the best single model on test: ${points(tested.value)} points, 95 % interval ${points(tested.low)} to ${points(tested.high)}: ${tested.moreThanNoise ? 'more than noise' : 'within noise'}
    ${page.figures.length} figures in ${page.output}`);
console.log(`
The soup lies in ${relative('.', output)}: weights, config, image processor, and soup.json, its record.
    look:       npx stockpot inspect ${output}
    in Python:  from transformers import AutoModelForImageClassification
                model = AutoModelForImageClassification.from_pretrained('${output}')
`);
