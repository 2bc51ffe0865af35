import { createHash } from 'node:crypto';
import { open, truncate, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { openCheckpoint, uniform } from '../../lib/index.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import {
  numbers,
  put,
  putTensors,
  rawFile,
  readBack,
  safetensors,
  tensor,
} from '../helpers/safetensors.js';

const at = useFolder();
let files = 0;
const write = (bytes: Buffer) => put(at(`${files++}.safetensors`), bytes);
const entry = (dtype: string, shape: unknown, begin: unknown, end: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });

/** The refusal of a file with this header and so much data. */
async function refused(
  header: string | Buffer,
  dataBytes: number,
  message: RegExp,
  code: 'FORMAT' | 'UNSUPPORTED' = 'FORMAT',
) {
  const path = await write(rawFile(header, Buffer.alloc(dataBytes)));
  const error = await failure(openCheckpoint(path), code);
  expect(error.file).toBe(path);
  expect(error.message).toContain(path);
  expect(error.message).toMatch(message);
  expect(error.remedy).toBeTruthy();
  return error;
}

describe('behaviour 17: files that are refused', () => {
  it('behaviour 17: a header over 100 MB', async () => {
    const path = await write(Buffer.from([1, 0xe1, 0xf5, 5, 0, 0, 0, 0, 0x7b])); // 100,000,001
    await truncate(path, 100_000_100);
    const error = await failure(openCheckpoint(path), 'FORMAT');
    expect(error.message).toContain('100000001 bytes');
    expect(error.message).toContain('more than the format allows');
  });

  it('behaviour 17: a header length of 2^64 - 1', async () => {
    const path = await write(Buffer.concat([Buffer.alloc(8, 0xff), Buffer.from('{}')]));
    expect((await failure(openCheckpoint(path), 'FORMAT')).message).toContain('header');
  });

  it.each([
    ['text', 'hello'],
    ['an array', '[]'],
    ['cut off', '{"a":'],
    ['a trailing comma', '{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},}'],
    ['two values', '{}{}'],
    ['single quotes', "{'a':1}"],
    ['NaN', '{"a":NaN}'],
    ['a leading space', ' {}'],
    ['nothing', ''],
    ['nested deeply', `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
  ])('behaviour 17: not JSON: %s', async (_, header) => {
    await refused(header, 1, /header|expected an object/);
  });

  it('behaviour 17: a header that is not UTF-8', async () => {
    await refused(Buffer.from('{"\xff":1}', 'latin1'), 0, /not UTF-8/);
  });

  it('behaviour 17: a tensor twice', async () => {
    const a = entry('U8', [1], 0, 1);
    await refused(`{"a":${a},"a":${entry('U8', [1], 1, 2)}}`, 2, /"a" occurs twice/);
    await refused(`{"a":${a},"\\u0061":${entry('U8', [1], 1, 2)}}`, 2, /"a" occurs twice/);
    await refused(`{"__proto__":${a},"__proto__":${a}}`, 1, /"__proto__" occurs twice/);
  });

  it('behaviour 17: a field twice', async () => {
    await refused(
      '{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
      1,
      /"dtype" occurs twice/,
    );
    await refused('{"__metadata__":{"x":"1","x":"2"}}', 0, /"x" occurs twice/);
  });

  it('behaviour 17: tensors that overlap', async () => {
    const error = await refused(
      `{"a":${entry('U8', [4], 0, 4)},"b":${entry('U8', [4], 2, 6)}}`,
      6,
      /"b".*overlaps/,
    );
    expect(error.tensor).toBe('b');
    await refused(`{"a":${entry('U8', [4], 0, 4)},"b":${entry('U8', [4], 0, 4)}}`, 4, /overlaps/);
    await refused(`{"a":${entry('U8', [4], 0, 4)},"b":${entry('U8', [1], 1, 2)}}`, 4, /overlaps/);
  });

  it('behaviour 17: a hole between tensors, or before the first', async () => {
    const error = await refused(
      `{"a":${entry('U8', [2], 0, 2)},"b":${entry('U8', [2], 3, 5)}}`,
      5,
      /"b".*hole/,
    );
    expect(error.tensor).toBe('b');
    await refused(`{"a":${entry('U8', [2], 1, 3)}}`, 3, /"a".*hole/);
    await refused(
      `{"a":${entry('U8', [0], 1, 1)},"b":${entry('U8', [1], 0, 1)}, "c":${entry('U8', [0], 3, 3)}}`,
      1,
      /hole/,
    );
  });

  it('behaviour 17: data past the end', async () => {
    const error = await refused(`{"a":${entry('F32', [4], 0, 16)}}`, 15, /"a".*cut short/);
    expect(error.tensor).toBe('a');
    await refused(
      `{"a":${entry('U8', [2 ** 50], 0, 2 ** 50)}}`,
      15,
      /ends at byte \d+ but the file has \d+/,
    );
  });

  it('behaviour 17: offsets that disagree with type and shape', async () => {
    const error = await refused(
      `{"a":${entry('F32', [2, 2], 0, 8)}}`,
      8,
      /F32 \[2, 2\] takes 16 bytes but data_offsets \[0, 8\] give 8/,
    );
    expect(error.tensor).toBe('a');
    await refused(`{"a":${entry('F32', [2], 8, 0)}}`, 8, /give -8/);
    await refused(`{"a":${entry('F32', [], 0, 0)}}`, 0, /takes 4 bytes/);
    await refused(`{"a":${entry('F32', [0], 0, 4)}}`, 4, /takes 0 bytes/);
  });

  it('behaviour 17: a product that overflows', async () => {
    for (const shape of [
      [2 ** 32, 2 ** 32],
      [2 ** 31, 2 ** 31, 4],
      [2 ** 53 - 1, 2 ** 53 - 1, 2 ** 53 - 1],
      Array(400).fill(1000),
    ]) {
      const error = await refused(`{"a":${entry('F32', shape, 0, 0)}}`, 0, /too many elements/);
      expect(error.tensor).toBe('a');
    }
    // 2^61 elements of 8 bytes are 0 modulo 2^64.
    await refused(`{"a":${entry('F64', [2 ** 30, 2 ** 31], 0, 0)}}`, 0, /too many elements/);
  });

  it.each([
    ['a negative size', '[-1]'],
    ['a fraction', '[1.5]'],
    ['a string', '["1"]'],
    ['no list', '1'],
    ['null', 'null'],
    ['a size over 2^53', '[9007199254740993]'],
  ])('behaviour 17: a shape with %s', async (_, shape) => {
    const header = `{"a":{"dtype":"U8","shape":${shape},"data_offsets":[0,1]}}`;
    await refused(header, 1, /"a".*not a list of sizes/);
  });

  it.each(['[0]', '[0,1,2]', '[-1,0]', '["0","1"]', 'null', '{}', '[0.5,1.5]'])(
    'behaviour 17: data_offsets %s',
    async (offsets) => {
      const header = `{"a":{"dtype":"U8","shape":[1],"data_offsets":${offsets}}}`;
      await refused(header, 1, /"a".*not two byte positions/);
    },
  );

  it.each(['F4', 'C64', 'f32', 'float32', '', 'toString', '__proto__', 'F8_E8M0'])(
    'behaviour 17: unknown dtype "%s"',
    async (dtype) => {
      const header = `{"a":${entry(dtype, [1], 0, 1)}}`;
      const error = await refused(header, 1, /not one that stockpot reads/, 'UNSUPPORTED');
      expect(error.tensor).toBe('a');
      expect(error.message).toContain(JSON.stringify(dtype));
    },
  );

  it.each(['1', 'null', '[]', '"F32"', '{}', '{"dtype":"F32"}'])(
    'behaviour 17: a tensor described by %s',
    async (info) => {
      const path = await write(rawFile(`{"a":${info}}`));
      const error = await openCheckpoint(path).catch((e) => e);
      expect(['FORMAT', 'UNSUPPORTED']).toContain(error.code);
      expect(error.tensor).toBe('a');
    },
  );

  it('behaviour 17: truncated at every length', async () => {
    const whole = safetensors([
      tensor('first', 'F32', [2], [1, 2]),
      tensor('second', 'I64', [1], [3]),
    ]);
    const path = at('cut.safetensors');
    await writeFile(path, whole);
    expect((await openCheckpoint(path)).tensors.size).toBe(2);
    for (let length = 0; length < whole.length; length++) {
      await writeFile(path, whole.subarray(0, length));
      const error = await failure(openCheckpoint(path), 'FORMAT');
      expect(error.file).toBe(path);
    }
  });

  it('behaviour 17: trailing bytes', async () => {
    await refused(`{"a":${entry('U8', [1], 0, 1)}}`, 2, /1 byte follows the last tensor/);
  });

  it.each([
    ['a number', '{"x":1}'],
    ['a list', '[]'],
    ['a string', '"x"'],
    ['a nested object', '{"x":{}}'],
    ['null inside', '{"x":null}'],
  ])('behaviour 17: __metadata__ with %s', async (_, metadata) => {
    await refused(
      `{"__metadata__":${metadata},"a":${entry('U8', [1], 0, 1)}}`,
      1,
      /__metadata__ must be an object of strings/,
    );
  });

  it('behaviour 17: no tensor at all', async () => {
    const path = await write(rawFile('{}'));
    expect((await failure(openCheckpoint(path), 'FORMAT')).message).toContain('holds no tensor');
  });
});

describe('behaviour 17: files that are read', () => {
  it('behaviour 17: a header with all kinds of spaces', async () => {
    const path = await write(
      rawFile(
        `{ "a" :\n\t{"dtype" : "U8", "shape":[ 1 ],\r\n"data_offsets":[0 , 1]} }   `,
        Buffer.of(7),
      ),
    );
    expect([...(await openCheckpoint(path)).tensors.keys()]).toEqual(['a']);
  });

  it('behaviour 17: unaligned tensors', async () => {
    const list = (x: number) => [
      tensor('byte', 'U8', [1], 1),
      tensor('f64', 'F64', [2], [x, 10 * x]),
      tensor('flag', 'BOOL', [1], 1),
      tensor('f32', 'F32', [3], x),
      tensor('odd', 'U8', [1], 1),
      tensor('f16', 'F16', [3], x),
    ];
    const paths = [
      await putTensors(at('unaligned 0.safetensors'), list(1)),
      await putTensors(at('unaligned 1.safetensors'), list(3), { padding: 3 }),
    ];
    const out = at('aligned.safetensors');
    await uniform(paths, out);
    const file = await readBack(out);
    expect(numbers(file, 'f64')).toEqual([2, 20]);
    expect(numbers(file, 'f32')).toEqual([2, 2, 2]);
    expect(numbers(file, 'f16')).toEqual([2, 2, 2]);
  });

  it('behaviour 17: what is written is aligned', async () => {
    const path = await putTensors(at('mixed.safetensors'), [
      tensor('a', 'U8', [3], 1),
      tensor('b', 'F32', [1], 1),
      tensor('c', 'F64', [1], 1),
      tensor('d', 'F16', [1], 1),
    ]);
    const out = at('mixed soup.safetensors');
    await uniform([path], out);
    const size = { U8: 1, F32: 4, F64: 8, F16: 2 } as Record<string, number>;
    for (const { dtype, offset } of (await openCheckpoint(out)).tensors.values())
      expect(offset % (size[dtype] as number)).toBe(0);
  });

  it('behaviour 17: __metadata__ absent, null, empty and large', async () => {
    const a = entry('U8', [1], 0, 1);
    for (const [metadata, size] of [
      ['', 0],
      ['"__metadata__":null,', 0],
      ['"__metadata__":{},', 0],
      ['"__metadata__":{"":""},', 1],
      [`"__metadata__":{"big":"${'x'.repeat(5_000_000)}"},`, 1],
    ] as const) {
      const path = await write(rawFile(`{${metadata}"a":${a}}`, Buffer.of(1)));
      expect(Object.keys((await openCheckpoint(path)).metadata)).toHaveLength(size);
    }
  });

  it('behaviour 17: __metadata__ of the first ingredient is kept, with format: pt', async () => {
    const one = await putTensors(at('with.safetensors'), [tensor('a', 'F32', [1], 1)], {
      metadata: { author: 'me', format: 'np', __proto__x: 'y' },
    });
    const two = await putTensors(at('without.safetensors'), [tensor('a', 'F32', [1], 3)]);
    const out = at('kept.safetensors');
    await uniform([one, two], out);
    expect((await readBack(out)).metadata).toMatchObject({
      author: 'me',
      format: 'pt',
      __proto__x: 'y',
    });
    const other = at('other.safetensors');
    await uniform([two, one], other);
    const { metadata } = await readBack(other);
    expect(Object.keys(metadata).sort()).toEqual(['format', 'stockpot']);
  });

  it('behaviour 17: names that objects have already', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '0', '10', '2', ''];
    const list = names.map((n, i) => tensor(n, 'F32', [1], i));
    const path = await putTensors(at('names.safetensors'), list);
    const checkpoint = await openCheckpoint(path);
    expect([...checkpoint.tensors.keys()]).toEqual(names);
    const out = at('names soup.safetensors');
    await uniform([path, path], out);
    const written = await openCheckpoint(out);
    expect([...written.tensors.keys()]).toEqual(names);
    const file = await open(out);
    const bytes = Buffer.alloc(4 * names.length);
    await file.read(bytes, 0, bytes.length, written.tensors.get('__proto__')?.offset);
    await file.close();
    expect(names.map((_, i) => bytes.readFloatLE(4 * i))).toEqual(names.map((_, i) => i));
  });

  it('behaviour 17: tensors whose header is in another order than the data', async () => {
    const list = [0, 1, 2, 3].map((i) => tensor(`t${i}`, 'F32', [1], i));
    const path = await putTensors(at('order.safetensors'), list, { headerOrder: [2, 0, 3, 1] });
    const out = at('order soup.safetensors');
    await uniform([path], out);
    const file = await readBack(out);
    for (const i of [0, 1, 2, 3]) expect(numbers(file, `t${i}`)).toEqual([i]);
  });

  it('behaviour 17: plain fp8 is averaged, and written as bf16 unless told otherwise', async () => {
    for (const dtype of ['F8_E4M3', 'F8_E5M2'] as const) {
      const paths = [
        await putTensors(at(`${dtype} 0.safetensors`), [tensor('w', dtype, [3], [1, -2, 0.5])]),
        await putTensors(at(`${dtype} 1.safetensors`), [tensor('w', dtype, [3], [1.5, -1, 0.5])]),
      ];
      const out = at(`${dtype}.safetensors`);
      await uniform(paths, out);
      const file = await readBack(out);
      expect(file.tensors.get('w')?.dtype).toBe('BF16');
      expect(numbers(file, 'w')).toEqual([1.25, -1.5, 0.5]);
      const wide = at(`${dtype} f32.safetensors`);
      await uniform(paths, wide, { dtype: 'f32' });
      expect((await readBack(wide)).tensors.get('w')?.dtype).toBe('F32');
    }
  });

  it('behaviour 17: every fp8 code is read as its value', async () => {
    for (const dtype of ['F8_E4M3', 'F8_E5M2'] as const) {
      const codes = Array.from({ length: 256 }, (_, c) => c).filter((c) =>
        dtype === 'F8_E4M3' ? (c & 0x7f) !== 0x7f : (c & 0x7c) !== 0x7c,
      );
      const w = { name: 'w', dtype, shape: [codes.length], bytes: Buffer.from(codes) } as const;
      const path = await putTensors(at(`${dtype} all.safetensors`), [
        { ...w, shape: [...w.shape] },
      ]);
      const out = at(`${dtype} all f32.safetensors`);
      await uniform([path], out, { dtype: 'f32' });
      const read = numbers({ tensors: new Map([['w', { ...w, shape: [] }]]), metadata: {} }, 'w');
      expect(numbers(await readBack(out), 'w')).toEqual(read);
    }
  });

  it('the header hash is the SHA-256 of the header', async () => {
    const bytes = safetensors([tensor('a', 'F32', [1], 1)]);
    const path = await write(bytes);
    const { files } = await openCheckpoint(path);
    const head = bytes.subarray(0, bytes.length - 4);
    expect(files[0]?.headerHash).toBe(createHash('sha256').update(head).digest('hex'));
    expect(files[0]?.size).toBe(bytes.length);
  });
});
