// Writes docs/benchmarks.md from bench/results/*.json; with --check, says whether it is up to date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const page = join(root, 'docs/benchmarks.md');
const result = (name) => JSON.parse(readFileSync(join(root, 'bench/results', name), 'utf8'));
const [uniform, networks, greedy] = ['cpu-uniform', 'cpu-networks', 'greedy-kitchen'].map((name) =>
  result(`${name}.json`),
);

const number = (x) => (x >= 100 ? x.toFixed(0) : Number(x.toPrecision(3)).toString());
/** Of a number, or of a median with its range. */
const seconds = (s) =>
  typeof s === 'number' ? number(s) : `${number(s.median)} (${number(s.min)}–${number(s.max)})`;
const bytes = (n) => {
  if (n === undefined) return '—';
  return n < 1e9 ? `${Math.round(n / 1e6)} MB` : `${(n / 1e9).toFixed(n < 1e10 ? 2 : 1)} GB`;
};

const rows = [];
/** Rows of one piece of work; the first names it. No device has been measured, so that its column is empty. */
function work(name, contenders) {
  contenders.forEach(([who, time, memory, quality], i) => {
    rows.push([i === 0 ? name : '', who, seconds(time), bytes(memory), '—', quality]);
  });
}

const { inputs, bytesEach, contenders } = uniform.sections.peers;
const differing = ({ differs }) =>
  differs
    ? `${((100 * differs.elements) / differs.of).toFixed(1)} % of the elements differ from the float64 mean`
    : 'the float64 mean, every bit';
const PEERS = {
  stockpot: '**stockpot**',
  foreach: '`torch._foreach_add_`',
  plain_loop: 'PyTorch loop',
  mergekit: 'mergekit, linear',
};
work(
  `mean of ${inputs} × ${bytes(bytesEach)} float32, disk to disk`,
  Object.entries(PEERS).map(([key, who]) => {
    const c = contenders[key];
    return [who, c.seconds, c.peak, differing(c)];
  }),
);

const large = uniform.sections.gigantic;
const { nodeItself } = uniform.sections.growth;
work(
  `mean of ${large.inputs} × ${bytes(large.bytesEach)} bfloat16 (ViT-G/14), more than the page cache holds`,
  [
    [
      '**stockpot**',
      large.seconds,
      nodeItself + large.peakAboveNode,
      'the float64 mean, every bit',
    ],
  ],
);

const accuracy = `${(100 * greedy.accuracy).toFixed(1)} % on held-out, members ${greedy.members.join(', ')}`;
work(`greedy soup of ${greedy.ingredients} small ViTs, ${greedy.examples} images, from disk`, [
  ['**stockpot**', greedy.stockpot.seconds, greedy.stockpot.peak, accuracy],
  [
    "the paper's procedure in PyTorch",
    greedy.official.seconds,
    greedy.official.peak,
    greedy.same.members && greedy.same.accuracy ? 'the same members and accuracy' : 'others',
  ],
]);

const { passes, seventyTwo, gigantic } = networks.sections;
for (const [key, name] of [
  ['tiny forward', 'forward pass, ViT of 0.57 million weights, 128 images of 32 × 32'],
  ['b32 forward', 'forward pass, ViT-B/32, 32 images'],
  ['learned step', 'a step of a learned soup, ten small ViTs, 256 images'],
]) {
  work(name, [
    [
      '**stockpot**',
      passes[key].stockpot,
      undefined,
      "[within 2e-5 of float64's logits, by test](networks.md#what-holds)",
    ],
    ['PyTorch eager', passes[key].torch, undefined, 'reference'],
  ]);
}
work(`${seventyTwo.steps} learned steps by layer, ${seventyTwo.ingredients} ViT-B/32`, [
  ['**stockpot**', seventyTwo.seconds, seventyTwo.peak, '—'],
]);
work('forward pass, ViT-G/14 float32, 2 images', [
  [
    '**stockpot**',
    gigantic.seconds,
    gigantic.peak,
    `logits differ from timm's by ${gigantic.error.toExponential(1)} of the largest`,
  ],
]);

const table = (cells) => `| ${cells.join(' | ')} |`;
const machine = ({ machine: m }) =>
  `${m.processor}, ${m.threads ?? m.processors} processors, ${bytes(m.memory)}`;
const versions = (r) =>
  Object.entries(r.versions)
    .map(([name, v]) => `${name} ${v}`)
    .join(', ');
const text = `<!-- made by scripts/benchmarks_page.mjs from bench/results/; a test compares -->
# Benchmarks

Medians (and ranges) of runs that took turns with their contenders, two threads each, inputs in the page cache but where said. How it was measured, spread, limits and what helped: [performance.md](performance.md).

**No GPU has been measured**: no result of one is committed, so that the column of device memory is empty ([gpu.md](gpu.md)).

${[
  table(['work', 'who', 'seconds', 'peak memory', 'device memory', 'quality']),
  table(Array(6).fill('---')),
  ...rows.map(table),
].join('\n')}

Peak memory is that of the whole process, with Node or Python; — is what was not measured.

| results | date | machine | versions | command |
| --- | --- | --- | --- | --- |
${[
  ['cpu-uniform', uniform],
  ['greedy-kitchen', greedy],
  ['cpu-networks', networks],
]
  .map(([name, r]) =>
    table([
      `[${name}.json](../bench/results/${name}.json)`,
      r.date.slice(0, 10),
      machine(r),
      versions(r),
      `\`${r.command}\``,
    ]),
  )
  .join('\n')}
`;

if (process.argv[2] === '--check') {
  if (!existsSync(page) || readFileSync(page, 'utf8') !== text) {
    console.error('docs/benchmarks.md is out of date: node scripts/benchmarks_page.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(page, text);
}
