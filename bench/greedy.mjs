// node bench/greedy.mjs --zoo FOLDER [--runs N] [--accept ge|gt] [--out FILE]
//
// A whole greedy run, from the ingredients and the images on disk to the soup: `stockpot greedy` against the procedure of
// the model-soups script (peers/greedy_official.py: PyTorch, a DataLoader that decodes the images again for every candidate),
// alternating. FOLDER holds ingredients/ and heldout/. The peer's seconds begin when PyTorch is imported; stockpot's are
// those of the whole command. STOCKPOT_BENCH_PYTHON names a Python with torch, torchvision and transformers.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { cli, machineOf, ownVersions, root, versionOf } from './machine.mjs';
import { measure, spread } from './measure.mjs';

const { values: options } = parseArgs({
  options: {
    zoo: { type: 'string' },
    runs: { type: 'string', default: '5' },
    accept: { type: 'string', default: 'ge' },
    out: { type: 'string' },
  },
});
if (!options.zoo) {
  console.error(
    'usage: node bench/greedy.mjs --zoo FOLDER [--runs N] [--accept ge|gt] [--out FILE]',
  );
  process.exit(2);
}
const python = process.env.STOCKPOT_BENCH_PYTHON ?? 'python3';
const heldout = join(options.zoo, 'heldout');
const ingredients = readdirSync(join(options.zoo, 'ingredients'))
  .sort()
  .map((name) => join(options.zoo, 'ingredients', name));
const folder = mkdtempSync(join(tmpdir(), 'stockpot-bench-greedy-'));

async function stockpot() {
  const { seconds, peak, stdout } = await measure(process.execPath, [
    ...[cli, 'greedy', ...ingredients, '--data', heldout, '-o', join(folder, 'soup')],
    // Weights and mixes in float32, as the peer has them.
    ...['--dtype', 'f32', '--accept', options.accept, '--threads', '2'],
    ...['--overwrite', '--quiet', '--json'],
  ]);
  return { seconds, peak, ...pick(JSON.parse(stdout)) };
}

const pick = ({ order, members, accuracy, trace }) => ({ order, members, accuracy, trace });
/** Images of the held-out set. */
const count = readdirSync(heldout).reduce((n, c) => n + readdirSync(join(heldout, c)).length, 0);

async function official() {
  const script = join(root, 'bench/peers/greedy_official.py');
  const { peak, stdout } = await measure(python, [script, heldout, options.accept, ...ingredients]);
  return { peak, ...JSON.parse(stdout) };
}

const runs = { stockpot: [], official: [] };

function report() {
  const seconds = (name) => runs[name].map((r) => r.seconds);
  const [ours, theirs] = [runs.stockpot[0], runs.official[0]];
  const rejected = ours.trace.filter((s) => !s.kept).map((s) => s.evaluated);
  const n = count;
  return {
    command: `node bench/greedy.mjs --zoo ${options.zoo} --runs ${options.runs} --accept ${options.accept}`,
    date: new Date().toISOString().slice(0, 10),
    machine,
    versions,
    ingredients: ingredients.length,
    examples: n,
    pageCache: 'warm',
    rounds: runs.official.length,
    same: {
      order: String(ours.order) === String(theirs.order),
      members: String(ours.members) === String(theirs.members),
      accuracy: ours.accuracy === theirs.accuracy,
    },
    members: ours.members,
    accuracy: ours.accuracy,
    stockpot: {
      seconds: spread(seconds('stockpot')),
      peak: Math.max(...runs.stockpot.map((r) => r.peak)),
    },
    official: {
      seconds: spread(seconds('official')),
      peak: Math.max(...runs.official.map((r) => r.peak)),
    },
    ratio: spread(seconds('official').map((s, i) => s / runs.stockpot[i].seconds)),
    load: spread(runs.official.map((r) => r.load)),
    // What rejected candidates saw of the examples, and the share that the soup gets wrong plus a tenth.
    rejected: {
      candidates: rejected.length,
      shareOfExamples: rejected.length > 0 ? spread(rejected.map((e) => e / n)) : null,
      limit: 1 - ours.accuracy + 0.1,
    },
  };
}

const machine = machineOf(tmpdir());
const versions = {
  ...ownVersions(),
  ...Object.fromEntries(
    ['torch', 'torchvision', 'transformers', 'pillow'].map((m) => [m, versionOf(python, m)]),
  ),
};
try {
  const { seconds } = await stockpot(); // fills the page cache
  console.log(`stockpot: ${seconds.toFixed(2)} s, not counted`);
  for (let i = 0; i < Number(options.runs); i++) {
    for (const [name, run] of Object.entries({ stockpot, official })) {
      const r = { ...(await run()), load: loadavg()[0] };
      runs[name].push(r);
      console.log(`${name}: ${r.seconds.toFixed(2)} s, members ${r.members.join(', ')}`);
    }
    // After each round, so that one that is stopped leaves what it has.
    if (!options.out) continue;
    mkdirSync(dirname(options.out), { recursive: true });
    writeFileSync(options.out, `${JSON.stringify(report(), null, 2)}\n`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(JSON.stringify(report(), null, 2));
