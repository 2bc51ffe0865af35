// node bench/greedy.mjs --zoo FOLDER [--runs N] [--accept ge|gt] [--out FILE]
//
// A whole greedy run, from the ingredients and the images on disk to the soup: `stockpot greedy` against the procedure of
// the model-soups script (peers/greedy_official.py: PyTorch, a DataLoader that decodes the images again for every candidate),
// alternating. FOLDER holds ingredients/ and heldout/. The peer's seconds begin when PyTorch is imported; stockpot's are
// those of the whole command. STOCKPOT_BENCH_PYTHON names a Python with torch, torchvision and transformers.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

async function official() {
  const script = join(root, 'bench/peers/greedy_official.py');
  const { peak, stdout } = await measure(python, [script, heldout, options.accept, ...ingredients]);
  return { peak, ...JSON.parse(stdout) };
}

const runs = { stockpot: [], official: [] };
try {
  for (let i = -1; i < Number(options.runs); i++) {
    for (const [name, run] of Object.entries({ stockpot, official })) {
      // The first round only fills the page cache: one of them will do.
      if (i < 0 && name === 'official') continue;
      const r = await run();
      if (i >= 0) runs[name].push(r);
      console.log(`${name}: ${r.seconds.toFixed(2)} s, members ${r.members.join(', ')}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const seconds = (name) => runs[name].map((r) => r.seconds);
const ours = runs.stockpot[0];
const theirs = runs.official[0];
const rejected = ours.trace.filter((s) => !s.kept).map((s) => s.evaluated);
const n = Math.max(...ours.trace.map((s) => s.evaluated), ...rejected);
const shares = rejected.map((evaluated) => evaluated / n);
const result = {
  command: `node bench/greedy.mjs --zoo ${options.zoo} --runs ${options.runs} --accept ${options.accept}`,
  date: new Date().toISOString().slice(0, 10),
  machine: machineOf(tmpdir()),
  versions: {
    ...ownVersions(),
    ...Object.fromEntries(
      ['torch', 'torchvision', 'transformers', 'pillow'].map((m) => [m, versionOf(python, m)]),
    ),
  },
  ingredients: ingredients.length,
  examples: n,
  pageCache: 'warm',
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
  rejected: {
    candidates: rejected.length,
    shareOfExamples: shares.length > 0 ? spread(shares) : null,
    limit: 1 - ours.accuracy + 0.1,
  },
};
console.log(JSON.stringify(result, null, 2));
if (options.out) {
  mkdirSync(dirname(options.out), { recursive: true });
  writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
}
