// node scripts/dump_network.mjs CHECKPOINT DATA FOLDER [--examples N]
//
// Writes FOLDER/network.bin: the operations of a checkpoint's network, its weights, the first N examples (8) and their
// logits as the processor computes them, which `network_tests LIBRARY --case FOLDER` runs on a device without Node.
import { execFileSync, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
// Bundled beside the library, so that it finds the same addon.
const bundle = join(root, 'dist/dump-network.mjs');
execFileSync(join(root, 'node_modules/.bin/esbuild'), [
  join(root, 'scripts/dump_network.ts'),
  ...['--bundle', '--platform=node', '--format=esm', '--packages=external', '--log-level=error'],
  `--outfile=${bundle}`,
]);
const { status } = spawnSync(process.execPath, [bundle, ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exitCode = status ?? 1;
