// Checks and publishes a release: `release.mjs --dry-run`, or `release.mjs` where the prebuilds of all platforms lie in
// prebuilds/ (and the GPU library in packages/cuda/), as .github/workflows/release.yml gathers them.
//
// A dry run goes through the same steps and says what is missing without failing for prebuilds of other platforms; it
// publishes nothing. Prints name, size, number of files and SHA-256 of every package.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkNeeds } from './check_prebuild.mjs';

/** What a release brings, as process.platform-process.arch. Elsewhere installing compiles. */
const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-arm64'];

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dryRun = process.argv.slice(2).join(' ') === '--dry-run';
if (process.argv.length > 2 && !dryRun) stop('usage: node scripts/release.mjs [--dry-run]');
process.chdir(root);

function stop(...sentences) {
  for (const sentence of sentences) console.error(`release: ${sentence}`);
  process.exit(1);
}

function run(command, ...args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error || status !== 0)
    stop(`${command} ${args.join(' ')}: ${error?.message ?? (stderr || stdout)}`);
  return stdout.trim();
}

const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
const { version, files } = read('package.json');
const cuda = read('packages/cuda/package.json');
const wrong = [];
const missing = [];

if (cuda.version !== version || cuda.peerDependencies.stockpot !== version)
  wrong.push(`packages/cuda/package.json is not of version ${version}`);
if (!readFileSync('CHANGELOG.md', 'utf8').includes(`\n## [${version}]`))
  missing.push(`a section [${version}] in CHANGELOG.md`);
if (!run('git', 'tag', '--points-at', 'HEAD').split('\n').includes(`v${version}`))
  missing.push(`the tag v${version} on this commit`);
if (run('git', 'status', '--porcelain') !== '') missing.push('a clean working tree');

for (const platform of PLATFORMS) {
  const folder = join('prebuilds', platform);
  const addons = existsSync(folder) ? readdirSync(folder).filter((n) => n.endsWith('.node')) : [];
  if (addons.length === 0) missing.push(`${folder}/stockpot*.node`);
  else if (addons.length > 1) wrong.push(`${folder} has ${addons.join(', ')}`);
  if (!platform.startsWith('linux')) continue;
  for (const name of addons) {
    wrong.push(...checkNeeds(join(folder, name)).map((why) => `${folder}/${name} ${why}`));
  }
}
const library = 'packages/cuda/linux-x64/libstockpot-cuda.so';
if (existsSync(library)) wrong.push(...checkNeeds(library).map((why) => `${library} ${why}`));
else missing.push(`${library} (scripts/cuda_release.sh)`);
if (!existsSync('docs/api/README.md')) missing.push('docs/api (npm run docs)');
for (const name of files) {
  if (!existsSync(name)) (name === 'prebuilds' ? missing : wrong).push(`${name}, which is packed`);
}

if (wrong.length > 0 || (missing.length > 0 && !dryRun))
  stop(...wrong, ...missing.map((what) => `missing: ${what}`));
for (const what of missing) console.log(`missing: ${what}`);

const out = join(root, '.scratch', 'release');
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
// The library first: where it is not there, the package of the same version still works.
for (const folder of ['packages/cuda', '.']) {
  const args = ['--json', '--ignore-scripts', '--pack-destination', out];
  const [packed] = JSON.parse(run('npm', 'pack', `./${folder}`, ...args));
  const tarball = join(out, packed.filename);
  const sha256 = createHash('sha256').update(readFileSync(tarball)).digest('hex');
  console.log(
    `${packed.filename}: ${packed.size} bytes, ${packed.entryCount} files, sha256 ${sha256}`,
  );
  if (dryRun) continue;
  run('npm', 'publish', tarball, '--ignore-scripts', '--provenance', '--access', 'public');
  console.log(`published ${packed.name}@${packed.version}`);
}
if (dryRun) console.log('nothing was published: this was a dry run');
