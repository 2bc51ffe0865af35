// node bench/images.mjs [--runs N] [--out FILE]
//
// How fast images are prepared (images.ts says what is measured), in images a second.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { machineOf, ownVersions, root } from './machine.mjs';
import { spread } from './measure.mjs';

const { values: options } = parseArgs({
  options: { runs: { type: 'string', default: '5' }, out: { type: 'string' } },
});
// Bundled beside the library, so that it finds the same addon.
const bundle = join(root, 'dist/bench-images.mjs');
execFileSync(join(root, 'node_modules/.bin/esbuild'), [
  join(root, 'bench/images.ts'),
  ...['--bundle', '--platform=node', '--format=esm', '--packages=external', '--log-level=error'],
  `--outfile=${bundle}`,
]);
const runs = Array.from({ length: Number(options.runs) }, () =>
  JSON.parse(execFileSync(process.execPath, [bundle], { encoding: 'utf8' })),
);
const result = {
  command: `node bench/images.mjs --runs ${options.runs}`,
  date: new Date().toISOString().slice(0, 10),
  machine: machineOf(tmpdir()),
  versions: ownVersions(),
  image: runs[0].image,
  imagesPerSecond: Object.fromEntries(
    ['decode', 'resample', 'whole'].map((part) => [part, spread(runs.map((r) => r[part]))]),
  ),
};
console.log(JSON.stringify(result, null, 2));
if (options.out) {
  mkdirSync(dirname(options.out), { recursive: true });
  writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
}
