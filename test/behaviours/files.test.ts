import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ErrorCode, openCheckpoint, uniform } from '../../lib/index.js';
import { finished, startScript, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import {
  asObject,
  numbers,
  put,
  putShards,
  putTensors,
  readBack,
  safetensors,
  tensor,
} from '../helpers/safetensors.js';

const at = useFolder();
let sets = 0;
const fresh = (name = '') => at(`${sets++}`, name);
const f32 = (name: string, ...values: number[]) => tensor(name, 'F32', [values.length], values);
const index = (map: Record<string, unknown>) => JSON.stringify({ metadata: {}, weight_map: map });

async function refused(path: string, code: ErrorCode, ...messages: (string | RegExp)[]) {
  const error = await failure(openCheckpoint(path), code);
  expect(error.message).toContain(error.file);
  for (const m of messages) expect(error.message).toMatch(m);
  return error;
}

describe('behaviour 18: shards', () => {
  const SHARD = 'model-00001-of-00002.safetensors';

  it('behaviour 18: an index naming missing files lists them all', async () => {
    const folder = await putShards(fresh(), [[f32('a', 1)], [f32('b', 2)], [f32('c', 3)]]);
    await rm(join(folder, 'model-00002-of-00003.safetensors'));
    await rm(join(folder, 'model-00003-of-00003.safetensors'));
    const error = await refused(folder, 'NOT_FOUND', '2 shards that are not there');
    expect(error.details.map((d) => d.file)).toEqual([
      join(folder, 'model-00002-of-00003.safetensors'),
      join(folder, 'model-00003-of-00003.safetensors'),
    ]);
  });

  it('behaviour 18: a tensor in two shards', async () => {
    const folder = await putShards(fresh(), [[f32('a', 1)], [f32('a', 1), f32('b', 2)]]);
    const error = await refused(folder, 'FORMAT', /"a".*two shards/);
    expect(error.tensor).toBe('a');
    expect(error.message).toContain(SHARD);
  });

  it('behaviour 18: index and shards that disagree, everything listed', async () => {
    const folder = fresh();
    await putTensors(join(folder, 'x.safetensors'), [f32('a', 1), f32('unlisted', 1)]);
    await putTensors(join(folder, 'y.safetensors'), [f32('b', 1)]);
    await put(
      join(folder, 'model.safetensors.index.json'),
      index({ a: 'x.safetensors', b: 'x.safetensors', gone: 'y.safetensors' }),
    );
    const error = await refused(folder, 'FORMAT', 'disagree');
    expect(error.details.map((d) => [d.tensor, d.message])).toEqual([
      ['unlisted', 'is in x.safetensors but not in the index'],
      ['b', 'is in y.safetensors but the index says x.safetensors'],
      ['gone', 'the index says y.safetensors, which does not hold it'],
    ]);
  });

  it('behaviour 18: a stray shard is not read, and said', async () => {
    const folder = await putShards(fresh(), [[f32('a', 1)], [f32('b', 2)]]);
    await putTensors(join(folder, 'model-00003-of-00003.safetensors'), [f32('c', 2)]);
    const { tensors, notes } = await openCheckpoint(folder);
    expect([...tensors.keys()]).toEqual(['a', 'b']);
    expect(notes.join()).toContain('model-00003-of-00003.safetensors is not in the index');
  });

  it.each([
    '../outside.safetensors',
    '/etc/passwd',
    'sub/dir.safetensors',
    'a\\b.safetensors',
    '..',
    '.',
    '',
    'nul\0.safetensors',
    7,
    null,
    ['a'],
  ])('behaviour 18: an index that names %j', async (name) => {
    const folder = fresh();
    await putTensors(join(folder, '../outside.safetensors'), [f32('a', 1)]);
    await put(join(folder, 'model.safetensors.index.json'), index({ a: name }));
    const error = await refused(folder, 'FORMAT', 'a file in the same folder');
    expect(error.file).toBe(join(folder, 'model.safetensors.index.json'));
  });

  it.each([
    ['', /not valid JSON/],
    ['[]', /weight_map/],
    ['{}', /weight_map/],
    ['{"weight_map":[]}', /weight_map/],
    ['{"weight_map":{}}', /empty/],
    ['{"weight_map":{"a":"x","a":"y"}}', /"a" occurs twice/],
  ])('behaviour 18: an index of %j', async (text, message) => {
    const folder = fresh();
    await put(join(folder, 'model.safetensors.index.json'), text);
    await refused(folder, 'FORMAT', message);
  });

  it('behaviour 18: an index that names a folder', async () => {
    const folder = fresh();
    await mkdir(join(folder, 'x.safetensors'), { recursive: true });
    await put(join(folder, 'model.safetensors.index.json'), index({ a: 'x.safetensors' }));
    const error = await failure(openCheckpoint(folder), 'NOT_FOUND');
    expect(error.file).toBe(join(folder, 'x.safetensors'));
  });

  it('behaviour 18: the index stands for its folder', async () => {
    const folder = await putShards(fresh(), [[f32('a', 1)], [f32('b', 2)]]);
    const index = join(folder, 'model.safetensors.index.json');
    const { path, tensors, files } = await openCheckpoint(index);
    expect([path, [...tensors.keys()], files.length]).toEqual([index, ['a', 'b'], 2]);
    await rm(join(folder, 'model-00002-of-00002.safetensors'));
    await refused(index, 'NOT_FOUND', 'a shard that is not there');
  });

  it('behaviour 18: ingredients sharded differently are merged by key', async () => {
    const [a, b, c] = [1, 3, 5].map((x) => [f32('a', x), f32('b', 2 * x), f32('c', -x)]) as [
      ReturnType<typeof f32>[],
      ReturnType<typeof f32>[],
      ReturnType<typeof f32>[],
    ];
    const paths = [
      await putTensors(fresh('whole.safetensors'), a),
      await putShards(fresh(), [[b[2]], [b[0], b[1]]] as never),
      await putShards(fresh(), [[c[1]], [c[2]], [c[0]]] as never),
    ];
    for (const order of [paths, [...paths].reverse()]) {
      const out = fresh('soup.safetensors');
      await uniform(order, out);
      const file = await readBack(out);
      expect([numbers(file, 'a'), numbers(file, 'b'), numbers(file, 'c')]).toEqual([
        [3],
        [6],
        [-3],
      ]);
    }
  });

  it('behaviour 18: names that objects have already, in an index', async () => {
    const folder = await putShards(fresh(), [[f32('__proto__', 1)], [f32('constructor', 2)]]);
    expect([...(await openCheckpoint(folder)).tensors.keys()]).toEqual([
      '__proto__',
      'constructor',
    ]);
  });
});

describe('behaviour 20: no weights but a message', () => {
  it.each(['w.safetensors', 'w.bin', 'w.pt'])(
    'behaviour 20: a Git LFS pointer as %s',
    async (name) => {
      const text = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 1\n`;
      const error = await refused(await put(fresh(name), text), 'NOT_FOUND', 'Git LFS pointer');
      expect(error.remedy).toContain('git lfs pull');
    },
  );

  it.each([
    '<!DOCTYPE html><html><body>Sign in</body></html>',
    '\n  <html>',
    '\ufeff<!doctype HTML>',
    '<?xml version="1.0"?><Error>AccessDenied</Error>',
  ])('behaviour 20: a page: %j', async (text) => {
    for (const name of ['w.safetensors', 'w.pt'])
      await refused(await put(fresh(name), text), 'NOT_FOUND', 'HTML page');
  });

  it('behaviour 20: as a shard, the shard is named', async () => {
    const folder = await putShards(fresh(), [[f32('a', 1)], [f32('b', 2)]]);
    const shard = join(folder, 'model-00002-of-00002.safetensors');
    await writeFile(shard, 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n');
    expect((await refused(folder, 'NOT_FOUND', 'LFS')).file).toBe(shard);
  });
});

describe('behaviour 23: side files', () => {
  const SIDE = {
    'config.json': '{"dtype": "float32"}\n',
    'preprocessor_config.json': '{}',
    'tokenizer.json': '{"a": "é"}',
    'tokenizer_config.json': '{}',
    'special_tokens_map.json': '{}',
    'vocab.txt': 'a\nb\n',
    'vocab.json': '{}',
    'merges.txt': '',
    'spiece.model': '\0binary\xff',
    'modules.json': '[]',
    'open_clip_config.json': '{}',
    '1_Pooling/config.json': '{"pool": true}',
  };
  async function model(value: number, side: Record<string, string>) {
    const folder = fresh();
    await putTensors(join(folder, 'model.safetensors'), [f32('w', value)]);
    for (const [name, text] of Object.entries(side))
      await put(join(folder, name), Buffer.from(text, 'latin1'));
    return folder;
  }

  it("behaviour 23: the first ingredient's, byte for byte; nothing else", async () => {
    const first = await model(1, {
      ...SIDE,
      'optimizer.pt': 'no',
      'README.md': 'no',
      'training_args.bin': 'no',
      'notes.txt': 'no',
    });
    const second = await model(3, {
      'config.json': '{"other": 1}',
      'generation_config.json': '{}',
    });
    const out = fresh('soup');
    await uniform([first, second], out);
    const names = [
      ...Object.keys(SIDE).map((n) => n.split('/')[0]),
      'model.safetensors',
      'soup.json',
    ];
    expect(await listing(out)).toEqual(names.sort());
    for (const name of Object.keys(SIDE))
      expect(await readFile(join(out, name))).toEqual(await readFile(join(first, name)));
  });

  it('behaviour 23: --like names another donor, a folder or a file in it', async () => {
    const first = await model(1, { 'config.json': '{"first": 1}' });
    const donor = await model(9, { 'config.json': '{"donor": 1}', 'vocab.txt': 'x' });
    for (const like of [donor, join(donor, 'model.safetensors')]) {
      const out = fresh('soup');
      await uniform([first], out, { like });
      expect(await readFile(join(out, 'config.json'), 'utf8')).toBe('{"donor": 1}');
      expect(await listing(out)).toContain('vocab.txt');
      expect(numbers(await readBack(join(out, 'model.safetensors')), 'w')).toEqual([1]);
    }
  });

  it('behaviour 23: a donor that is not there is refused before a byte is written', async () => {
    const first = await model(1, {});
    const out = fresh('soup');
    const phases: string[] = [];
    const error = await failure(
      uniform([first], out, {
        like: at('no such donor'),
        onProgress: ({ phase }) => phases.push(phase),
      }),
      'NOT_FOUND',
    );
    expect(error.file).toBe(at('no such donor'));
    expect(phases).not.toContain('merge');
    await failure(uniform([first], out, { like: at('no such donor'), dryRun: true }), 'NOT_FOUND');
  });

  it('behaviour 23: a side file that cannot be had is refused before a byte is written', async () => {
    const first = await model(1, {});
    await symlink(at('nowhere'), join(first, 'config.json'));
    const out = fresh('soup');
    const error = await failure(uniform([first], out), 'NOT_FOUND');
    expect(error.file).toBe(join(first, 'config.json'));
    expect(await listing(join(out, '..')).catch(() => [])).toEqual([]);
    await uniform([first], fresh('soup.safetensors'));
  });

  it('behaviour 23: an ingredient that is a file gives what lies beside it', async () => {
    const first = await model(1, { 'config.json': '{"beside": 1}' });
    const out = fresh('soup');
    await uniform([join(first, 'model.safetensors')], out);
    expect(await listing(out)).toEqual(['config.json', 'model.safetensors', 'soup.json']);
  });

  it('behaviour 23: read-only and linked side files become files of one’s own', async () => {
    const first = await model(1, {});
    const blob = await put(fresh('blob'), '{"linked": 1}');
    await chmod(blob, 0o444);
    await symlink(blob, join(first, 'config.json'));
    const out = fresh('soup');
    await uniform([first], out);
    await writeFile(join(out, 'config.json'), 'changed');
    expect(await readFile(blob, 'utf8')).toBe('{"linked": 1}');
  });

  it("behaviour 23: config.json's dtype follows --dtype, everywhere in it, and nothing else changes", async () => {
    const config = (dtype: string, old: string) =>
      `{\n "text_config": {"torch_dtype": "${old}", "x": "float32"},\n "dtype": "${dtype}",\n "n": 1.0\n}\n`;
    const first = await model(1, { 'config.json': config('float32', 'float64') });
    for (const [dtype, name] of [
      ['bf16', 'bfloat16'],
      ['f16', 'float16'],
      ['f32', 'float32'],
    ] as const) {
      const out = fresh('soup');
      await uniform([first], out, { dtype });
      expect(await readFile(join(out, 'config.json'), 'utf8')).toBe(config(name, name));
    }
    const kept = fresh('soup');
    await uniform([first], kept);
    expect(await readFile(join(kept, 'config.json'), 'utf8')).toBe(config('float32', 'float64'));
  });

  it("behaviour 23: config.json's fp8 becomes bfloat16 where the weights do", async () => {
    const folder = fresh();
    await putTensors(join(folder, 'model.safetensors'), [tensor('w', 'F8_E4M3', [1], [1])]);
    await put(join(folder, 'config.json'), '{"torch_dtype": "float8_e4m3fn"}');
    const out = fresh('soup');
    await uniform([folder], out);
    expect(await readFile(join(out, 'config.json'), 'utf8')).toBe('{"torch_dtype": "bfloat16"}');
  });
});

describe('behaviour 24: inputs', () => {
  it('behaviour 24: missing', async () => {
    const error = await refused(at('not there.safetensors'), 'NOT_FOUND', 'no such file');
    expect(error.file).toBe(at('not there.safetensors'));
    await refused(at('no', 'folder'), 'NOT_FOUND');
    const file = await putTensors(fresh('w.safetensors'), [f32('w', 1)]);
    await failure(openCheckpoint(join(file, 'below a file')), 'NOT_FOUND');
  });

  it.each(['w.safetensors', 'w.pt', 'pytorch_model.bin'])(
    'behaviour 24: empty %s',
    async (name) => {
      const path = await put(fresh(name), '');
      expect((await refused(path, 'FORMAT', 'empty file')).remedy).toBeTruthy();
    },
  );

  it('behaviour 24: a folder without a checkpoint', async () => {
    const folder = fresh();
    await put(join(folder, 'config.json'), '{}');
    await put(join(folder, 'optimizer.pt'), 'x');
    const error = await refused(folder, 'NOT_FOUND', 'no checkpoint in this folder');
    expect(error.remedy).toContain('model.safetensors');
  });

  it('behaviour 24: a folder with several', async () => {
    const folder = fresh();
    await putTensors(join(folder, 'a.safetensors'), [f32('w', 1)]);
    await putTensors(join(folder, 'b.safetensors'), [f32('w', 1)]);
    const error = await refused(
      folder,
      'NOT_FOUND',
      /2 checkpoints.*a\.safetensors, b\.safetensors/,
    );
    expect(error.remedy).toContain('Name the file');
  });

  it('behaviour 24: model.safetensors goes before an index, and both before others', async () => {
    const folder = await putShards(fresh(), [[f32('sharded', 1)]]);
    await putTensors(join(folder, 'other.safetensors'), [f32('other', 1)]);
    expect([...(await openCheckpoint(folder)).tensors.keys()]).toEqual(['sharded']);
    await putTensors(join(folder, 'model.safetensors'), [f32('single', 1)]);
    expect([...(await openCheckpoint(folder)).tensors.keys()]).toEqual(['single']);
  });

  it('behaviour 24: symbolic links to files, shards and folders', async () => {
    const real = await putShards(fresh(), [[f32('a', 1)], [f32('b', 2)]]);
    const links = fresh();
    await mkdir(links);
    for (const name of await listing(real)) await symlink(join(real, name), join(links, name));
    const folderLink = fresh('link');
    await mkdir(join(folderLink, '..'), { recursive: true });
    await symlink(real, folderLink);
    for (const path of [links, folderLink]) {
      const out = fresh('soup.safetensors');
      await uniform([path], out);
      expect((await readBack(out)).tensors.size).toBe(2);
    }
  });

  it('behaviour 24: a link whose target has no extension, as in a download cache', async () => {
    const blob = await put(fresh('5f0c'), safetensors([f32('w', 1)]));
    const link = fresh('model.safetensors');
    await mkdir(join(link, '..'), { recursive: true });
    await symlink(blob, link);
    expect((await openCheckpoint(join(link, '..'))).tensors.size).toBe(1);
  });

  it('behaviour 24: links that go in a circle, and a link to nothing', async () => {
    const folder = fresh();
    await mkdir(folder);
    await symlink(join(folder, 'b.safetensors'), join(folder, 'a.safetensors'));
    await symlink(join(folder, 'a.safetensors'), join(folder, 'b.safetensors'));
    await refused(join(folder, 'a.safetensors'), 'IO', 'in a circle');
    await symlink(join(folder, 'gone'), join(folder, 'c.safetensors'));
    await refused(join(folder, 'c.safetensors'), 'NOT_FOUND', 'no such file');
  });

  it('behaviour 24: spaces and other letters, in and out', async () => {
    const folder = fresh('modèles à moi');
    const a = await putTensors(join(folder, '重み 🍲.safetensors'), [f32('ü w', 1)]);
    const b = await putTensors(join(folder, 'it\'s "b" $HOME `x`.safetensors'), [f32('ü w', 3)]);
    const out = join(folder, 'Suppe mit Ä', 'süß.safetensors');
    const { ingredients, output } = await uniform([a, b], out);
    expect([...ingredients, output]).toEqual([a, b, out]);
    expect(numbers(await readBack(out), 'ü w')).toEqual([2]);
  });

  it('behaviour 24: a name with a new line still gives one line', async () => {
    const path = at('two\nlines.safetensors');
    const error = await openCheckpoint(path).catch((e) => e);
    expect(error.code).toBe('NOT_FOUND');
    const { stderr } = await stockpot(['inspect', path]);
    expect(stderr.split('\n')[0]).toMatch(/^stockpot: .*no such file/);
  });

  it('behaviour 24: read-only inputs are read', async () => {
    const path = await putTensors(fresh('w.safetensors'), [f32('w', 1)]);
    await chmod(path, 0o444);
    await chmod(join(path, '..'), 0o555);
    const out = fresh('soup.safetensors');
    await uniform([path], out);
    await chmod(join(path, '..'), 0o755);
    expect(asObject(await readBack(out))).toEqual(asObject(await readBack(path)));
  });

  it('behaviour 24: something that is no file', async () => {
    await refused('/dev/null', 'NOT_FOUND', 'expected a file');
  });

  it('behaviour 24: a named pipe is refused, not waited for', async () => {
    const pipe = fresh('pipe.safetensors');
    await mkdir(join(pipe, '..'), { recursive: true });
    execFileSync('mkfifo', [pipe]);
    await refused(pipe, 'NOT_FOUND', 'expected a file');
  });

  // Root reads everything: the call runs in a child that becomes another user. It does so once the library and its addon
  // are loaded, as the clone may lie where only root may go.
  const root = process.getuid?.() === 0;
  const become =
    'stockpot.devices(); process.setgroups([]); process.setgid(65534); process.setuid(65534);';
  const child = (script: string) =>
    finished(startScript(`${root ? become : ''} ${script}`, { cwd: '/' }));

  it('behaviour 24: inputs that may not be read', async () => {
    const path = await putTensors(fresh('w.safetensors'), [f32('w', 1)]);
    await chmod(at(), 0o755);
    await chmod(path, 0o000);
    const script = `await stockpot.openCheckpoint(${JSON.stringify(path)}).catch((e) => console.log(JSON.stringify({ ...e, message: e.message })))`;
    const { stdout, stderr } = await child(script);
    await chmod(path, 0o644);
    expect(stderr).toBe('');
    const error = JSON.parse(stdout);
    expect(error.code).toBe('IO');
    expect(error.message).toBe(`${path}: permission to read it is denied`);
  });

  it('behaviour 24: a place that may not be written', async () => {
    const path = await putTensors(fresh('w.safetensors'), [f32('w', 1)]);
    const folder = fresh();
    await mkdir(folder, { mode: 0o755 });
    await chmod(at(), 0o755);
    if (!root) await chmod(folder, 0o555);
    const out = join(folder, 'soup.safetensors');
    const script = `await stockpot.uniform([${JSON.stringify(path)}], ${JSON.stringify(out)}).catch((e) => console.log(JSON.stringify({ ...e, message: e.message })))`;
    const { stdout, stderr } = await child(script);
    expect(stderr).toBe('');
    const error = JSON.parse(stdout);
    expect(error.code).toBe('IO');
    expect(error.message).toBe(`${out}: permission to write there is denied`);
    expect(await listing(folder)).toEqual([]);
  });

  it('behaviour 24: an input that belongs to another user is read', async ({ skip }) => {
    if (!root) skip('only root can give a file away');
    const path = await putTensors(fresh('w.safetensors'), [f32('w', 1)]);
    await chown(path, 12345, 12345);
    expect((await openCheckpoint(path)).tensors.size).toBe(1);
  });
});

describe('behaviour 21: changes while reading', () => {
  it('behaviour 21: between opening and merging: size, or time', async () => {
    const path = await putTensors(fresh('w.safetensors'), [f32('w', 1, 2)]);
    const open = await openCheckpoint(path);
    await utimes(path, 1, 1);
    const touched = await failure(uniform([open], fresh('soup.safetensors')), 'CHANGED');
    expect(touched.file).toBe(path);
    const again = await openCheckpoint(path);
    await writeFile(path, safetensors([f32('w', 1)]));
    await failure(uniform([again], fresh('soup.safetensors')), 'CHANGED');
    const once = await openCheckpoint(path);
    await rm(path);
    await failure(uniform([once], fresh('soup.safetensors')), 'NOT_FOUND');
  });
});

describe('behaviour 31: quantised checkpoints', () => {
  it.each([
    ['GPTQ', 'model.layers.0.q_proj.qweight', 'I32'],
    ['GPTQ', 'model.layers.0.q_proj.qzeros', 'I32'],
    ['GPTQ', 'model.layers.0.q_proj.g_idx', 'I32'],
    ['bitsandbytes', 'model.layers.0.q_proj.weight.absmax', 'F32'],
    ['bitsandbytes', 'model.layers.0.q_proj.weight.quant_state.bitsandbytes__nf4', 'U8'],
    ['bitsandbytes', 'model.layers.0.q_proj.SCB', 'F32'],
    ['compressed-tensors', 'model.layers.0.q_proj.weight_packed', 'I32'],
  ] as const)('behaviour 31: %s by %s', async (library, name, dtype) => {
    const path = await putTensors(fresh('w.safetensors'), [
      f32('w', 1),
      tensor(name, dtype, [1], 1),
    ]);
    const error = await refused(path, 'UNSUPPORTED', 'is quantised', library);
    expect(error.tensor).toBe(name);
    expect(error.remedy).toContain('unquantised');
  });

  it.each(['l.weight_scale', 'l.weight_scale_inv', 'l.input_scale', 'l.scale_weight'])(
    'behaviour 31: fp8 with %s; without fp8 it is a tensor like any other',
    async (name) => {
      const fp8 = tensor('l.weight', 'F8_E4M3', [1], 1);
      const error = await refused(
        await putTensors(fresh('w.safetensors'), [fp8, f32(name, 1)]),
        'UNSUPPORTED',
        'fp8 with scales',
      );
      expect(error.tensor).toBe(name);
      const plain = await putTensors(fresh('w.safetensors'), [f32('l.weight', 1), f32(name, 1)]);
      expect((await openCheckpoint(plain)).tensors.size).toBe(2);
    },
  );

  it('behaviour 31: by quantization_config in config.json', async () => {
    const folder = fresh();
    await putTensors(join(folder, 'model.safetensors'), [f32('w', 1)]);
    await put(join(folder, 'config.json'), '{"quantization_config": {"quant_method": "awq"}}');
    await refused(folder, 'UNSUPPORTED', 'quantization_config');
    await put(join(folder, 'config.json'), '{"quantization_config": null}');
    expect((await openCheckpoint(folder)).tensors.size).toBe(1);
  });

  it.each(['model.gguf', 'w.safetensors', 'w.bin'])('behaviour 31: GGUF as %s', async (name) => {
    const path = await put(fresh(name), Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(60, 3)]));
    const error = await refused(path, 'UNSUPPORTED', 'GGUF');
    expect(error.remedy).toContain('original checkpoint');
  });
});
