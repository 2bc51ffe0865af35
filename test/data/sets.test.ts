import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { expandBraces, openDataSet } from '../../lib/data/open.js';
import type { DataSet } from '../../lib/data/types.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { put, putTensors, tensor } from '../helpers/safetensors.js';
import { fixture } from './images.js';

const at = useFolder();

/** An image of one colour, so that its place in a set can be told. */
const colour = (v: number, format: 'png' | 'jpeg' | 'webp' = 'png'): Promise<Buffer> =>
  sharp({ create: { width: 6, height: 6, channels: 3, background: { r: v, g: v, b: v } } })
    .toFormat(format, { lossless: true })
    .toBuffer();

const first = async (data: DataSet): Promise<number[]> => {
  const all = await data.batch([...Array(data.count).keys()]);
  const x = all.pixel_values as Float32Array;
  return Array.from({ length: data.count }, (_, i) => Math.round((x[i * 48] as number) * 255));
};

async function tar(path: string, members: [string, Buffer | string][]): Promise<string> {
  const archive = pack();
  for (const [name, body] of members) archive.entry({ name }, body as Buffer);
  archive.finalize();
  await writeFile(path, await buffer(archive));
  return path;
}

const processor = { size: { height: 4, width: 4 }, do_normalize: false, image_mean: [0.5] };
let model = '';

beforeAll(async () => {
  model = at('model');
  await put(join(model, 'preprocessor_config.json'), JSON.stringify(processor));
});

/** A folder of classes: { class: values }. */
async function folder(name: string, classes: Record<string, number[]>): Promise<string> {
  for (const [c, values] of Object.entries(classes)) {
    await mkdir(at(name, c), { recursive: true });
    for (const [i, v] of values.entries())
      await writeFile(at(name, c, `${String(i).padStart(3, '0')}.png`), await colour(v));
  }
  return at(name);
}

describe('a folder of classes', () => {
  it('numbers classes and files in byte order', async () => {
    const path = await folder('bytes', { b: [10, 20], Z: [30], é: [40], a: [] });
    await put(join(path, 'README.md'), 'no class');
    await put(join(path, 'b', 'notes.txt'), 'no image');
    await put(join(path, '.hidden', 'x.png'), 'no class');
    const data = await openDataSet(path, { model });
    expect(data.classNames).toEqual(['Z', 'a', 'b', 'é']);
    expect([...data.labels]).toEqual([0, 2, 2, 3]);
    expect(await first(data)).toEqual([30, 10, 20, 40]);
    expect(data.inputs).toEqual([{ name: 'pixel_values', dtype: 'f32', shape: [3, 4, 4] }]);
    expect(data.notes.join()).toContain('holds no images');
    await data.close();
  });

  it('takes the order of id2label where the folders are named so', async () => {
    const path = await folder('named', { cat: [1], dog: [2] });
    const named = at('named-model');
    await put(join(named, 'preprocessor_config.json'), JSON.stringify(processor));
    const id2label = { 0: 'dog', 1: 'horse', 2: 'cat' };
    await put(join(named, 'config.json'), JSON.stringify({ model_type: 'vit', id2label }));
    const data = await openDataSet(path, { model: named, numClasses: 3 });
    expect([...data.labels]).toEqual([2, 0]);
    expect(data.classNames).toEqual(['dog', 'horse', 'cat']);
    const other = await folder('unnamed', { n01: [1], n02: [2] });
    const numbered = await openDataSet(other, { model: named });
    expect([...numbered.labels]).toEqual([0, 1]);
    expect(numbered.notes.join()).toContain('byte order');
    const mixed = await folder('mixed', { cat: [1], cow: [2] });
    expect((await failure(openDataSet(mixed, { model: named }), 'MISMATCH')).message).toContain(
      'cow',
    );
  });

  it('gives batches in any order, and the bytes with the table that makes floats of them', async () => {
    const data = await openDataSet(await folder('batch', { a: [11, 22, 33] }), { model });
    const { pixel_values } = await data.batch([2, 0, 2]);
    expect(pixel_values).toHaveLength(3 * 48);
    const { table, read, shape } = data.pixels as NonNullable<DataSet['pixels']>;
    expect(shape).toEqual([3, 4, 4]);
    const bytes = await read([2, 0, 2]);
    expect([bytes[0], bytes[48], bytes[96]]).toEqual([33, 11, 33]);
    bytes.forEach((b, i) => {
      expect(pixel_values?.[i]).toBe(table[(Math.floor(i / 16) % 3) * 256 + b]);
    });
    await expect(data.batch([3])).rejects.toThrow('no example 3');
  });

  it('names every image that cannot be read, and skips them only when told to', async () => {
    const path = await folder('bad', { a: [1, 2], b: [3] });
    const photo = await readFile(fixture('photo.jpg'));
    await put(join(path, 'a', 'cut.jpg'), photo.subarray(0, 9000));
    await put(join(path, 'a', 'empty.png'), '');
    await put(join(path, 'b', 'drawing.png'), '<svg xmlns="http://www.w3.org/2000/svg"/>');
    await put(join(path, 'b', 'pointer.jpg'), 'version https://git-lfs.github.com/spec/v1\n');
    const error = await failure(openDataSet(path, { model }), 'FORMAT');
    expect(error.message).toContain('4 of 7');
    expect(error.details.map((d) => d.file)).toEqual(
      ['a/cut.jpg', 'a/empty.png', 'b/drawing.png', 'b/pointer.jpg'].map((n) => join(path, n)),
    );
    expect(error.details[3]?.message).toContain('Git LFS');
    expect(error.remedy).toContain('--skip-bad');
    const data = await openDataSet(path, { model, skipBad: true });
    expect([...data.labels]).toEqual([0, 0, 1]);
    expect(await first(data)).toEqual([1, 2, 3]);
    expect(data.skipped).toHaveLength(4);
    expect(data.notes.join()).toContain('4 of 7');
  });

  it('takes images as they are where they are not scaled, if they have the size', async () => {
    const unscaled = at('unscaled');
    const path = await folder('as-is', { a: [7, 8] });
    const file = join(unscaled, 'preprocessor_config.json');
    const size = (n: number) => ({ ...processor, do_resize: false, size: { height: n, width: n } });
    await put(file, JSON.stringify(size(6)));
    const data = await openDataSet(path, { model: unscaled });
    const { pixel_values } = await data.batch([1]);
    expect(pixel_values).toEqual(new Float32Array(108).fill(Math.fround(8 * Math.fround(1 / 255))));
    await put(file, JSON.stringify(size(5)));
    const error = await failure(openDataSet(path, { model: unscaled }), 'FORMAT');
    expect(error.message).toContain('it is 6 × 6, expected 5 × 5');
  });

  it('keeps what does not fit the memory in a file that nobody sees', async () => {
    const values = Array.from({ length: 40 }, (_, i) => i * 5);
    const path = await folder('many', { a: values });
    const cacheFolder = at('cache');
    await mkdir(cacheFolder);
    const held = await openDataSet(path, { model });
    for (const cacheMemory of [0, 100, 48 * 7, 48 * 40]) {
      const data = await openDataSet(path, { model, cacheMemory, cacheFolder });
      expect(await readdir(cacheFolder)).toEqual([]);
      expect(await first(data)).toEqual(values);
      expect(data.contentHash).toBe(held.contentHash);
      await data.close();
    }
    await failure(openDataSet(path, { model, cacheMemory: -1 }), 'USAGE');
  });

  it('has a hash of images, labels and preparation', async () => {
    const a = await openDataSet(await folder('h1', { a: [1, 2], b: [3] }), { model });
    const renamed = await openDataSet(await folder('h2', { x: [1, 2], y: [3] }), { model });
    const moved = await openDataSet(await folder('h3', { a: [1], b: [2, 3] }), { model });
    const other = at('other-model');
    await put(
      join(other, 'preprocessor_config.json'),
      JSON.stringify({ ...processor, do_rescale: false }),
    );
    const prepared = await openDataSet(at('h1'), { model: other });
    expect(renamed.contentHash).toBe(a.contentHash);
    expect(new Set([a, moved, prepared].map((d) => d.contentHash)).size).toBe(3);
  });

  it('behaviour 25: refuses an empty set and labels beyond the head; one example will do', async () => {
    await mkdir(at('empty'));
    await failure(openDataSet(at('empty'), { model }), 'FORMAT');
    const path = await folder('three', { a: [1], b: [2], c: [3] });
    const error = await failure(openDataSet(path, { model, numClasses: 2 }), 'MISMATCH');
    expect(error.message).toContain('example 2 has label 2');
    const fewer = await openDataSet(path, { model, numClasses: 9 });
    expect(fewer.count).toBe(3);
    const one = await openDataSet(await folder('one', { a: [9] }), { model });
    expect(await first(one)).toEqual([9]);
  });

  it('stops when it is told to', async () => {
    const path = await folder('aborted', { a: [1, 2, 3, 4, 5, 6, 7, 8] });
    const abort = new AbortController();
    abort.abort();
    await failure(openDataSet(path, { model, signal: abort.signal }), 'ABORTED');
    const later = new AbortController();
    const call = openDataSet(path, {
      model,
      threads: 1,
      signal: later.signal,
      onProgress: () => later.abort(),
    });
    await call.then(
      (d) => d.close(),
      (e) => expect(e.code).toBe('ABORTED'),
    );
  });
});

describe('WebDataset shards', () => {
  it('reads images with their labels, in order, from several shards', async () => {
    const a = await tar(at('s-0.tar'), [
      ['x/00.png', await colour(1)],
      ['x/00.cls', '2\n'],
      ['x/00.json', '{}'],
      ['x/01.cls', '0'],
      ['x/01.JPG', await colour(128, 'jpeg')],
      ['README', 'no sample'],
    ]);
    const b = await tar(at('s-1.tar'), [
      ['02.seg.txt', 'of a key of its own extension'],
      ['02.webp', await colour(3, 'webp')],
      ['02.cls', '1'],
    ]);
    const data = await openDataSet([a, b], { model, numClasses: 3 });
    expect([...data.labels]).toEqual([2, 0, 1]);
    expect(await first(data)).toEqual([1, 128, 3]);
    const braces = await openDataSet(at('s-{0..1}.tar'), { model });
    expect(braces.contentHash).toBe(data.contentHash);
    expect(expandBraces('a-{008..010}.tar')).toEqual(['a-008.tar', 'a-009.tar', 'a-010.tar']);
    expect(expandBraces('a{b}.tar')).toEqual(['a{b}.tar']);
  });

  it('reads long names and a folder of shards', async () => {
    const long = `${'d'.repeat(90)}/${'é'.repeat(80)}`;
    await mkdir(at('shards'));
    await tar(at('shards', '0.tar'), [
      [`${long}.png`, await colour(7)],
      [`${long}.cls`, '0'],
    ]);
    const data = await openDataSet(at('shards'), { model });
    expect(await first(data)).toEqual([7]);
  });

  it('names samples that are not whole', async () => {
    const path = await tar(at('bad.tar'), [
      ['a.png', await colour(1)],
      ['b.cls', '1'],
      ['c.png', await colour(2)],
      ['c.cls', 'cat'],
      ['d.png', await colour(3)],
      ['d.jpg', await colour(3)],
      ['d.cls', '0'],
      ['e.png', await colour(4)],
      ['e.cls', '0'],
    ]);
    const error = await failure(openDataSet(path, { model }), 'FORMAT');
    expect(error.details.map((d) => d.message).join('\n')).toMatch(
      /label.*\n.*image.*\n.*cat.*\n.*two/,
    );
    expect(error.details[0]?.file).toBe(`${path}:a.png`);
    const named = await openDataSet(path, { model, skipBad: true, classNames: ['dog', 'cat'] });
    expect([...named.labels]).toEqual([1, 0]);
  });

  it('refuses archives that are cut short or none at all', async () => {
    const whole = await readFile(
      await tar(at('whole.tar'), [
        ['a.png', await colour(1)],
        ['a.cls', '0'],
      ]),
    );
    for (const length of [100, 512 + 50, 1024 + 100]) {
      await writeFile(at('cut.tar'), whole.subarray(0, length));
      const error = await failure(openDataSet(at('cut.tar'), { model }), 'FORMAT');
      expect(error.file).toBe(at('cut.tar'));
    }
    await writeFile(at('text.tar'), 'x'.repeat(2000));
    await failure(openDataSet(at('text.tar'), { model }), 'FORMAT');
    await writeFile(at('nothing.tar'), '');
    await failure(openDataSet(at('nothing.tar'), { model }), 'FORMAT');
    await failure(openDataSet(at('absent.tar'), { model }), 'NOT_FOUND');
  });
});

describe('a tensor file', () => {
  const pixels = tensor('pixel_values', 'F32', [3, 1, 2], [1, 2, 3, 4, 5, 6]);
  const labels = tensor('labels', 'I64', [3], [2, 0, 1]);

  it('gives its rows, held in memory or not', async () => {
    const path = await putTensors(at('t.safetensors'), [
      pixels,
      labels,
      tensor('class_input_ids', 'I64', [2, 3], [1, 2, 3, 4, 5, 6]),
      tensor('other', 'F32', [1], [0]),
    ]);
    const hashes = new Set<string>();
    for (const cacheMemory of [0, 2 ** 20]) {
      const data = await openDataSet(path, { cacheMemory, numClasses: 3 });
      expect(data.inputs).toEqual([{ name: 'pixel_values', dtype: 'f32', shape: [1, 2] }]);
      expect([...data.labels]).toEqual([2, 0, 1]);
      expect(data.shared.class_input_ids).toMatchObject({ dtype: 'i32', shape: [2, 3] });
      expect([...(data.shared.class_input_ids?.data ?? [])]).toEqual([1, 2, 3, 4, 5, 6]);
      const batch = await data.batch(Int32Array.of(2, 0));
      expect([...(batch.pixel_values ?? [])]).toEqual([5, 6, 1, 2]);
      expect(data.notes.join()).toContain('other');
      await expect(data.batch([3])).rejects.toThrow('no example');
      hashes.add(data.contentHash);
      await data.close();
    }
    expect(hashes.size).toBe(1);
  });

  it('reads ids of every integer type, and 16-bit pixels', async () => {
    for (const dtype of ['I64', 'I32', 'I16', 'U8', 'U16', 'U32', 'U64', 'I8'] as const) {
      const path = await putTensors(at(`${dtype}.safetensors`), [
        tensor('input_ids', dtype, [2, 2], [1, 2, 3, 100]),
        tensor('attention_mask', 'BOOL', [2, 2], [1, 1, 1, 0]),
        tensor('labels', dtype, [2], [0, 1]),
      ]);
      const data = await openDataSet(path);
      const batch = await data.batch([0, 1]);
      expect(batch.input_ids).toEqual(Int32Array.of(1, 2, 3, 100));
      expect(batch.attention_mask).toEqual(Int32Array.of(1, 1, 1, 0));
      await data.close();
    }
    for (const dtype of ['F16', 'BF16', 'F64'] as const) {
      const path = await putTensors(at(`${dtype}.safetensors`), [
        tensor('pixel_values', dtype, [1, 4], [1.5, -0.25, 0, 2 ** -14]),
        tensor('labels', 'I64', [1], [0]),
      ]);
      const data = await openDataSet(path);
      const { pixel_values } = await data.batch([0]);
      expect(pixel_values).toEqual(Float32Array.of(1.5, -0.25, 0, 2 ** -14));
      await data.close();
    }
  });

  it.for([
    ['no labels', [pixels], 'labels'],
    ['no inputs', [labels], 'input'],
    ['labels that are no integers', [pixels, tensor('labels', 'F32', [3], 0)], 'labels'],
    ['labels of another shape', [pixels, tensor('labels', 'I64', [3, 1], 0)], 'labels'],
    ['a negative label', [pixels, tensor('labels', 'I64', [3], [0, -1, 0])], 'example 1'],
    ['other numbers of rows', [pixels, tensor('labels', 'I64', [2], 0)], 'pixel_values'],
    ['ids that are no integers', [labels, tensor('input_ids', 'F32', [3, 2], 0)], 'input_ids'],
    [
      'ids beyond 32 bits',
      [labels, tensor('input_ids', 'I64', [3, 1], [0, 2 ** 40, 0])],
      '32 bits',
    ],
    [
      'no example',
      [tensor('pixel_values', 'F32', [0, 2], []), tensor('labels', 'I64', [0], [])],
      'empty',
    ],
  ] as const)('refuses %s', async ([, tensors, named]) => {
    const path = await putTensors(at('refused.safetensors'), tensors);
    const call = openDataSet(path, { cacheMemory: 2 ** 20 });
    expect((await failure(call, 'FORMAT')).message).toContain(named);
  });

  it('refuses what is no data set', async () => {
    await failure(openDataSet(at('absent.safetensors')), 'NOT_FOUND');
    await failure(openDataSet(at('absent')), 'NOT_FOUND');
    await failure(openDataSet(''), 'USAGE');
    await failure(openDataSet([at('a.tar'), at('b')]), 'USAGE');
    await put(at('x.txt'), 'text,label\n');
    expect((await failure(openDataSet(at('x.txt')), 'UNSUPPORTED')).message).toContain('x.txt');
    await put(at('x.csv'), 'text,label\n');
    await failure(openDataSet(at('x.csv')), 'USAGE'); // no tokenizer
    await failure(openDataSet(await folder('unprepared', { a: [1] })), 'USAGE');
  });
});
