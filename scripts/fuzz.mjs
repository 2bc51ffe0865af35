// Coverage-guided fuzzing of the readers (docs/security-testing.md):
//
//   npm run fuzz [TARGET|all] [SECONDS]
//
// The fuzzer is Jazzer.js, which is installed into build-fuzz/ by the first run, as nothing else needs it. Inputs that
// reach new code are kept in build-fuzz/corpus/; what fails is put in test/fuzz/crashes/TARGET/, which the tests replay.
// The numbers of each target's last run go to bench/results/fuzz.json. With FUZZ_NODE=COMMAND another Node runs it:
// Jazzer.js's own library needs glibc 2.38.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { build } from 'tsup';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const FUZZER = '@jazzer.js/core';
const VERSION = '4.0.0';
const BUILD = 'build-fuzz';
const RESULTS = 'bench/results/fuzz.json';
/** Of the whole process, Node and the fuzzer's tables included; more is a finding. */
const MEMORY_MB = 2048;
/** Seconds that one input may take on a slow machine under instrumentation; more is a finding. */
const TIMEOUT = 25;

const seeds = JSON.parse(readFileSync('test/fuzz/seeds.json', 'utf8'));
const [target = 'all', seconds = '60'] = process.argv.slice(2);
const targets = target === 'all' ? Object.keys(seeds) : [target];
if (!targets.every((t) => Object.hasOwn(seeds, t)) || !(Number(seconds) > 0)) {
  console.error(
    `usage: npm run fuzz [TARGET|all] [SECONDS]\ntargets: ${Object.keys(seeds).join(', ')}`,
  );
  process.exit(2);
}

installFuzzer();
let found = 0;
for (const name of targets) found += await fuzz(name);
process.exitCode = found === 0 ? 0 : 1;

function installFuzzer() {
  if (existsSync(join(BUILD, 'node_modules', FUZZER))) return;
  mkdirSync(BUILD, { recursive: true });
  writeFileSync(join(BUILD, 'package.json'), '{"private":true}\n');
  const args = ['install', '--no-save', '--no-audit', '--no-fund', `${FUZZER}@${VERSION}`];
  const { status } = spawnSync('npm', args, { cwd: BUILD, stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed`);
}

/** The target and everything that it uses, in one CommonJS file, which the fuzzer instruments. */
async function bundle(name) {
  await build({
    config: false,
    silent: true,
    entry: { [name]: `test/fuzz/targets/${name}.ts` },
    format: ['cjs'],
    target: 'node20',
    outDir: BUILD,
    shims: true,
    noExternal: [/^(?!sharp$|onnxruntime-node$|node-gyp-build$|vega)/],
    external: ['sharp', 'onnxruntime-node', 'node-gyp-build', 'vega', 'vega-lite'],
  });
  return join(BUILD, `${name}.cjs`);
}

/** Files that the fuzzer begins from. */
function seedFolder(name) {
  const folder = join(BUILD, 'seeds', name);
  mkdirSync(folder, { recursive: true });
  const inside = (path) => (existsSync(path) ? readdirSync(path).map((n) => join(path, n)) : []);
  const files = [
    ...seeds[name],
    ...inside(`test/fuzz/corpus/${name}`),
    ...inside(`test/fuzz/crashes/${name}`),
  ];
  for (const file of files) {
    const bytes = readFileSync(file);
    writeFileSync(join(folder, basename(file)), file.endsWith('.gz') ? gunzipSync(bytes) : bytes);
  }
  return folder;
}

async function fuzz(name) {
  const program = await bundle(name);
  const kept = join(BUILD, 'corpus', name);
  const crashes = join('test/fuzz/crashes', name);
  mkdirSync(kept, { recursive: true });
  mkdirSync(crashes, { recursive: true });
  const before = new Set(readdirSync(crashes));
  const [node, ...nodeArgs] = (process.env.FUZZ_NODE ?? process.execPath).split(' ');
  const args = [
    ...nodeArgs,
    join(BUILD, 'node_modules', FUZZER, 'dist/cli.js'),
    program,
    kept,
    seedFolder(name),
    ...['-i', BUILD, '-e', 'node_modules', '--sync', 'false', '--timeout', `${TIMEOUT * 1000}`],
    '--',
    `-max_total_time=${seconds}`,
    `-rss_limit_mb=${MEMORY_MB}`,
    '-max_len=16384',
    '-seed=1',
    '-print_final_stats=1',
    `-artifact_prefix=${crashes}/`,
  ];
  console.error(`== ${name}`);
  const run = spawnSync(node, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = `${run.stdout}${run.stderr}`;
  writeFileSync(join(BUILD, `${name}.log`), output);
  const findings = readdirSync(crashes).filter((n) => !before.has(n));
  const stat = (key) => Number(new RegExp(`stat::${key}:\\s+(\\d+)`).exec(output)?.[1] ?? 0);
  const coverage = [...output.matchAll(/cov: (\d+) ft: (\d+)/g)].at(-1);
  const executions = stat('number_of_executed_units');
  if (findings.length > 0 || run.status !== 0 || executions === 0) {
    console.error(output.split('\n').slice(-25).join('\n'));
    if (findings.length === 0)
      throw new Error(`the fuzzer failed (${run.status ?? run.signal}); see ${BUILD}/${name}.log`);
  }
  record(name, {
    executions,
    seconds: Number(seconds),
    peakMegabytes: stat('peak_rss_mb'),
    coverage: Number(coverage?.[1] ?? 0),
    features: Number(coverage?.[2] ?? 0),
    seeds: readdirSync(join(BUILD, 'seeds', name)).length,
    fixed: [...before].sort(),
    findings: findings.map((n) => `test/fuzz/crashes/${name}/${n}`),
  });
  console.error(`${name}: ${executions} executions, ${findings.length} findings`);
  return findings.length;
}

function record(name, numbers) {
  const old = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : { targets: {} };
  const lib = createHash('sha256');
  for (const f of spawnSync('git', ['ls-files', 'lib'], { encoding: 'utf8' })
    .stdout.trim()
    .split('\n'))
    if (existsSync(f)) lib.update(f).update(readFileSync(f));
  const all = {
    ...old.targets,
    [name]: {
      command: `npm run fuzz ${name} ${seconds}`,
      ...numbers,
      sources: lib.digest('hex').slice(0, 16),
    },
  };
  const result = {
    what: 'Coverage-guided fuzzing of the readers; the last run of each target (scripts/fuzz.mjs)',
    fuzzer: `${FUZZER} ${VERSION}`,
    node: process.version,
    processor: cpus()[0]?.model ?? 'unknown',
    limits: { megabytes: MEMORY_MB, secondsAnInput: TIMEOUT },
    targets: Object.fromEntries(Object.keys(seeds).flatMap((k) => (all[k] ? [[k, all[k]]] : []))),
  };
  writeFileSync(RESULTS, `${JSON.stringify(result, null, 2)}\n`);
}
