// npm run bench [-- --scale S] [--runs N] [--only SECTION,…] [--folder DIR] [--out FILE]
//
// Compares stockpot's disk-to-disk mean with what people use, on the same files in the same run, alternating; then
// relates it to what reading alone reaches, warm and cold, and shows how time and memory grow. Prints a table and
// writes JSON with machine, versions and the command. Peers run where Python has them:
//   STOCKPOT_BENCH_PYTHON    a Python with torch and safetensors   (default: python3)
//   STOCKPOT_BENCH_MERGEKIT  a Python with mergekit                (default: the same)
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeCheckpoints } from './checkpoints.mjs';
import { cli, machineOf, ownVersions, root, versionOf } from './machine.mjs';
import { measure, spread } from './measure.mjs';

const { values: options } = parseArgs({
  options: {
    scale: { type: 'string', default: '1' },
    runs: { type: 'string', default: '5' },
    only: { type: 'string' },
    folder: { type: 'string', default: join(tmpdir(), 'stockpot-bench') },
    out: { type: 'string' },
  },
});
const scale = Number(options.scale);
const runs = Number(options.runs);
const threads = availableParallelism();
const folder = options.folder;
mkdirSync(folder, { recursive: true });
const layers = (n) => Math.max(1, Math.round(n * scale));

const python = process.env.STOCKPOT_BENCH_PYTHON ?? 'python3';
const mergekitPython = process.env.STOCKPOT_BENCH_MERGEKIT ?? python;
const scratch = join(root, '.scratch');
mkdirSync(scratch, { recursive: true });

const readRate = join(scratch, 'read_rate');
execFileSync('c++', ['-O2', '-o', readRate, join(root, 'bench/read_rate.cc'), '-lpthread']);
// Bundled beside the library, so that it finds the same addon.
const mergeOnly = join(root, 'dist/bench-merge-only.mjs');
execFileSync(join(root, 'node_modules/.bin/esbuild'), [
  join(root, 'bench/merge_only.ts'),
  '--bundle',
  '--platform=node',
  '--format=esm',
  '--packages=external',
  `--outfile=${mergeOnly}`,
  '--log-level=error',
]);

const has = (interpreter, module) =>
  spawnSync(interpreter, ['-c', `import ${module}`]).status === 0;
const gb = (bytes) => `${(bytes / 1e9).toPrecision(3)} GB`;
const mb = (bytes) => `${Math.round(bytes / 1e6)} MB`;
const show = (s, unit = '') => `${s.median}${unit} (${s.min}–${s.max})`;
const print = (...line) => console.log(...line);
const warm = (paths) => measure(readRate, [String(threads), '131072', 'warm', ...paths]);
const dropPages = (paths) => measure(readRate, ['1', '4096', 'drop', ...paths]);

const result = {
  command: `npm run bench -- ${process.argv.slice(2).join(' ')}`.trim(),
  date: new Date().toISOString().slice(0, 10),
  machine: machineOf(folder),
  versions: ownVersions(),
  sections: {},
};

/** Runs the contenders in turn, n times, after one round that does not count; each gets its seconds, peaks and output. */
async function alternate(contenders, n = runs, between = async () => {}) {
  const records = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let i = -1; i < n; i++) {
    for (const [name, contender] of Object.entries(contenders)) {
      await between(name);
      const r = await contender();
      if (i >= 0) records[name].push(r);
    }
  }
  return records;
}

const ratios = (a, b) => spread(a.map((x, i) => x / b[i]));

async function nodeItself() {
  const { peak } = await measure(process.execPath, ['-e', 'setTimeout(() => {}, 400)']);
  return peak;
}

async function peers() {
  const { paths, bytes } = makeCheckpoints(join(folder, 'peers'), {
    network: 'vit-l',
    layers: layers(12),
    dtype: 'F32',
    k: 8,
  });
  const out = join(folder, 'peers-out');
  const fresh = (name) => {
    rmSync(`${out}-${name}`, { recursive: true, force: true });
    return `${out}-${name}`;
  };
  const contenders = {
    stockpot: () =>
      measure(process.execPath, [
        cli,
        'uniform',
        ...paths,
        '-o',
        `${fresh('stockpot.safetensors')}`,
      ]),
  };
  if (has(python, 'torch')) {
    result.versions.torch = versionOf(python, 'torch');
    contenders.plain_loop = () =>
      measure(python, [
        join(root, 'bench/peers/plain_loop.py'),
        fresh('plain.safetensors'),
        ...paths,
      ]);
    contenders.foreach = () =>
      measure(python, [
        join(root, 'bench/peers/foreach.py'),
        fresh('foreach.safetensors'),
        ...paths,
      ]);
  }
  if (has(mergekitPython, 'mergekit')) {
    result.versions.mergekit = versionOf(mergekitPython, 'mergekit');
    contenders.mergekit = () =>
      measure(mergekitPython, [join(root, 'bench/peers/mergekit.py'), fresh('mergekit'), ...paths]);
  }
  await warm(paths);
  const records = await alternate(contenders);
  const base = await nodeItself();
  const section = {
    inputs: 8,
    bytesEach: bytes,
    pageCache: 'warm',
    nodeItself: base,
    contenders: {},
  };
  print(
    `\n8 × ${gb(bytes)} f32, warm, ${threads} threads, output synced to disk by all (median, min–max of ${runs})`,
  );
  for (const [name, rs] of Object.entries(records)) {
    const seconds = spread(rs.map((r) => r.seconds));
    const peak = Math.max(...rs.map((r) => r.peak));
    const times = ratios(
      rs.map((r) => r.seconds),
      records.stockpot.map((r) => r.seconds),
    );
    section.contenders[name] = { seconds, peak, timesStockpot: times };
    print(
      `  ${name.padEnd(12)} ${show(seconds, ' s').padEnd(26)} ${name === 'stockpot' ? `${mb(peak)}, ${mb(peak - base)} above Node's own` : `${mb(peak).padEnd(9)} ${show(times, '×')} stockpot's time`}`,
    );
  }
  // The results must agree: largest difference from stockpot's float64 mean.
  for (const [name, file] of [
    ['plain_loop', 'plain.safetensors'],
    ['foreach', 'foreach.safetensors'],
    ['mergekit', 'mergekit'],
  ]) {
    if (!contenders[name]) continue;
    const { stdout } = spawnSync(
      process.execPath,
      [cli, 'diff', `${out}-stockpot.safetensors`, `${out}-${file}`, '--json', '--quiet'],
      { encoding: 'utf8', maxBuffer: 2 ** 28 },
    );
    const d = JSON.parse(stdout);
    const wrong = d.differing.reduce((n, t) => n + t.different, 0);
    const all = d.differing.reduce((n, t) => n + t.elements, 0);
    section.contenders[name].differs = {
      elements: wrong,
      of: all,
      largest: Math.max(0, ...d.differing.map((t) => t.largest)),
      missing: d.onlyInA.length,
    };
    print(
      `  ${name}: ${((100 * wrong) / Math.max(1, all)).toFixed(1)} % of elements differ from the float64 mean, by at most ${section.contenders[name].differs.largest.toPrecision(2)}`,
    );
  }
  result.sections.peers = section;
}

const rate = (r) => {
  const { bytes, bytesRead, seconds } = JSON.parse(r.stdout);
  return (bytes ?? bytesRead) / seconds;
};

async function reading() {
  result.sections.reading = {};
  print(
    `\n20 inputs, warm, the output's write and hash left out: share of what pread alone reaches (${threads} threads, same blocks)`,
  );
  const all = {};
  for (const [dtype, n] of [
    ['F32', 6],
    ['BF16', 12],
  ]) {
    const { paths, bytes } = makeCheckpoints(join(folder, 'reading'), {
      network: 'vit-l',
      layers: layers(n),
      dtype,
      k: 20,
    });
    await warm(paths);
    const block = String(Math.min(131072, Math.floor((2 << 20) / 20 / 4096) * 4096));
    const records = await alternate({
      pread: () => measure(readRate, [String(threads), block, 'warm', ...paths]),
      merge: () => measure(process.execPath, [mergeOnly, ...paths]),
    });
    const section = {
      inputs: 20,
      bytesEach: bytes,
      preadBytesPerSecond: spread(records.pread.map(rate)),
      mergeBytesPerSecond: spread(records.merge.map(rate)),
      share: ratios(records.merge.map(rate), records.pread.map(rate)),
    };
    result.sections.reading[dtype] = section;
    all[dtype] = records.merge.map(rate);
    print(
      `  ${dtype.padEnd(5)} pread ${gb(section.preadBytesPerSecond.median)}/s, merge ${gb(section.mergeBytesPerSecond.median)}/s: ${show(section.share)}`,
    );
  }
  result.sections.reading.bf16OverF32 = spread(all.BF16.map((x, i) => x / all.F32[i]));
  print(`  bf16 over f32, bytes per second: ${show(result.sections.reading.bf16OverF32, '×')}`);
}

async function cold() {
  const { paths, bytes } = makeCheckpoints(join(folder, 'peers'), {
    network: 'vit-l',
    layers: layers(12),
    dtype: 'F32',
    k: 8,
  });
  const settings = [
    ['4', 8],
    ['8', 8],
    ['4', 16],
    ['8', 16],
  ];
  const contenders = Object.fromEntries(
    settings.map(([t, mib]) => [
      `direct ${t} × ${mib} MiB`,
      () => measure(readRate, [t, String(mib << 20), 'direct', ...paths]),
    ]),
  );
  contenders.merge = () => measure(process.execPath, [mergeOnly, ...paths]);
  const records = await alternate(contenders, runs, () => dropPages(paths));
  // The disk's own rate: in each round the best of the ways to read it.
  const disk = records.merge.map((_, i) =>
    Math.max(...settings.map(([t, mib]) => rate(records[`direct ${t} × ${mib} MiB`][i]))),
  );
  const section = {
    inputs: 8,
    bytesEach: bytes,
    pageCache: 'dropped before each run',
    diskBytesPerSecond: spread(disk),
    mergeBytesPerSecond: spread(records.merge.map(rate)),
    share: spread(records.merge.map((r, i) => rate(r) / disk[i])),
  };
  result.sections.cold = section;
  print(
    `\n8 × ${gb(bytes)} f32, cold: disk ${gb(section.diskBytesPerSecond.median)}/s (best of O_DIRECT with 4 or 8 reads of 8 or 16 MiB in flight), merge ${gb(section.mergeBytesPerSecond.median)}/s: ${show(section.share)}`,
  );
}

async function growth() {
  const base = await nodeItself();
  const section = { nodeItself: base, byK: [], bySize: [] };
  print('\nGrowth, disk to disk, warm');
  const one = async (paths, bytes) => {
    await warm(paths);
    const out = join(folder, 'growth.safetensors');
    const { merge } = await alternate(
      {
        merge: () =>
          measure(process.execPath, [
            cli,
            'uniform',
            ...paths,
            '-o',
            out,
            '--overwrite',
            '--quiet',
          ]),
      },
      3,
    );
    const entry = {
      k: paths.length,
      bytesEach: bytes,
      seconds: spread(merge.map((r) => r.seconds)),
      peakAboveNode: Math.max(...merge.map((r) => r.peak)) - base,
    };
    print(
      `  k = ${String(entry.k).padStart(2)} × ${gb(bytes)}: ${show(entry.seconds, ' s')}, ${gb((entry.k * bytes) / entry.seconds.median)}/s of input, ${mb(entry.peakAboveNode)} above Node's own`,
    );
    return entry;
  };
  const { paths, bytes } = makeCheckpoints(join(folder, 'growth'), {
    network: 'vit-b',
    layers: layers(4),
    dtype: 'F32',
    k: 72,
  });
  for (const k of [2, 4, 8, 16, 36, 72]) section.byK.push(await one(paths.slice(0, k), bytes));
  for (const n of [3, 6, 12, 24]) {
    const made = makeCheckpoints(join(folder, 'growth'), {
      network: 'vit-l',
      layers: layers(n),
      dtype: 'BF16',
      k: 4,
    });
    section.bySize.push(await one(made.paths, made.bytes));
  }
  result.sections.growth = section;
}

async function gigantic() {
  const { paths, bytes } = makeCheckpoints(join(folder, 'gigantic'), {
    network: 'vit-g',
    layers: scale === 1 ? undefined : layers(48),
    dtype: 'BF16',
    k: 4,
  });
  const base = await nodeItself();
  const out = join(folder, 'gigantic-out.safetensors');
  const records = [];
  for (let i = 0; i < Math.min(runs, 3); i++) {
    records.push(
      await measure(process.execPath, [
        cli,
        'uniform',
        ...paths,
        '-o',
        out,
        '--overwrite',
        '--quiet',
        '--json',
      ]),
    );
  }
  const section = {
    inputs: 4,
    bytesEach: bytes,
    pageCache: 'as the run before left it; inputs and output do not all fit the memory',
    seconds: spread(records.map((r) => r.seconds)),
    bytesPerSecond: spread(records.map((r) => (5 * bytes) / r.seconds)),
    peakAboveNode: Math.max(...records.map((r) => r.peak)) - base,
  };
  result.sections.gigantic = section;
  print(
    `\nViT-G/14, 4 × ${gb(bytes)} bf16, disk to disk: ${show(section.seconds, ' s')}, ${gb(section.bytesPerSecond.median)}/s read and written, ${mb(section.peakAboveNode)} above Node's own`,
  );
}

const sections = { peers, reading, growth, cold, gigantic };
const chosen = options.only?.split(',') ?? Object.keys(sections);
print(
  `stockpot ${result.versions.stockpot}, ${result.machine.processor}, ${threads} threads, load ${result.machine.load.toFixed(2)}`,
);
for (const name of chosen) await sections[name]();
if (options.out) {
  const before = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : null;
  if (before && options.only) result.sections = { ...before.sections, ...result.sections };
  mkdirSync(dirname(options.out), { recursive: true });
  writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
  print(`\nwritten to ${options.out}`);
}
