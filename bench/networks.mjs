// npm run bench:networks [-- --runs N] [--only SECTION,…] [--folder DIR] [--out FILE]
//
// Times forward and backward passes and learned steps beside PyTorch's, alternating, each in a process of its own that
// holds its data ready; and measures the memory of learned soups and of a real ViT-G/14. Prints ratios with their spread
// and writes JSON. STOCKPOT_BENCH_PYTHON names a Python with torch, transformers, timm and safetensors.
import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measure, spread } from './measure.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '9' },
    only: { type: 'string' },
    folder: { type: 'string', default: join(tmpdir(), 'stockpot-bench-networks') },
    out: { type: 'string' },
  },
});
const runs = Number(options.runs);
const threads = Math.min(2, availableParallelism());
const python = process.env.STOCKPOT_BENCH_PYTHON ?? 'python3';
const { folder } = options;
const script = join(root, 'bench/networks.py');
const cli = join(root, 'dist/cli.js');
const server = join(root, 'dist/bench-network-times.mjs');
const print = (line) => console.log(line);
const show = (s, unit) => `${s.median}${unit} (${s.min}–${s.max})`;
const gb = (n) => `${(n / 1e9).toFixed(2)} GB`;

execFileSync(join(root, 'node_modules/.bin/esbuild'), [
  join(root, 'bench/network_times.ts'),
  '--bundle',
  '--platform=node',
  '--format=esm',
  '--packages=external',
  `--outfile=${server}`,
  '--log-level=error',
]);
mkdirSync(folder, { recursive: true });
if (!existsSync(join(folder, 'b32.safetensors'))) {
  execFileSync(python, [script, 'make', folder], { stdio: ['ignore', 'ignore', 'inherit'] });
}

const result = {
  command: `node bench/networks.mjs ${process.argv.slice(2).join(' ')}`.trim(),
  date: new Date().toISOString(),
  machine: {
    processor: cpus()[0]?.model,
    processors: availableParallelism(),
    memory: totalmem(),
    load: loadavg()[0],
  },
  threads,
  versions: { node: process.version },
  sections: {},
};

/** A process that answers names of measurements with seconds. */
async function start(command, args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${command} ended`);
    return value;
  };
  return {
    versions: JSON.parse(await next()),
    time: async (name) => {
      child.stdin.write(`${name}\n`);
      return Number(await next());
    },
    stop: () => child.stdin.end(),
  };
}

/** Both sides in turn, `runs` times after a warm-up: seconds of each, and the ratio of each pair. */
async function versus(ours, theirs, name, peer = name) {
  for (let i = 0; i < 2; i++) {
    await ours.time(name);
    await theirs.time(peer);
  }
  const a = [];
  const b = [];
  for (let i = 0; i < runs; i++) {
    a.push(await ours.time(name));
    b.push(await theirs.time(peer));
  }
  const entry = {
    stockpot: spread(a),
    torch: spread(b),
    ratio: spread(b.map((x, i) => x / a[i])),
    ratioOfFastest: Number((Math.min(...b) / Math.min(...a)).toPrecision(4)),
  };
  print(
    `${name}: ${show(entry.stockpot, ' s')}, torch ${show(entry.torch, ' s')}: ${show(entry.ratio, '×')}, fastest of each ${entry.ratioOfFastest}×`,
  );
  return entry;
}

async function passes() {
  const ours = await start(process.execPath, [server, folder, String(threads)]);
  const theirs = await start(python, [script, 'serve', folder, String(threads)]);
  Object.assign(result.versions, ours.versions, theirs.versions);
  const section = {};
  for (const name of ['tiny forward', 'b32 forward', 'learned step'])
    section[name] = await versus(ours, theirs, name);
  const forward = [];
  const backward = [];
  for (let i = 0; i < runs + 2; i++) {
    forward.push(await ours.time('tiny forward alone'));
    backward.push(await ours.time('tiny backward alone'));
  }
  const ratio = spread(backward.slice(2).map((b, i) => b / forward[i + 2]));
  section['backward against forward'] = {
    forward: spread(forward.slice(2)),
    backward: spread(backward.slice(2)),
    ratio,
  };
  print(`backward / forward, batch 128: ${show(ratio, '×')}`);
  ours.stop();
  theirs.stop();
  result.sections.passes = section;
}

/** Peak memory of learned steps from disk, with few and with many ingredients. */
async function streamed() {
  const section = { byK: [] };
  const memory = '64MB';
  for (const k of [4, 40]) {
    const paths = Array.from({ length: k }, (_, i) => join(folder, 'tiny-copies', String(i)));
    for (const [i, path] of paths.entries()) {
      if (!existsSync(path))
        cpSync(join(folder, 'tiny', String(i % 10)), path, { recursive: true });
    }
    const peaks = [];
    for (let i = 0; i < 3; i++) {
      const { peak } = await measure(process.execPath, [
        cli,
        ...['learned', ...paths, '--data', join(folder, 'tiny.safetensors')],
        ...[
          '--steps',
          '4',
          '--memory',
          memory,
          '-o',
          join(folder, 'streamed'),
          '--overwrite',
          '--quiet',
        ],
      ]);
      peaks.push(peak);
    }
    section.byK.push({ k, peak: spread(peaks) });
    print(
      `learned, ${k} ingredients streamed, --memory ${memory}: peak ${gb(spread(peaks).median)}`,
    );
  }
  section.ratio = section.byK[1].peak.median / section.byK[0].peak.median;
  print(`  40 against 4: ${section.ratio.toFixed(3)}×`);
  result.sections.streamed = section;
}

/** A learned step by layer over 72 ViT-B/32. */
async function seventyTwo() {
  const made = join(folder, 'b32-72');
  if (!existsSync(join(made, '71', 'model.safetensors')))
    execFileSync(python, [script, 'make-72', folder], { stdio: ['ignore', 'ignore', 'inherit'] });
  const paths = Array.from({ length: 72 }, (_, i) => join(made, String(i)));
  const { peak, seconds, stdout } = await measure(process.execPath, [
    cli,
    ...['learned', ...paths, '--data', join(folder, 'b32.safetensors'), '--by', 'layer'],
    ...['--steps', '2', '--batch-size', '32', '--memory', '2.6GB'],
    ...['-o', join(folder, 'b32-soup'), '--overwrite', '--quiet', '--json'],
  ]);
  const { plan, loss } = { plan: null, ...JSON.parse(stdout) };
  result.sections.seventyTwo = { ingredients: 72, steps: 2, peak, seconds, loss, plan };
  print(
    `72 × ViT-B/32 (f16), 2 steps by layer and the soup: ${seconds.toFixed(0)} s, peak ${gb(peak)}`,
  );
}

/** Two images through a ViT-G/14 of random float32 weights, and its logits beside timm's. */
async function gigantic() {
  if (!existsSync(join(folder, 'vitg.expected.safetensors')))
    execFileSync(python, [script, 'make-vitg', folder], { stdio: ['ignore', 'ignore', 'inherit'] });
  const out = join(folder, 'vitg.logits.safetensors');
  const { peak, seconds } = await measure(process.execPath, [
    cli,
    ...['predict', join(folder, 'vitg'), '--data', join(folder, 'vitg.safetensors')],
    ...['-o', out, '--overwrite', '--quiet'],
  ]);
  const found = tensor(out, 'logits');
  const expected = tensor(join(folder, 'vitg.expected.safetensors'), 'logits');
  const largest = Math.max(...expected.map(Math.abs));
  const error = Math.max(...expected.map((e, i) => Math.abs(e - found[i]))) / largest;
  const header = tensor(join(folder, 'vitg', 'model.safetensors'));
  const weights = Object.values(header).reduce(
    (n, t) => n + (t.shape ? 4 * t.shape.reduce((a, b) => a * b, 1) : 0),
    0,
  );
  result.sections.gigantic = { seconds, peak, weights, aboveWeights: peak - weights, error };
  print(
    `ViT-G/14, two images: ${seconds.toFixed(1)} s, peak ${gb(peak)}, weights ${gb(weights)}, above them ${gb(peak - weights)}; largest difference from timm ${error.toExponential(1)} of the largest logit`,
  );
}

/** A float32 tensor of a file, or its header. */
function tensor(path, name) {
  const file = openSync(path, 'r');
  const size = Buffer.alloc(8);
  readSync(file, size, 0, 8, 0);
  const length = Number(size.readBigUInt64LE());
  const text = Buffer.alloc(length);
  readSync(file, text, 0, length, 8);
  const header = JSON.parse(text.toString());
  if (!name) return header;
  const [begin, end] = header[name].data_offsets;
  const bytes = Buffer.alloc(end - begin);
  readSync(file, bytes, 0, bytes.length, 8 + length + begin);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

const sections = { passes, streamed, gigantic, seventyTwo };
const chosen = options.only?.split(',') ?? Object.keys(sections);
for (const name of chosen) await sections[name]();
if (options.out) {
  const before = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : null;
  if (before && options.only) result.sections = { ...before.sections, ...result.sections };
  writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
  print(`written to ${options.out}`);
}
process.exit(0);
