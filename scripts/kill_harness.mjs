// node scripts/kill_harness.mjs [--runs KILLS] [--seed N] [--out FILE] [--work FOLDER]
//
// Kills runs of every recipe (kill -9) at random moments, has them go on, and compares what they leave with undisturbed
// runs (test/crash/). Half of the moments are drawn over the time that a run takes, half over its calls on files. With
// --out, the result is added to what the file holds of this version. Exits with 1 where anything was not as it must be.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { cli, machineOf, ownVersions, root } from '../bench/machine.mjs';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
    work: { type: 'string' },
  },
});
const wanted = Number(options.runs);
const seed = Number(options.seed);

const bundle = (name) => {
  const out = join(root, `.scratch/kill-harness/${name}.mjs`);
  execFileSync(join(root, 'node_modules/.bin/esbuild'), [
    join(root, `test/crash/${name}.ts`),
    ...['--bundle', '--platform=node', '--format=esm', '--log-level=error', `--outfile=${out}`],
  ]);
  return import(pathToFileURL(out).href);
};
const { buildFault, cycle, drawMoments, measure, randomOf } = await bundle('harness');
const { makeZoo, scenarios } = await bundle('scenarios');

const work = options.work ?? mkdtempSync(join(tmpdir(), 'stockpot-kill-'));
mkdirSync(work, { recursive: true });
const places = { program: cli, work, fault: join(work, 'fault.so') };
if (!buildFault(join(root, 'test/crash/fault.c'), places.fault)) {
  console.error('This needs Linux and a C compiler (cc).');
  process.exit(1);
}
const [K, BYTES] = [4, 16e6];
const all = scenarios(join(root, 'examples/digits'), makeZoo(join(work, 'zoo'), K, BYTES));
const baselines = [];
for (const s of all) {
  baselines.push(await measure(places, s, 3));
  const { seconds, calls } = baselines.at(-1);
  console.log(`${s.name}: ${seconds.toFixed(2)} s, ${calls.length} calls that change the disk`);
}

const piece = {
  seed,
  kills: 0,
  cycles: 0,
  byTime: 0,
  byCall: 0,
  whileGoingOn: 0,
  outputAfterKill: { none: 0, old: 0, new: 0 },
  scenarios: Object.fromEntries(all.map((s) => [s.name, 0])),
  hits: {},
  failures: [],
};
const began = performance.now();
while (piece.kills < wanted) {
  const i = piece.cycles % all.length;
  const moments = drawMoments(baselines[i], randomOf(seed * 1_000_003 + piece.cycles));
  const { kills, failures } = await cycle(places, all[i], baselines[i], moments);
  piece.cycles++;
  for (const { moment, round, hit, output } of kills) {
    piece.kills++;
    piece[moment === 'time' ? 'byTime' : 'byCall']++;
    if (round > 0) piece.whileGoingOn++;
    piece.outputAfterKill[output]++;
    piece.scenarios[all[i].name]++;
    piece.hits[hit] = (piece.hits[hit] ?? 0) + 1;
  }
  for (const failure of failures) {
    piece.failures.push({ scenario: all[i].name, moments, failure });
    console.log(`FAILED ${all[i].name}: ${failure} ${JSON.stringify(moments)}`);
  }
  if (piece.cycles % 50 === 0)
    console.log(`${piece.kills} kills, ${piece.failures.length} failures`);
}
piece.minutes = Math.round((performance.now() - began) / 6000) / 10;
piece.hits = Object.fromEntries(Object.entries(piece.hits).sort(([, a], [, b]) => b - a));
if (!options.work) rmSync(work, { recursive: true, force: true });
console.log(
  `${piece.kills} kills in ${piece.cycles} cycles and ${piece.minutes} minutes; ${piece.failures.length} failures`,
);

/** Adds counts, and counts within counts. */
const add = (a, b) =>
  typeof b === 'number'
    ? (a ?? 0) + b
    : Array.isArray(b)
      ? [...(a ?? []), ...b]
      : Object.fromEntries(
          [...new Set([...Object.keys(a ?? {}), ...Object.keys(b)])].map((k) => [
            k,
            b[k] === undefined ? a[k] : add(a?.[k], b[k]),
          ]),
        );

if (options.out) {
  const known = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : null;
  const pieces = [...(known?.pieces ?? []), piece];
  const { seed: _, ...total } = pieces.reduce(add, {});
  const result = {
    command:
      'node scripts/kill_harness.mjs --runs KILLS --seed SEED --out FILE, once for each of pieces',
    date: new Date().toISOString().slice(0, 10),
    machine: machineOf(tmpdir()),
    versions: ownVersions(),
    madeUpZoo: { checkpoints: K, bytesEach: BYTES },
    total,
    pieces,
  };
  mkdirSync(dirname(options.out), { recursive: true });
  writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
}
process.exit(piece.failures.length > 0 ? 1 : 0);
