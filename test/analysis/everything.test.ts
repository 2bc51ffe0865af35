// One call, or command, for a report with all of it.
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { angles } from '../../lib/analysis/angles.js';
import { compare } from '../../lib/analysis/compare/index.js';
import { everything } from '../../lib/analysis/everything.js';
import { report } from '../../lib/analysis/report/index.js';
import { readRun } from '../../lib/analysis/run_file.js';
import { evaluate } from '../../lib/evaluate/evaluate.js';
import { jsonOf, root, stockpot } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';

const at = useFolder();
const digits = join(root, 'examples/digits');
const base = join(digits, 'base');
const ingredients = [0, 5, 1].map((i) => join(digits, `ingredients/ft0${i}`));
const heldout = join(digits, 'heldout');
const noise = join(digits, 'test-noise.tar');
const ours = async () =>
  (await readdir(tmpdir())).filter((n) => /^stockpot-(compare|analyses)-/.test(n));

it('the sections are what the analyses find, each', async () => {
  const before = await ours();
  const options = { base, orders: 1, resamples: 100, learned: [] };
  const found = await everything(ingredients, {
    ...options,
    data: heldout,
    shifted: { noise },
    grid: 3,
  });
  const { seconds: _, ...compared } = found.compare;
  const { seconds: __, ...alone } = await compare(ingredients, {
    ...options,
    data: heldout,
    shifted: { noise },
  });
  expect(compared).toEqual(alone);
  const plain = await angles(ingredients, { base });
  expect(found.angles?.taskVectors?.angles).toEqual(plain.taskVectors?.angles);
  expect(found.angles?.pairs).toHaveLength(3);
  expect(found.gap?.points).toHaveLength(3);
  // The two best, with the base and the soup.
  const best = found.compare.order.slice(0, 2).map((i) => ingredients[i]);
  expect(found.landscape?.checkpoints).toEqual([base, ...best]);
  expect(found.landscape?.points).toHaveLength(9);
  expect(found.landscape?.marks.map((m) => m.model)).toEqual([base, ...best, 'greedy soup']);
  const ends = found.line?.points.map((p) => p.scores.noise?.accuracy);
  const [theirs] = (await evaluate([base], { data: noise })).models;
  expect(ends?.[0]).toBe(theirs?.accuracy);
  expect(Object.keys(found.line?.points[0]?.scores ?? {})).toEqual(['heldout', 'noise']);
  expect(await ours()).toEqual(before);
});

it('without a base says what is left out', async () => {
  const found = await everything(ingredients.slice(0, 2), {
    data: heldout,
    orders: 0,
    resamples: 100,
    learned: [],
  });
  expect(found.landscape).toBeUndefined();
  expect(found.compare.notes.join(' ')).toContain('--base');
  expect(found.gap?.points).toHaveLength(1);
});

it('the command writes a run with all of it, which the report shows', async () => {
  const done = await stockpot([
    ...['compare', ...ingredients.slice(0, 2), '--all', '--base', base, '--data', heldout],
    ...['--resamples', '100', '--orders', '0', '--subset', '20', '--repeats', '2'],
    ...['--shifted', `noise=${noise}`, '-o', at('all.json'), '--quiet', '--json'],
  ]);
  expect(done.stderr).toBe('');
  const json = jsonOf(done);
  const run = await readRun(at('all.json'));
  expect(Object.keys(run.sections)).toEqual(['compare', 'angles', 'landscape', 'line', 'gap']);
  expect(json.gap).toEqual(JSON.parse(JSON.stringify(run.sections.gap)));
  const made = await report(at('all.json'), at('all.html'));
  expect(made.figures).toHaveLength(12);
  const html = await readFile(at('all.html'), 'utf8');
  expect(html.length).toBeLessThan(2_000_000);
  expect(html).toContain('greedy soup');
});
