import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { json, jsonOf, stockpot } from '../helpers/cli.js';
import { listing, useFolder } from '../helpers/folder.js';
import {
  asObject,
  numbers,
  put,
  putTensors,
  readBack,
  readShards,
  tensor,
} from '../helpers/safetensors.js';

const at = useFolder();
let sets = 0;
const fresh = (name = '') => at(`${sets++}`, name);
const f32 = (name: string, ...values: number[]) => tensor(name, 'F32', [values.length], values);
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');

/** Two models of a few tensors, as folders with a config. */
async function models(): Promise<[string, string]> {
  const one = async (x: number) => {
    const folder = fresh();
    await putTensors(join(folder, 'model.safetensors'), [
      tensor('a.weight', 'F32', [4, 4], x),
      tensor('b.weight', 'F16', [8], x),
      tensor('head.weight', 'BF16', [3], x),
    ]);
    await put(join(folder, 'config.json'), `{"torch_dtype": "float32", "x": ${x}}`);
    return folder;
  };
  return [await one(1), await one(3)];
}

describe('uniform', () => {
  it('--json has what scripts rely on', async () => {
    const [a, b] = await models();
    const out = fresh('soup.safetensors');
    const done = await stockpot(['uniform', a, b, '-o', out, '--json']);
    expect(done.code).toBe(0);
    const size = 16 * 4 + 8 * 2 + 3 * 2;
    const bytes = await readFile(out);
    expect(jsonOf(done)).toMatchObject({
      recipe: 'uniform',
      ingredients: [a, b],
      members: [0, 1],
      weights: [0.5, 0.5],
      output: out,
      sha256: sha256(bytes),
      bytesRead: 2 * size,
      bytesWritten: bytes.length,
      seconds: expect.any(Number),
    });
    expect(numbers(await readBack(out), 'a.weight')).toEqual(Array(16).fill(2));
  });

  it('without --json the result is text on stdout, with weights and hash', async () => {
    const [a, b] = await models();
    const out = fresh('soup.safetensors');
    const { code, stdout, stderr } = await stockpot(['uniform', a, b, '-o', out]);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toContain(out);
    expect(stdout).toContain('0.5 each');
    expect(stdout).toContain(sha256(await readFile(out)));
  });

  it('warnings and notes go to stderr; --quiet leaves them out, --json has them', async () => {
    const [a] = await models();
    const run = (...more: string[]) =>
      stockpot(['uniform', a, a, '-o', fresh('s.safetensors'), ...more]);
    expect((await run()).stderr).toMatch(/^warning: Ingredients 0, 1 .*hold the same tensors/);
    const quiet = await run('--quiet', '--json');
    expect(quiet.stderr).toBe('');
    expect(jsonOf(quiet).warnings).toHaveLength(1);
  });

  it("a folder's sha256 is that of the lines of sha256sum", async () => {
    const [a, b] = await models();
    for (const more of [[], ['--max-shard-size', '40']]) {
      const out = fresh('soup');
      const { code, out: made } = await json(['uniform', a, b, '-o', out, ...more]);
      expect(code).toBe(0);
      const names = (await listing(out)).filter((n) => n.endsWith('.safetensors'));
      expect(names).toHaveLength(more.length ? 2 : 1);
      const lines = execFileSync('sha256sum', names, { cwd: out, encoding: 'utf8' });
      expect(made.sha256).toBe(sha256(lines));
      const sizes = await Promise.all(
        names.map(async (n) => (await readFile(join(out, n))).length),
      );
      expect(made.bytesWritten).toBe(sizes.reduce((x, y) => x + y));
    }
  });

  it('-o: a name with .safetensors is a file, anything else a folder; parents are made', async () => {
    const [a, b] = await models();
    const file = fresh(join('new', 'deep', 'soup.safetensors'));
    const folder = fresh(join('new', 'deep', 'soup.v2'));
    expect((await json(['uniform', a, b, '-o', file])).code).toBe(0);
    expect((await json(['uniform', a, b, '-o', folder])).code).toBe(0);
    expect(await listing(join(file, '..'))).toEqual(['soup.safetensors']);
    expect(await listing(folder)).toEqual(['config.json', 'model.safetensors', 'soup.json']);
    expect(asObject(await readBack(file))).toEqual(
      asObject(await readBack(join(folder, 'model.safetensors'))),
    );
  });

  it('--max-shard-size: an index, shards within the size, read back equal to the unsharded', async () => {
    const list = Array.from({ length: 10 }, (_, i) => f32(`layer.${i}.w`, i, -i, 0.5));
    const a = await putTensors(fresh('a.safetensors'), list);
    const [whole, sharded] = [fresh('whole.safetensors'), fresh('sharded')];
    expect((await json(['uniform', a, '-o', whole])).code).toBe(0);
    const run = ['uniform', a, '-o', sharded, '--max-shard-size', '36B'];
    expect((await json(run)).code).toBe(0);
    const names = await listing(sharded);
    expect(names.filter((n) => n.startsWith('model-0000'))).toHaveLength(4);
    expect(names).toContain('model-00001-of-00004.safetensors');
    const index = JSON.parse(await readFile(join(sharded, 'model.safetensors.index.json'), 'utf8'));
    expect(index.metadata.total_size).toBe(120);
    expect(asObject(await readShards(sharded))).toEqual(asObject(await readBack(whole)));
    for (const name of names.filter((n) => n.startsWith('model-'))) {
      const { metadata, tensors } = await readBack(join(sharded, name));
      expect(metadata.format).toBe('pt');
      expect(tensors.size).toBeLessThanOrEqual(3);
    }
    const { code } = await json(['diff', whole, sharded]);
    expect(code).toBe(0);
    const again = fresh('again.safetensors');
    expect((await json(['uniform', sharded, '-o', again])).code).toBe(0);
    expect(asObject(await readBack(again))).toEqual(asObject(await readBack(whole)));
  });

  it('--max-shard-size: a tensor larger than it is not split; for a file it is wrong usage', async () => {
    const [a, b] = await models();
    const out = fresh('soup');
    expect((await json(['uniform', a, b, '-o', out, '--max-shard-size', '1'])).code).toBe(0);
    expect((await readShards(out)).tensors.size).toBe(3);
    const file = fresh('soup.safetensors');
    const wrong = await json(['uniform', a, b, '-o', file, '--max-shard-size', '1GB']);
    expect([wrong.code, wrong.out.error.code]).toEqual([2, 'USAGE']);
  });

  it.each([
    ['f32', 'F32', 'float32'],
    ['f16', 'F16', 'float16'],
    ['bf16', 'BF16', 'bfloat16'],
  ])('--dtype %s', async (dtype, stored, torch) => {
    const [a, b] = await models();
    const out = fresh('soup');
    expect((await json(['uniform', a, b, '-o', out, '--dtype', dtype])).code).toBe(0);
    const file = await readBack(join(out, 'model.safetensors'));
    for (const t of file.tensors.values()) expect(t.dtype).toBe(stored);
    expect(numbers(file, 'head.weight')).toEqual([2, 2, 2]);
    const config = await readFile(join(out, 'config.json'), 'utf8');
    expect(config).toBe(`{"torch_dtype": "${torch}", "x": 1}`);
  });

  it("--dtype keep (the default): the first ingredient's, tensor by tensor", async () => {
    const a = await putTensors(fresh('a.safetensors'), [tensor('w', 'BF16', [1], 1), f32('v', 1)]);
    const b = await putTensors(fresh('b.safetensors'), [f32('w', 3), tensor('v', 'F16', [1], 3)]);
    for (const [paths, w, v] of [
      [[a, b], 'BF16', 'F32'],
      [[b, a], 'F32', 'F16'],
    ] as const) {
      const out = fresh('soup.safetensors');
      await json(['uniform', ...paths, '-o', out, '--dtype', 'keep']);
      const { tensors } = await readBack(out);
      expect([tensors.get('w')?.dtype, tensors.get('v')?.dtype]).toEqual([w, v]);
    }
  });

  it('--weights and --normalize', async () => {
    const [a, b] = await models();
    for (const [more, weights, value] of [
      [['--weights', '3,1', '--normalize'], [0.75, 0.25], 1.5],
      [['--weights', '-1,2'], [-1, 2], 5],
      [['--weights=1e-1,0.5'], [0.1, 0.5], Math.fround(0.1 + 1.5)],
    ] as const) {
      const out = fresh('soup.safetensors');
      const { out: made } = await json(['uniform', a, b, '-o', out, ...more]);
      expect(made.weights).toEqual(weights);
      expect(numbers(await readBack(out), 'a.weight')[0]).toBe(value);
    }
  });

  it('--include and --exclude: repeated, by commas, with braces', async () => {
    const [a, b] = await models();
    const names = async (...more: string[]) => {
      const out = fresh('soup.safetensors');
      const { code } = await json(['uniform', a, b, '-o', out, ...more]);
      return code === 0 ? [...(await readBack(out)).tensors.keys()].sort() : code;
    };
    expect(await names('--exclude', 'head.*')).toEqual(['a.weight', 'b.weight']);
    expect(await names('--exclude', 'head.*,b.*')).toEqual(['a.weight']);
    expect(await names('--include', 'a.*', '--include', 'b.*')).toEqual(['a.weight', 'b.weight']);
    expect(await names('--include', '{a,b}.weight')).toEqual(['a.weight', 'b.weight']);
    expect(await names('--include', '*', '--exclude', '{a,b}.*')).toEqual(['head.weight']);
    expect(await names('--include', 'nothing')).toBe(2);
  });

  it("--hash puts every file's SHA-256 in the record; without it size, time and header hash", async () => {
    const [a, b] = await models();
    const [plain, hashed] = [fresh('plain.safetensors'), fresh('hashed.safetensors')];
    await json(['uniform', a, b, '-o', plain]);
    await json(['uniform', a, b, '-o', hashed, '--hash']);
    const record = async (path: string) => (await json(['inspect', path])).out.record;
    const file = join(a, 'model.safetensors');
    expect((await record(hashed)).ingredients[0].files[0].sha256).toBe(
      sha256(await readFile(file)),
    );
    const [entry] = (await record(plain)).ingredients[0].files;
    expect(entry).toEqual({
      name: 'model.safetensors',
      size: (await readFile(file)).length,
      mtimeNs: expect.stringMatching(/^\d+$/),
      headerHash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it('the record: inside a file, beside in a folder; inspect shows it', async () => {
    const [a, b] = await models();
    const [file, folder] = [fresh('soup.safetensors'), fresh('soup')];
    const options = ['--weights', '1,3', '--normalize', '--dtype', 'f32', '--exclude', 'head.*'];
    await json(['uniform', a, b, '-o', file, ...options]);
    await json(['uniform', a, b, '-o', folder, ...options]);
    const inside = JSON.parse((await readBack(file)).metadata.stockpot as string);
    const beside = JSON.parse(await readFile(join(folder, 'soup.json'), 'utf8'));
    expect(beside).toEqual(inside);
    const version = JSON.parse(
      await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'),
    ).version;
    expect(inside).toMatchObject({
      stockpot: version,
      recipe: 'uniform',
      members: [0, 1],
      weights: [0.25, 0.75],
      options: { dtype: 'f32', normalize: true, exclude: ['head.*'] },
      ingredients: [{ path: a }, { path: b }],
    });
    for (const path of [file, folder]) {
      expect((await json(['inspect', path])).out.record).toEqual(inside);
      expect((await stockpot(['inspect', path])).stdout).toContain('uniform soup of 2 ingredients');
    }
  });

  it('format: pt is always in the metadata', async () => {
    const [a] = await models();
    const [file, folder] = [fresh('soup.safetensors'), fresh('soup')];
    await json(['uniform', a, '-o', file]);
    await json(['uniform', a, '-o', folder]);
    expect((await readBack(file)).metadata.format).toBe('pt');
    expect((await readBack(join(folder, 'model.safetensors'))).metadata).toEqual({ format: 'pt' });
  });

  it('--like, --threads, --memory, --device cpu, --key', async () => {
    const [a, b] = await models();
    const out = fresh('soup');
    const more = ['--threads', '1', '--memory', '2MiB', '--device', 'cpu', '--like', b];
    const { code, out: made } = await json(['uniform', a, b, '-o', out, ...more]);
    expect(code).toBe(0);
    expect([made.threads, made.memory]).toEqual([1, 2 * 2 ** 20]);
    expect(await readFile(join(out, 'config.json'), 'utf8')).toContain('"x": 3');
    const wrapped = join(import.meta.dirname, '../fixtures/pytorch/wrapped_model.pt');
    const keyed = fresh('keyed.safetensors');
    expect((await json(['uniform', wrapped, '-o', keyed, '--key', 'model_ema'])).code).toBe(0);
    expect((await json(['inspect', keyed])).out.record.ingredients[0].key).toBe('model_ema');
  });

  it('--dry-run says what would be done and writes nothing', async () => {
    const [a, b] = await models();
    const out = fresh(join('not', 'yet', 'soup'));
    const { code, out: plan } = await json(['uniform', a, b, '-o', out, '--dry-run']);
    expect(code).toBe(0);
    expect(plan).toMatchObject({
      dryRun: true,
      output: out,
      sha256: null,
      bytesRead: 172,
      bytesWritten: 86,
      memory: expect.any(Number),
    });
    expect(await listing(join(out, '../../..')).catch(() => [])).toEqual([]);
    expect((await stockpot(['uniform', a, b, '--dry-run'])).stdout).toContain('would make');
    const c = await putTensors(fresh('c.safetensors'), [f32('other', 1)]);
    const differs = await json(['uniform', a, c, '--dry-run']);
    expect(differs.code).toBe(1);
    expect(differs.out.error.details).toHaveLength(4);
  });

  it('--dry-run without -o minds nothing that happens to lie here', async () => {
    const [a] = await models();
    const here = fresh();
    await mkdir(join(here, 'soup'), { recursive: true });
    const { code, stderr } = await stockpot(['uniform', a, '--dry-run', '--json'], { cwd: here });
    expect([code, stderr]).toEqual([0, '']);
  });

  it('relative paths are kept as given', async () => {
    const [a] = await models();
    const done = await stockpot(
      ['uniform', 'model.safetensors', './model.safetensors', '-o', 'x/../s.safetensors', '--json'],
      { cwd: a },
    );
    expect(jsonOf(done)).toMatchObject({
      ingredients: ['model.safetensors', './model.safetensors'],
      output: 'x/../s.safetensors',
    });
  });

  it('.pt inputs give safetensors, module. stripped, and it is said', async () => {
    const pt = join(import.meta.dirname, '../fixtures/pytorch/data_parallel.pt');
    const out = fresh('soup.safetensors');
    const { code, stderr } = await stockpot(['uniform', pt, '-o', out]);
    expect(code).toBe(0);
    expect(stderr).toContain('note: ');
    expect(stderr).toContain('"module."');
    expect([...(await readBack(out)).tensors.keys()]).toContain('0.weight');
  });
});

describe('outputs that exist', () => {
  const exists = async (args: string[]) => {
    const { code, out } = await json(args);
    return code === 0 ? 'made' : [code, out.error.code];
  };

  it('are refused without --overwrite, and left as they are', async () => {
    const [a, b] = await models();
    const file = await put(fresh('old.safetensors'), 'precious');
    const folder = fresh('old');
    await put(join(folder, 'model.safetensors'), 'precious');
    for (const out of [file, folder]) {
      const { stderr, code } = await stockpot(['uniform', a, b, '-o', out]);
      expect(code).toBe(1);
      expect(stderr.split('\n')[0]).toBe(`stockpot: ${out}: exists already`);
      expect(stderr).toContain('--overwrite');
    }
    expect(await readFile(file, 'utf8')).toBe('precious');
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe('precious');
  });

  it('are replaced with --overwrite: a file, a folder with all that was in it', async () => {
    const [a, b] = await models();
    const file = await put(fresh('old.safetensors'), 'old');
    const folder = fresh('old');
    for (const name of [
      'model-00001-of-00002.safetensors',
      'model.safetensors.index.json',
      'vocab.txt',
      'soup.json',
    ])
      await put(join(folder, name), 'old');
    expect(await exists(['uniform', a, b, '-o', file, '--overwrite'])).toBe('made');
    expect(await exists(['uniform', a, b, '-o', folder, '--overwrite'])).toBe('made');
    expect((await readBack(file)).tensors.size).toBe(3);
    expect(await listing(folder)).toEqual(['config.json', 'model.safetensors', 'soup.json']);
    expect(await listing(join(folder, '..'))).toEqual(['old']);
    expect(await exists(['uniform', b, a, '-o', folder, '--overwrite'])).toBe('made');
  });

  it("a folder with files of another's is not destroyed", async () => {
    const [a, b] = await models();
    const folder = fresh('thesis');
    await put(join(folder, 'model.safetensors'), 'old');
    await put(join(folder, 'thesis.tex'), 'years of work');
    const { code, stderr } = await stockpot(['uniform', a, b, '-o', folder, '--overwrite']);
    expect(code).toBe(1);
    expect(stderr.split('\n')[0]).toContain('thesis.tex');
    expect(await readFile(join(folder, 'thesis.tex'), 'utf8')).toBe('years of work');
  });

  it('an input is always refused: the file, its folder, a folder around it', async () => {
    const [a, b] = await models();
    const before = await readFile(join(a, 'model.safetensors'));
    const shelf = fresh();
    await put(join(shelf, 'model.safetensors'), before);
    for (const [inputs, out] of [
      [[a, b], a],
      [[a, b], `${a}/`],
      [[b, a], join(a, '..', a.split('/').at(-1) as string)],
      [[join(a, 'model.safetensors'), b], join(a, 'model.safetensors')],
      [[a, b], join(a, 'model.safetensors')],
      [[join(shelf, 'model.safetensors'), b], shelf],
      [[a, b], join(a, '..')],
    ] as const) {
      const { code, out: result } = await json(['uniform', ...inputs, '-o', out, '--overwrite']);
      expect([code, result.error?.code], out).toEqual([1, 'OUTPUT']);
      expect(result.error.message).toContain('is an input of this run');
    }
    expect(await readFile(join(a, 'model.safetensors'))).toEqual(before);
  });

  it('an input is refused through symbolic links too', async () => {
    const [a, b] = await models();
    const links = fresh();
    await mkdir(links, { recursive: true });
    await symlink(join(a, 'model.safetensors'), join(links, 'file.safetensors'));
    await symlink(a, join(links, 'folder'));
    await symlink(join(a, '..'), join(links, 'around'));
    const name = a.split('/').at(-1) as string;
    for (const [input, out] of [
      [a, join(links, 'file.safetensors')],
      [a, join(links, 'folder')],
      [join(links, 'folder'), a],
      [join(links, 'file.safetensors'), join(a, 'model.safetensors')],
      [a, join(links, 'around', name)],
      [join(links, 'around', name), join(links, 'folder', 'model.safetensors')],
    ] as const) {
      expect(await exists(['uniform', input, b, '-o', out, '--overwrite']), out).toEqual([
        1,
        'OUTPUT',
      ]);
    }
  });

  it('through a link: the target is replaced and the link stays', async () => {
    const [a, b] = await models();
    const real = await put(fresh('real.safetensors'), 'old');
    const realFolder = fresh('real');
    await put(join(realFolder, 'config.json'), 'old');
    const links = fresh();
    await mkdir(links, { recursive: true });
    await symlink(real, join(links, 'l.safetensors'));
    await symlink(realFolder, join(links, 'l'));
    expect(await exists(['uniform', a, b, '-o', join(links, 'l.safetensors'), '--overwrite'])).toBe(
      'made',
    );
    expect(await exists(['uniform', a, b, '-o', join(links, 'l'), '--overwrite'])).toBe('made');
    expect((await readBack(real)).tensors.size).toBe(3);
    expect(await listing(realFolder)).toEqual(['config.json', 'model.safetensors', 'soup.json']);
    expect(await listing(links)).toEqual(['l', 'l.safetensors']);
  });

  it('through a link to another file system', async ({ skip }) => {
    const [a, b] = await models();
    const other = join('/dev/shm', `stockpot ${process.pid}.safetensors`);
    try {
      await put(other, 'old');
    } catch {
      skip('there is no /dev/shm');
    }
    try {
      const link = fresh('l.safetensors');
      await mkdir(join(link, '..'), { recursive: true });
      await symlink(other, link);
      expect(await exists(['uniform', a, b, '-o', link, '--overwrite'])).toBe('made');
      expect((await readBack(other)).tensors.size).toBe(3);
    } finally {
      await rm(other);
    }
  });

  it('of the wrong kind: a folder called x.safetensors, a file called soup', async () => {
    const [a, b] = await models();
    const folder = fresh('x.safetensors');
    await mkdir(folder, { recursive: true });
    const file = await put(fresh('soup'), 'text');
    for (const out of [folder, file])
      expect(await exists(['uniform', a, b, '-o', out, '--overwrite'])).toEqual([1, 'OUTPUT']);
    expect(await readFile(file, 'utf8')).toBe('text');
  });

  it('below a file', async () => {
    const [a, b] = await models();
    const file = await put(fresh('file'), 'text');
    const { code, stderr } = await stockpot(['uniform', a, b, '-o', join(file, 'x', 'soup')]);
    expect(code).toBe(1);
    expect(stderr.split('\n')[0]).toMatch(/a part of its path is a file/);
  });

  it('no name at all: wrong usage, and the current folder stays as it is', async () => {
    const [a] = await models();
    const here = fresh();
    await put(join(here, 'thesis.tex'), 'years of work');
    for (const more of [[], ['--overwrite']]) {
      const run = ['uniform', a, '-o', '', '--json', ...more];
      const done = await stockpot(run, { cwd: here });
      expect([done.code, jsonOf(done).error.code]).toEqual([2, 'USAGE']);
    }
    for (const out of ['.', './', '..', '/']) {
      const run = ['uniform', a, '-o', out, '--json', '--overwrite'];
      const done = await stockpot(run, { cwd: here });
      expect([done.code, jsonOf(done).error.code], out).toEqual([1, 'OUTPUT']);
    }
    expect(await listing(here)).toEqual(['thesis.tex']);
    const input = await json(['uniform', '', '-o', at('x')]);
    expect([input.code, input.out.error.code]).toEqual([2, 'USAGE']);
  });

  it('where no folder can be made', async ({ skip }) => {
    if (process.platform !== 'linux') skip('there is no /proc');
    const [a] = await models();
    const { code, out } = await json(['uniform', a, '-o', '/proc/stockpot/soup']);
    expect([code, out.error.code, out.error.file]).toEqual([1, 'IO', '/proc/stockpot/soup']);
  });

  it('a failure leaves neither a soup nor the folders made for it', async () => {
    const a = await putTensors(fresh('a.safetensors'), [f32('w', Number.NaN)]);
    const base = fresh();
    await mkdir(base);
    const { code, out } = await json(['uniform', a, '-o', join(base, 'new', 'deep', 'soup')]);
    expect([code, out.error.code]).toEqual([1, 'NONFINITE']);
    expect(await listing(base)).toEqual([]);
  });
});
