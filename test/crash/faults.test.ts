// A disk that is full or fails, at each call on files that a run makes in turn: one error that names the file and says
// what to do, nothing left, what was there before as it was.
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { finished, root, stockpot } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';
import { preloaded, sanitized } from '../helpers/sanitized.js';
import { buildFault, callsOf, difference, type Snapshot, snapshot } from './harness.js';

const at = useFolder();
/** Linux's numbers. */
const [ENOSPC, EIO, EACCES, ENOSYS] = [28, 5, 13, 38];

const program = join(root, 'dist/cli.js');
const digits = join(root, 'examples/digits');
const library = mkdtempSync(join(tmpdir(), 'stockpot-fault-'));
afterAll(() => rmSync(library, { recursive: true }));
let canFail = false;
/** Two ingredients and some data, in a folder that reading may fail in; what a run may write to. */
let [zoo, box, work] = ['', '', ''];
beforeAll(async () => {
  canFail = buildFault(join(root, 'test/crash/fault.c'), join(library, 'fault.so'));
  [zoo, box, work] = [at('zoo'), at('box'), at()];
  for (const name of ['ft00', 'ft01'])
    cpSync(join(digits, 'ingredients', name), join(zoo, name), { recursive: true });
  for (const label of readdirSync(join(digits, 'heldout')))
    for (const image of readdirSync(join(digits, 'heldout', label)).slice(0, 2))
      cpSync(join(digits, 'heldout', label, image), join(zoo, 'data', label, image));
  for (const old of ['old', 'old.safetensors'])
    await stockpot(['uniform', join(digits, 'ingredients/ft05'), '-o', join(work, old)]);
});
beforeEach(({ skip }) => {
  if (!canFail) skip('needs Linux and a C compiler');
});

const both = () => [join(zoo, 'ft00'), join(zoo, 'ft01')];
const data = () => ['--data', join(zoo, 'data'), '--cache-memory', '1000'];

/** What is written, how; `old` lies there before, and must stay. */
const RUNS: Record<string, { output: string; old?: string; args: () => string[] }> = {
  'a file in place of another': {
    output: 'soup.safetensors',
    old: 'old.safetensors',
    args: () => ['uniform', ...both(), '--hash', '--overwrite'],
  },
  'a folder in place of another': {
    output: 'soup',
    old: 'old',
    args: () => ['uniform', ...both(), '--overwrite'],
  },
  shards: { output: 'soup', args: () => ['uniform', ...both(), '--max-shard-size', '100KB'] },
  'a greedy soup with its state and prepared images': {
    output: 'soup',
    args: () => ['greedy', ...both(), ...data(), '--resume', join(box, 'state')],
  },
  'a learned soup with its state': {
    output: 'soup.safetensors',
    args: () => ['learned', ...both(), ...data(), '--steps', '2', '--resume', join(box, 'state')],
  },
  'soups for a program': {
    output: 'soup.safetensors',
    args: () => ['greedy', ...both(), '--evaluate', 'echo 0.5 # {soup}'],
  },
  logits: {
    output: 'logits.safetensors',
    args: () => ['predict', ...both().slice(1), ...data()],
  },
  'a head': {
    output: 'head',
    args: () => ['probe', ...both().slice(1), ...data(), '--iterations', '2'],
  },
  'shifted images': {
    output: 'images',
    args: () => ['shift', join(zoo, 'data'), '--kind', 'contrast', '--severity', '1'],
  },
};

/** Empties the box but for an old output. */
function reset({ output, old }: (typeof RUNS)[string]): Snapshot {
  rmSync(box, { recursive: true, force: true });
  mkdirSync(join(box, 'tmp'), { recursive: true });
  if (old) cpSync(join(work, old), join(box, output), { recursive: true });
  return snapshot(box);
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv) {
  const log = join(work, 'calls');
  rmSync(log, { force: true });
  const done = await stockpot([...args, '--json'], {
    env: {
      ...process.env,
      TMPDIR: join(box, 'tmp'),
      LD_PRELOAD: preloaded(join(library, 'fault.so')),
      FAULT_LOG: log,
      ...env,
    },
  });
  return { ...done, calls: callsOf({ work }) };
}

const withoutState = (all: Snapshot): Snapshot =>
  new Map([...all].filter(([name]) => !/^state(\/[^/]*\.json)?$/.test(name)));

/** Calls after which the output is in place; a removal that fails is made up for later. */
const isAfter = (call: string, output: string): boolean =>
  /^(unlink|rmdir|flock) /.test(call) || call === `fsync ${box}` || call === `rename ${output}`;

describe('behaviour 22: the disk is full', () => {
  it.each(Object.keys(RUNS))('at some of the calls that write %s', async (name) => {
    const what = RUNS[name] as (typeof RUNS)[string];
    const output = join(box, what.output);
    const args = [...what.args(), '-o', output];
    reset(what);
    const env = { FAULT_ROOT: `${box}`, FAULT_CALLS: 'write' };
    const whole = await run(args, env);
    expect(whole.code, whole.stderr).toBe(0);
    const numbers = whole.calls.flatMap((call, i) => (isAfter(call, output) ? [] : [i + 1]));
    const step = Math.max(1, Math.ceil(numbers.length / 8));
    for (let n = 0; n < numbers.length; n += step) {
      const before = reset(what);
      const number = numbers[n] as number;
      const failing = { ...env, FAULT_AT: `${number}`, FAULT_DOES: `${ENOSPC}` };
      const { code, stdout, calls } = await run(args, failing);
      const about = `${calls[number - 1]}: ${stdout}`;
      expect(code, about).toBe(1);
      const { error } = JSON.parse(stdout);
      expect(error.code, about).toBe('NO_SPACE');
      expect(error.file, about).toContain(box);
      expect(error.message, about).toContain(error.file);
      expect(error.remedy, about).toContain('Free some space');
      expect(difference(withoutState(snapshot(box)), before), about).toBe('');
    }
  });
});

describe('behaviour 24: permission to write is lost on the way', () => {
  it.each(['a folder in place of another', 'logits'])('to %s', async (name) => {
    const what = RUNS[name] as (typeof RUNS)[string];
    const output = join(box, what.output);
    const args = [...what.args(), '-o', output];
    reset(what);
    const env = { FAULT_ROOT: `${box}`, FAULT_CALLS: 'write' };
    const { calls: all } = await run(args, env);
    const making = all.flatMap((call, i) =>
      /^(mkdir|open|exchange|rename) /.test(call) && call.includes(what.output) ? [i + 1] : [],
    );
    expect(making.length).toBeGreaterThan(1);
    for (const number of making) {
      const before = reset(what);
      const failing = { ...env, FAULT_AT: `${number}`, FAULT_DOES: `${EACCES}` };
      const { code, stdout, calls } = await run(args, failing);
      const about = `${calls[number - 1]}: ${stdout}`;
      expect(code, about).toBe(1);
      const { error } = JSON.parse(stdout);
      expect(error.code, about).toBe('IO');
      expect(error.message, about).toMatch(/permission .* is denied/);
      expect(error.remedy, about).toContain('permissions');
      expect(difference(withoutState(snapshot(box)), before), about).toBe('');
    }
  });
});

/** A limit on the size of files, in blocks of 1024 bytes; the signal that comes with it must not end the process. */
describe('behaviour 22: files may not be so large (ulimit -f)', () => {
  it.each([
    ['a file in place of another', 10],
    ['a folder in place of another', 10],
    ['a greedy soup with its state and prepared images', 1],
    ['logits', 0],
    ['a head', 1],
    ['shifted images', 0],
  ])('%s', async (name, blocks) => {
    const what = RUNS[name] as (typeof RUNS)[string];
    const before = reset(what);
    const output = join(box, what.output);
    const limited = ['-c', `ulimit -f ${blocks}; exec "$0" "$@"`, process.execPath, program];
    const args = [...limited, ...what.args(), '-o', output, '--json'];
    const env = { ...process.env, TMPDIR: join(box, 'tmp') };
    const done = await finished(spawn('bash', args, { stdio: ['ignore', 'pipe', 'pipe'], env }));
    expect([done.code, done.signal]).toEqual([1, null]);
    const { error } = JSON.parse(done.stdout);
    expect([error.code, error.remedy]).toEqual(['NO_SPACE', expect.stringContaining('space')]);
    expect(error.message).toContain(error.file);
    expect(difference(withoutState(snapshot(box)), before)).toBe('');
  });
});

describe('behaviour 22: a small disk', () => {
  it.for([
    ['state', 'is kept there'],
    ['tmp', 'TMPDIR'],
  ] as const)('for %s', async ([folder, remedy], { skip }) => {
    const what = RUNS['a greedy soup with its state and prepared images'] as (typeof RUNS)[string];
    reset(what);
    const small = join(box, folder);
    mkdirSync(small, { recursive: true });
    // Itself, and one more.
    const size = 'nr_inodes=2';
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', size, 'tmpfs', small]).status === 0;
    if (!mounted) skip('mounting a small file system needs root');
    try {
      const output = join(box, what.output);
      const { code, stdout } = await run([...what.args(), '-o', output], {});
      const { error } = JSON.parse(stdout);
      expect([code, error.code, error.file]).toEqual([1, 'NO_SPACE', small]);
      expect(error.remedy).toContain(remedy);
      const left = [...snapshot(box).keys()].filter((name) => !/^(state|tmp)$/.test(name));
      expect(left.every((name) => /^state\/[0-9a-f]{64}\.json$/.test(name))).toBe(true);
    } finally {
      spawnSync('umount', [small]);
    }
  });
});

describe('behaviour 24: a file cannot be read', () => {
  // Besides what is read ahead of need, which the sanitizers' own calls cannot be told from.
  const soups = ['a folder in place of another', 'a learned soup with its state'];
  const errors: [string, string, number, string][] = soups.flatMap((name) => [
    [name, 'the disk fails', EIO, 'Check the disk'],
    [name, 'permission is lost', EACCES, 'Check the '],
  ]);
  it.skipIf(sanitized).each(errors)(
    '%s: %s at some of the calls that read',
    async (name, _, number, remedy) => {
      const what = RUNS[name] as (typeof RUNS)[string];
      const args = [...what.args(), '-o', join(box, what.output)];
      reset(what);
      const env = { FAULT_ROOT: `${zoo}`, FAULT_CALLS: 'read', FAULT_ON: '/ft0' };
      const whole = await run(args, env);
      expect(whole.code, whole.stderr).toBe(0);
      const step = Math.ceil(whole.calls.length / 12);
      for (let n = 1; n <= whole.calls.length; n += step) {
        const before = reset(what);
        const failing = { ...env, FAULT_AT: `${n}`, FAULT_DOES: `${number}` };
        const { code, stdout, calls } = await run(args, failing);
        const about = `${calls[n - 1]}: ${stdout}`;
        expect(code, about).toBe(1);
        const { error } = JSON.parse(stdout);
        expect(error.code, about).toBe('IO');
        expect(error.file, about).toContain(join(zoo, 'ft0'));
        expect(error.message, about).toContain(error.file);
        expect(error.remedy, about).toContain(remedy);
        expect(difference(withoutState(snapshot(box)), before), about).toBe('');
      }
    },
  );
});

describe('behaviour 24: a file cannot be read, which is not what --skip-bad is for', () => {
  const image = () => join('data', '0', readdirSync(join(zoo, 'data', '0'))[0] as string);
  beforeAll(() => {
    if (!canFail) return;
    const shard = join(zoo, 'flat');
    mkdirSync(shard);
    for (const label of readdirSync(join(zoo, 'data')))
      for (const name of readdirSync(join(zoo, 'data', label))) {
        cpSync(join(zoo, 'data', label, name), join(shard, name));
        writeFileSync(join(shard, name.replace('.png', '.cls')), label);
      }
    const names = readdirSync(shard).sort();
    expect(spawnSync('tar', ['cf', join(zoo, 'data.tar'), '-C', shard, ...names]).status).toBe(0);
    cpSync(join(root, 'test/fixtures/pytorch/plain.pt'), join(zoo, 'plain.pt'));
    const parquet = 'test/fixtures/parquet/digits-00000-of-00002.parquet';
    cpSync(join(root, parquet), join(zoo, 'data.parquet'));
  });
  const evaluate = (data: string) => ['evaluate', join(zoo, 'ft00'), '--data', data, '--skip-bad'];
  const shift = (data: string) => ['shift', data, '--kind', 'contrast', '--severity', '1'];
  const cases: [string, () => { file: string; args: string[] }][] = [
    ['an image', () => ({ file: image(), args: evaluate(join(zoo, 'data')) })],
    ['the folder of the images', () => ({ file: 'data', args: evaluate(join(zoo, 'data')) })],
    ['a shard', () => ({ file: 'data.tar', args: evaluate(join(zoo, 'data.tar')) })],
    ['a parquet file', () => ({ file: 'data.parquet', args: evaluate(join(zoo, 'data.parquet')) })],
    ['an image to shift', () => ({ file: image(), args: shift(join(zoo, 'data')) })],
    ['a shard to shift', () => ({ file: 'data.tar', args: shift(join(zoo, 'data.tar')) })],
    ['a PyTorch file', () => ({ file: 'plain.pt', args: ['inspect', join(zoo, 'plain.pt')] })],
  ];
  it.each(cases)('%s', async (_, made) => {
    const { file, args } = made();
    const path = join(zoo, file);
    const output = args[0] === 'shift' ? ['--skip-bad', '-o', join(box, 'images')] : [];
    const env = { FAULT_ROOT: path, FAULT_CALLS: 'read' };
    reset({ output: 'images', args: () => [] });
    const { calls, code, stderr } = await run([...args, ...output], env);
    expect(code, stderr).toBe(0);
    const own = calls.flatMap((call, i) => (call.endsWith(` ${path}`) ? [i + 1] : []));
    const step = Math.ceil(own.length / 3);
    expect(own.length).toBeGreaterThan(0);
    for (let n = 0; n < own.length; n += step) {
      for (const number of [EIO, EACCES]) {
        reset({ output: 'images', args: () => [] });
        const failing = { ...env, FAULT_AT: `${own[n]}`, FAULT_DOES: `${number}` };
        const failed = await run([...args, ...output], failing);
        const about = `${calls[(own[n] as number) - 1]}: ${failed.stdout}`;
        expect(failed.code, about).toBe(1);
        const { error } = JSON.parse(failed.stdout);
        expect([error.code, error.file], about).toEqual(['IO', path]);
        expect(error.message, about).toContain(path);
        expect(error.message, about).toMatch(
          number === EIO ? 'the disk reports an error' : 'permission to read it is denied',
        );
        expect(error.remedy, about).toMatch(number === EIO ? 'Check the disk' : 'permissions');
        expect(existsSync(join(box, 'images')), about).toBe(false);
      }
    }
  });
});

it('behaviour 22: a file system without locks takes outputs all the same', async () => {
  const what = RUNS['a folder in place of another'] as (typeof RUNS)[string];
  reset(what);
  const output = join(box, what.output);
  const env = { FAULT_ROOT: `${box}`, FAULT_CALLS: 'write', FAULT_ONLY: 'flock' };
  const unlocked = { ...env, FAULT_AT: '1', FAULT_DOES: `${ENOSYS}` };
  const { code, stderr, calls } = await run([...what.args(), '-o', output], unlocked);
  expect([code, stderr]).toEqual([0, '']);
  expect(calls[0]).toBe(`flock ${box}/.${what.output}.stockpot-partial`);
  expect([...snapshot(box).keys()].filter((name) => name.startsWith('.'))).toEqual([]);
});
