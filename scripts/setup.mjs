// Everything a fresh clone needs before it can run: npm packages, compilers, the addon, the compiled TypeScript. Each
// step is skipped when its inputs have not changed since it last succeeded, so a second run starts at once.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeHeaders } from './headers.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 17)) {
  stop(`stockpot needs Node 20.17 or newer, this is ${process.version}.`);
}

function stop(message) {
  console.error(message);
  process.exit(1);
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (error || status !== 0)
    stop(`setup: "${command} ${args.join(' ')}" failed${error ? `: ${error.message}` : ''}`);
}

function filesIn(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesIn(join(path, name)));
}

/** Runs `step` unless its inputs and its product are as they were when it last succeeded. */
function once(name, inputs, product, step) {
  const hash = createHash('sha256').update(process.version);
  for (const file of inputs.flatMap(filesIn)) hash.update(file).update(readFileSync(file));
  const stamp = join('.setup', `${name}.stamp`);
  const digest = hash.digest('hex');
  if (existsSync(product) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  console.error(`setup: ${name}`);
  step();
  mkdirSync('.setup', { recursive: true });
  writeFileSync(stamp, digest);
}

const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined;

function requireCompilers() {
  const missing = [
    [has('c++') || has('g++') || has('clang++'), 'g++'],
    [has('make'), 'make'],
    [has('python3'), 'python3'],
  ].flatMap(([there, name]) => (there ? [] : [name]));
  if (missing.length === 0) return;
  const install = `apt-get install -y ${missing.join(' ')}`;
  if (process.getuid?.() !== 0 || !has('apt-get')) {
    stop(
      `setup: ${missing.join(', ')} not found. Install with:\n  sudo ${install}\nand run this again.`,
    );
  }
  execFileSync('apt-get', ['update'], { stdio: ['ignore', 2, 2] });
  run('apt-get', ['install', '-y', ...missing]);
}

// Not `npm ci`: it fails where the registry lacks the optional packages of other platforms, which the lock file names.
once('npm packages', ['package.json', 'package-lock.json'], 'node_modules/vitest', () =>
  run('npm', [
    'install',
    '--no-save',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ]),
);
once('native addon', ['native', 'binding.gyp'], 'build/Release/stockpot.node', () => {
  requireCompilers();
  run(process.execPath, [
    'node_modules/node-gyp/bin/node-gyp.js',
    'rebuild',
    '--silent',
    '--jobs=max',
    ...(nodeHeaders ? [`--nodedir=${nodeHeaders}`] : []),
  ]);
});
once(
  'TypeScript',
  ['lib', 'tsup.config.ts', 'tsconfig.json', 'package.json'],
  'dist/index.js',
  () => run(process.execPath, ['node_modules/tsup/dist/cli-default.js', '--silent']),
);

// Examples import stockpot by its name, as a project does that has installed it.
if (!existsSync('examples/node_modules/stockpot')) {
  mkdirSync('examples/node_modules', { recursive: true });
  symlinkSync('../..', 'examples/node_modules/stockpot');
}
