import { execFileSync } from 'node:child_process';
import { readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseSize } from '../../lib/cli/parse.js';
import { json, jsonOf, root, stockpot } from '../helpers/cli.js';
import { useFolder } from '../helpers/folder.js';
import { put, putShards, putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
let sets = 0;
const fresh = (name = '') => at(`${sets++}`, name);
const f32 = (name: string, ...values: number[]) => tensor(name, 'F32', [values.length], values);
const file = (...list: ReturnType<typeof tensor>[]) => putTensors(fresh('w.safetensors'), list);

describe('failures', () => {
  it('exit 1: the reason with file and tensor, a line per further mismatch, the remedy', async () => {
    const a = await file(f32('x', 1), f32('y', 1), f32('z', 1));
    const b = await file(f32('x', 1, 2), f32('q', 1), f32('z', 1));
    const { code, stdout, stderr } = await stockpot([
      'uniform',
      a,
      b,
      '-o',
      fresh('s.safetensors'),
    ]);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    const lines = stderr.trimEnd().split('\n');
    expect(lines.slice(0, 3)).toEqual([
      `stockpot: ${b}: tensor "x" has shape [2], expected [1] as in ${a} (and 2 more)`,
      `${b}: tensor "y" is missing (F32 [1] in ${a})`,
      `${b}: tensor "q" is not in ${a} (F32 [1])`,
    ]);
    expect(lines).toHaveLength(4);
    expect(lines[3]).toContain('--exclude');
  });

  it('--json: one object with code, message, file, tensor and every detail', async () => {
    const a = await file(f32('x', 1), f32('y', 1));
    const b = await file(f32('x', Number.NaN), f32('y', Number.POSITIVE_INFINITY));
    const done = await stockpot(['uniform', a, b, '-o', fresh('s.safetensors'), '--json']);
    expect(done.code).toBe(1);
    expect(done.stderr).toBe('');
    const { error } = jsonOf(done);
    expect(Object.keys(error).sort()).toEqual([
      'code',
      'details',
      'file',
      'message',
      'remedy',
      'tensor',
    ]);
    expect(error).toMatchObject({ code: 'NONFINITE', file: b, tensor: 'x' });
    expect(error.details).toHaveLength(2);
    expect(error.details[1]).toEqual({
      file: b,
      tensor: 'y',
      message: 'holds 1 NaN or infinite value, the first at index 0',
    });
  });

  it('file and tensor are null where there is none', async () => {
    const { code, out } = await json(['uniform']);
    expect(code).toBe(2);
    expect(out.error).toEqual({
      code: 'USAGE',
      message: expect.stringContaining('ingredient'),
      file: null,
      tensor: null,
      details: [],
    });
  });

  it.each([
    ['uniform', ['nope']],
    ['inspect', ['nope']],
    ['diff', ['nope', 'nope']],
    ['verify', ['nope']],
  ])('%s of a file that is not there', async (command, args) => {
    const more = command === 'uniform' ? ['-o', fresh('s.safetensors')] : [];
    const { code, stderr, stdout } = await stockpot([command, ...args, ...more]);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^stockpot: nope: there is no such file or folder\n/);
    expect(stderr).not.toMatch(/\n\s+at /);
    const { out } = await json([command, ...args, ...more]);
    expect(out.error).toMatchObject({ code: 'NOT_FOUND', file: 'nope' });
  });

  it.each([
    [['bogus']],
    [['--bogus']],
    [['uniform']],
    [['uniform', 'a']],
    [['uniform', 'a', '-o']],
    [['uniform', 'a', '-o', 'b', '--bogus']],
    [['uniform', 'a', '-o', 'b', '--dtype', 'f64']],
    [['uniform', 'a', '-o', 'b', '--weights', '1,x']],
    [['uniform', 'a', '-o', 'b', '--weights', '1,,2']],
    [['uniform', 'a', '-o', 'b', '--weights', 'Infinity']],
    [['uniform', 'a', '-o', 'b', '--threads', '0']],
    [['uniform', 'a', '-o', 'b', '--threads', '1.5']],
    [['uniform', 'a', '-o', 'b', '--threads', '-1']],
    [['uniform', 'a', '-o', 'b', '--threads', '5000']],
    [['uniform', 'a', '-o', 'b', '--memory', '1']],
    [['uniform', 'a', '-o', 'b', '--memory', 'much']],
    [['uniform', 'a', '-o', 'b', '--memory', '0']],
    [['uniform', 'a', '-o', 'b', '--max-shard-size', '0']],
    [['uniform', 'a', '-o', 'b', '--max-shard-size', '5 apples']],
    [['uniform', 'a', '-o', 'b', '--device', 'gpu']],
    [['uniform', 'a', '-o', 'b', '--device', 'cuda:x']],
    [['inspect']],
    [['inspect', 'a', 'b']],
    [['diff', 'a']],
    [['verify']],
    [['devices', 'x']],
    [['devices', '--device', 'cpu:1']],
  ])('wrong usage: %j', async (args) => {
    const { code, stdout, stderr } = await stockpot(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^(error|stockpot): \S/);
    expect(stderr).not.toMatch(/\n\s+at /);
    const [command = '', ...rest] = args;
    const done = await stockpot([command, '--json', ...rest]);
    expect([done.code, done.stderr]).toEqual([2, '']);
    expect(jsonOf(done).error).toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/\S/),
    });
  });

  it('no command: help on stderr, exit 2; with --json an object', async () => {
    const { code, stdout, stderr } = await stockpot([]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('uniform');
    const done = await json(['--json']);
    expect([done.code, done.out.error.code]).toEqual([2, 'USAGE']);
  });

  it.each(['cuda', 'cuda:0', 'cuda:7'])('--device %s is not silently another', async (device) => {
    const { out: found } = await json(['devices']);
    const cuda = found.devices.find((d: { name: string }) => d.name === 'cuda');
    expect(cuda.usable).toBe(false);
    const a = await file(f32('x', 1));
    const out = fresh('s.safetensors');
    const { code, out: result } = await json(['uniform', a, '-o', out, '--device', device]);
    expect([code, result.error.code]).toEqual([1, 'DEVICE']);
    expect(result.error.message).toContain(device);
  });

  it('control characters of names do not reach the terminal', async () => {
    const a = await file(f32('evil\u001b[2J\nname', 1));
    const b = await file(f32('other', 1));
    const { stderr } = await stockpot(['uniform', a, b, '-o', fresh('s.safetensors')]);
    expect(stderr).not.toContain('\u001b');
    expect(stderr.split('\n')[0]).toContain('evil\\u001b[2J\\nname');
    const { stdout } = await stockpot(['inspect', a]);
    expect(stdout).not.toContain('\u001b');
    expect(stdout.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('help', () => {
  it('--help and --version: exit 0', async () => {
    const help = await stockpot(['--help']);
    expect(help.code).toBe(0);
    for (const command of ['uniform', 'inspect', 'diff', 'verify', 'devices'])
      expect(help.stdout).toContain(command);
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
    expect(await stockpot(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  it.each(['uniform', 'inspect', 'diff', 'verify', 'devices'])(
    '%s --help names the options that every command takes',
    async (command) => {
      const { code, stdout } = await stockpot([command, '--help']);
      expect(code).toBe(0);
      for (const option of ['--json', '--quiet', '--device', '--threads', '--memory', '--dry-run'])
        expect(stdout).toContain(option);
    },
  );
});

describe('stdout', () => {
  const large = () =>
    file(...Array.from({ length: 20_000 }, (_, i) => tensor(`layer.${i}.weight`, 'U8', [1], 1)));

  it('a large object arrives whole through a pipe', async () => {
    const { code, out } = await json(['inspect', await large()]);
    expect(code).toBe(0);
    expect(out.tensors).toHaveLength(20_000);
  });

  it('a reader that stops early is no failure', async () => {
    const program = join(root, 'dist/cli.js');
    const script = 'set -o pipefail; "$0" "$1" inspect "$2" | head -n 1; echo $?';
    const args = ['-c', script, process.execPath, program, await large()];
    const said = execFileSync('bash', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(said.split('\n')[0]).toContain('20000 tensors');
    expect(said.split('\n')[1]).toBe('0');
  });

  it('a stdout that cannot be written is a failure', async ({ skip }) => {
    if (process.platform !== 'linux') skip('there is no /dev/full');
    const script = '"$0" "$1" devices > /dev/full';
    const args = ['-c', script, process.execPath, join(root, 'dist/cli.js')];
    const run = () => execFileSync('bash', args, { encoding: 'utf8', stdio: 'pipe' });
    expect(run).toThrow(/standard output cannot be written/);
  });
});

describe('inspect', () => {
  it('tensors, types, shapes, bytes; with --hash their hashes', async () => {
    const path = await file(tensor('a', 'F16', [2, 3], 1), tensor('ids', 'I64', [], 7));
    const { code, out } = await json(['inspect', path]);
    expect(code).toBe(0);
    expect(out).toMatchObject({
      path,
      format: 'safetensors',
      parameters: 7,
      bytes: 20,
      record: null,
    });
    expect(out.dtypes).toEqual({ F16: 1, I64: 1 });
    expect(out.tensors).toEqual([
      { name: 'a', dtype: 'F16', shape: [2, 3], bytes: 12, contiguous: true },
      { name: 'ids', dtype: 'I64', shape: [], bytes: 8, contiguous: true },
    ]);
    const { out: hashed } = await json(['inspect', path, '--hash']);
    const sum = execFileSync('sha256sum', [path], { encoding: 'utf8' })
      .replace(/^\\/, '')
      .slice(0, 64);
    expect(hashed.files[0].sha256).toBe(sum);
    expect(hashed.contentHash).toMatch(/^[0-9a-f]{64}$/);
    for (const t of hashed.tensors) expect(t.sha256).toMatch(/^[0-9a-f]{64}$/);
    const { out: dry } = await json(['inspect', path, '--hash', '--dry-run']);
    expect(dry.contentHash).toBeUndefined();
  });

  it('the content hash does not depend on sharding', async () => {
    const list = [f32('a', 1), f32('b', 2)];
    const one = await file(...list);
    const many = await putShards(fresh(), [[list[1]], [list[0]]] as never);
    const hashes = [one, many].map(
      async (p) => (await json(['inspect', p, '--hash'])).out.contentHash,
    );
    expect(await hashes[0]).toBe(await hashes[1]);
  });

  it('--key of a PyTorch file', async () => {
    const path = join(root, 'test/fixtures/pytorch/wrapped_model.pt');
    const { out } = await json(['inspect', path, '--key', 'model_ema']);
    expect(out).toMatchObject({ format: 'pytorch', key: 'model_ema' });
    const wrong = await json(['inspect', path, '--key', 'nope']);
    expect([wrong.code, wrong.out.error.code]).toEqual([2, 'USAGE']);
  });
});

describe('diff', () => {
  it('exit 0 and identical', async () => {
    const [a, b] = [await file(f32('x', 1)), await file(f32('x', 1))];
    const { code, out } = await json(['diff', a, b]);
    expect(code).toBe(0);
    expect(out).toMatchObject({
      a,
      b,
      identical: true,
      same: 1,
      differing: [],
      onlyInA: [],
      onlyInB: [],
    });
  });

  it('exit 1: values, types, shapes, names', async () => {
    const a = await file(
      f32('same', 1),
      f32('v', 1, 2, 3),
      f32('t', 1),
      f32('s', 1),
      f32('left', 1),
    );
    const b = await file(
      f32('same', 1),
      f32('v', 1, 2.5, 1),
      tensor('t', 'F16', [1], 1),
      f32('s', 1, 2),
      f32('right', 1),
    );
    const { code, out } = await json(['diff', a, b]);
    expect(code).toBe(1);
    expect(out).toMatchObject({ identical: false, same: 1, onlyInA: ['left'], onlyInB: ['right'] });
    const by = Object.fromEntries(out.differing.map((d: { name: string }) => [d.name, d]));
    expect(by.v).toMatchObject({ different: 2, elements: 3, largest: 2 });
    expect(by.v.rms).toBeCloseTo(Math.sqrt((0.25 + 4) / 3), 12);
    expect(by.t).toMatchObject({ different: 0 });
    expect(by.t.message).toContain('F32 against F16');
    expect(by.s).toMatchObject({ different: null, largest: null });
    const { stdout } = await stockpot(['diff', a, b]);
    expect(stdout).toContain('- left\n+ right\n~ v: ');
  });

  it('a NaN on one side is a difference, the same NaN on both is none', async () => {
    const a = await file(f32('x', Number.NaN, 1));
    expect((await json(['diff', a, a])).out.identical).toBe(true);
    const { code, out } = await json(['diff', a, await file(f32('x', 0, 1))]);
    expect(code).toBe(1);
    expect(out.differing[0].different).toBe(1);
  });
});

describe('verify', () => {
  async function soup(...more: string[]) {
    const a = await file(f32('x', 1, 2), tensor('h', 'F16', [2], 1));
    const b = await file(f32('x', 3, 4), tensor('h', 'F16', [2], 4));
    const out = fresh(more.includes('--max-shard-size') ? 'soup' : 'soup.safetensors');
    const made = await json(['uniform', a, b, '-o', out, ...more]);
    expect(made.code).toBe(0);
    return { a, b, out, sha256: made.out.sha256 };
  }

  it.each([
    [[]],
    [['--hash']],
    [['--weights', '0.3,0.6']],
    [['--weights', '1,0']],
    [['--weights', '1,2', '--normalize', '--dtype', 'f32']],
    [['--dtype', 'bf16', '--exclude', 'h']],
    [['--max-shard-size', '8', '--hash']],
  ])('a soup made with %j is verified', async (more) => {
    const { out, sha256 } = await soup(...more);
    const { code, out: v } = await json(['verify', out]);
    expect(v.mismatches).toEqual([]);
    expect([code, v.verified, v.sha256]).toEqual([0, true, sha256]);
    const hashed = (more as string[]).includes('--hash');
    expect(v.ingredients[0].identity).toBe(hashed ? 'sha256' : 'header');
    expect(v.unproved).toHaveLength(hashed ? 0 : 1);
  });

  it('a changed soup is not, and the tensor is named', async () => {
    const { out } = await soup();
    const bytes = await readFile(out);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    await writeFile(out, bytes);
    const { code, out: v } = await json(['verify', out]);
    expect([code, v.verified]).toEqual([1, false]);
    expect(v.mismatches).toHaveLength(1);
    expect(v.mismatches[0]).toMatchObject({ tensor: 'h', file: out });
    expect(v.mismatches[0].message).toContain('the first at index 1');
  });

  it('a changed ingredient is noticed', async () => {
    const { out, b } = await soup('--hash');
    const bytes = await readFile(b);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    await writeFile(b, bytes);
    const { code, out: v } = await json(['verify', out]);
    expect([code, v.verified, v.ingredients[1].identity]).toEqual([1, false, 'changed']);
  });

  it('another time alone is said, not refused', async () => {
    const { out, b } = await soup();
    await utimes(b, 1, 1);
    const { code, out: v } = await json(['verify', out]);
    expect([code, v.verified]).toEqual([0, true]);
    expect(v.unproved.join()).toContain('another time');
  });

  it('ingredients that moved are named; that are gone, refused', async () => {
    const { out, a, b } = await soup('--hash');
    const moved = await put(fresh('moved.safetensors'), await readFile(b));
    await writeFile(b, 'x');
    expect((await json(['verify', out, a, moved])).out.verified).toBe(true);
    const swapped = await json(['verify', out, moved, a]);
    expect([swapped.code, swapped.out.verified]).toEqual([1, false]);
    const few = await json(['verify', out, a]);
    expect([few.code, few.out.error.code]).toEqual([2, 'USAGE']);
    const gone = await json(['verify', out, a, at('gone')]);
    expect([gone.code, gone.out.error.code]).toEqual([1, 'NOT_FOUND']);
  });

  it('relative paths: from here, and from beside the soup', async () => {
    const folder = fresh();
    await putTensors(join(folder, 'a.safetensors'), [f32('x', 1)]);
    await stockpot(['uniform', 'a.safetensors', '-o', 'soup.safetensors'], { cwd: folder });
    expect((await json(['verify', join(folder, 'soup.safetensors')])).out.verified).toBe(true);
  });

  it('a file without a record', async () => {
    const { code, stderr } = await stockpot(['verify', await file(f32('x', 1))]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/carries no record/);
  });

  it.each(['not json', '{}', '{"stockpot":1}', '[]'])('a damaged record: %s', async (text) => {
    const path = await putTensors(fresh('w.safetensors'), [f32('x', 1)], {
      metadata: { stockpot: text },
    });
    const { code, out } = await json(['verify', path]);
    expect([code, out.error.code]).toEqual([1, 'FORMAT']);
  });

  it('more tensors than it should have, and fewer', async () => {
    const { out, a, b } = await soup('--exclude', 'h');
    const { metadata } = await readBack(out);
    const more = await putTensors(fresh('more.safetensors'), [f32('x', 2, 3), f32('y', 1)], {
      metadata,
    });
    const { out: v } = await json(['verify', more, a, b]);
    expect(v.mismatches.map((m: { tensor: string }) => m.tensor)).toEqual(['y']);
    const fewer = await putTensors(fresh('fewer.safetensors'), [f32('y', 1)], { metadata });
    const { out: w } = await json(['verify', fewer, a, b]);
    expect(w.mismatches.map((m: { tensor: string }) => m.tensor).sort()).toEqual(['x', 'y']);
  });
});

describe('devices', () => {
  it('says what was found, what is usable, and why not', async () => {
    const { code, out } = await json(['devices']);
    expect(code).toBe(0);
    const [cpu, cuda] = out.devices;
    expect(cpu).toMatchObject({ name: 'cpu', usable: true, threads: expect.any(Number) });
    expect(cpu.kernels).toContain('plain');
    expect(cuda).toMatchObject({
      name: 'cuda',
      usable: false,
      reason: expect.stringMatching(/\S/),
    });
    const { stdout } = await stockpot(['devices']);
    expect(stdout).toMatch(/^cpu: .*\ncuda: not usable: .*\n$/);
  });
});

describe('sizes', () => {
  it.each([
    ['5GB', 5e9],
    ['512MiB', 512 * 2 ** 20],
    ['1.5kb', 1500],
    ['1048576', 1048576],
    ['2 GiB', 2 ** 31],
    ['7b', 7],
  ])('%s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(['', 'GB', '-1', '1e3', '5 XB', '0', '0.2', '99999999TB', '1,5GB', 'NaN'])(
    '"%s" is none',
    (text) => expect(() => parseSize(text)).toThrow(/expected a size/),
  );
});
