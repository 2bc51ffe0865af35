import {
  type FileHandle,
  mkdtemp,
  open,
  readFile,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type PyTorchOptions, readPyTorch } from '../../lib/checkpoint/pytorch/index.js';
import { readExactly, readMembers } from '../../lib/checkpoint/pytorch/zip.js';
import { StockpotError } from '../../lib/errors.js';
import { gather } from './gather.js';
import { storedZip, type ZipEntry } from './stored_zip.js';

const FIXTURES = join(import.meta.dirname, '../fixtures/pytorch');
const fixture = (name: string): string => join(FIXTURES, name);

interface Expected {
  tensors: Record<string, { dtype: string; shape: number[]; hex: string }>;
  tied?: string[][];
  key?: string;
  pickle_sha256: string;
}
const EXPECTED: Record<string, Expected> = JSON.parse(
  await readFile(fixture('expected.json'), 'utf8'),
);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stockpot pytorch é '));
});
afterAll(() => rm(folder, { recursive: true }));

const write = async (bytes: Buffer | string, name = 'w.pt'): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
};

async function refusal(path: string, options?: PyTorchOptions): Promise<StockpotError> {
  const error = await readPyTorch(path, options).then(
    () => new Error('was read'),
    (e) => e,
  );
  expect(error).toBeInstanceOf(StockpotError);
  expect(error.message.startsWith(`${path}: `)).toBe(true);
  expect(error.message).not.toContain('\n');
  expect(error.file).toBe(path);
  return error;
}

async function expectTensors(path: string, expected: Expected): Promise<void> {
  const { entries, tied, key, size, headerHash } = await readPyTorch(path);
  const bytes = await readFile(path);
  const found = entries.map((entry) => [
    entry.name,
    { dtype: entry.dtype, shape: entry.shape, hex: gather(bytes, entry).toString('hex') },
  ]);
  expect(Object.fromEntries(found)).toEqual(expected.tensors);
  expect(found).toHaveLength(Object.keys(expected.tensors).length);
  expect(tied.map((names) => [...names].sort()).sort()).toEqual(expected.tied ?? []);
  expect(key).toBe(expected.key);
  expect(size).toBe(bytes.length);
  expect(headerHash).toBe(expected.pickle_sha256);
  const offsets = entries.map((entry) => entry.offset);
  expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
}

describe('what is read', () => {
  test.each(Object.entries(EXPECTED))('behaviour 19: %s holds what torch saved', (name, expected) =>
    expectTensors(fixture(name), expected),
  );

  test('behaviour 19: strides only where elements are not in row-major order', async () => {
    const { entries } = await readPyTorch(fixture('views.pt'));
    const strides = Object.fromEntries(entries.map((entry) => [entry.name, entry.strides]));
    expect(strides).toEqual({
      transposed: [1, 6],
      strided: [12, 2],
      row: undefined,
      column: [6],
      expanded: [1, 0],
      small_of_large: undefined,
      contiguous_view: undefined,
      one_row: undefined,
      permuted: [1, 12, 4],
      windows: [2, 1],
      odd_ones: [1, 6],
    });
  });

  test('behaviour 11: names of one tensor are tied, other views of its storage are not', async () => {
    const { tied } = await readPyTorch(fixture('shared.pt'));
    expect(tied).toContainEqual(['a.weight', 'b.weight', 'e.weight']);
    expect(tied.flat()).not.toContain('c.weight');
    expect(tied.flat()).not.toContain('d.weight');
  });

  test('behaviour 10: a prefix is kept as it is stored', async () => {
    const { entries } = await readPyTorch(fixture('data_parallel.pt'));
    expect(entries.every(({ name }) => name.startsWith('module.'))).toBe(true);
  });

  test('behaviour 19: an open file is read and stays open', async () => {
    const handle = await open(fixture('plain.pt'));
    try {
      const fromHandle = await readPyTorch(handle, 'as given.pt');
      expect(fromHandle).toEqual(await readPyTorch(fixture('plain.pt')));
      expect((await handle.read(Buffer.alloc(2), 0, 2, 0)).bytesRead).toBe(2);
    } finally {
      await handle.close();
    }
  });

  test('behaviour 24: a path with spaces and other letters', async () => {
    const path = await write(await readFile(fixture('plain.pt')), 'mon modèle 重み.pt');
    await expectTensors(path, EXPECTED['plain.pt'] as Expected);
  });
});

describe('which dict is taken', () => {
  test('behaviour 14: the choice is noted, with the others', async () => {
    const path = fixture('wrapped_model.pt');
    const { notes } = await readPyTorch(path);
    expect(notes).toEqual([
      `${path}: weights were taken from the dict "model"; weights lie under "model_ema" too.`,
    ]);
  });

  test.each([
    ['wrapped_model.pt', 'model_ema', ['w']],
    ['wrapped_model.pt', 'optimizer', ['w']],
    ['wrapped_twice.pt', 'model.state_dict', ['w']],
    ['ambiguous.pt', 'student', ['w']],
    ['dotted.pt', 'a.b.c', ['w']],
  ])('behaviour 14: %s with key %s', async (name, key, tensors) => {
    const checkpoint = await readPyTorch(fixture(name), { key });
    expect(checkpoint.key).toBe(key);
    expect(checkpoint.entries.map((entry) => entry.name)).toEqual(tensors);
  });

  test.each(['no', 'epoch', 'model.no', 'model.w', 'model.w.x', '', '.', '__proto__', 'toString'])(
    'behaviour 14: the wrong key "%s" is a usage error that lists the dicts with tensors',
    async (key) => {
      const error = await refusal(fixture('wrapped_model.pt'), { key });
      expect(error.code).toBe('USAGE');
      expect(error.message).toContain('"model", "model_ema"');
      expect(error.message).not.toContain('optimizer');
      expect(error.remedy).toContain('--key');
    },
  );

  test('behaviour 14: a key for a checkpoint without wrapping', async () => {
    const error = await refusal(fixture('plain.pt'), { key: 'model' });
    expect(error.code).toBe('USAGE');
    expect(error.remedy).toContain('leave --key out');
  });

  test('behaviour 14: two unknown dicts with weights are not chosen from', async () => {
    const error = await refusal(fixture('ambiguous.pt'));
    expect(error.code).toBe('USAGE');
    expect(error.message).toContain('"teacher", "student"');
  });

  test('behaviour 14: what is no tensor is left out, and said', async () => {
    const path = fixture('flat_extras.pt');
    const { notes, key } = await readPyTorch(path);
    expect(key).toBeUndefined();
    expect(notes).toEqual([
      `${path}: 2 values that are no tensors were left out: "_metadata", "epoch".`,
    ]);
  });

  test.each(['no_weights.pt', 'bare_tensor.pt', 'list.pt'])(
    'behaviour 14: no named weights in %s',
    async (name) => {
      const error = await refusal(fixture(name));
      expect(error.code).toBe('UNSUPPORTED');
      expect(error.remedy).toContain('state_dict');
    },
  );
});

describe('what is refused', () => {
  test.each([
    ['evil_system.pt', 'posix.system'],
    ['evil_eval.pt', 'builtins.eval'],
    ['evil_getattr.pt', 'builtins.getattr'],
    ['evil_load.pt', 'torch.serialization.load'],
    ['module.pt', 'torch.nn.modules.linear.Linear'],
  ])('behaviour 19: %s, naming %s', async (name, global) => {
    const error = await refusal(fixture(name));
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.message).toContain(global);
    expect(error.remedy).toContain('torch.save(model.state_dict()');
  });

  test.each([
    ['legacy.pt', /bare pickle/, /torch\.save/],
    ['tar.pt', /tar archive/, /torch\.save/],
    ['torchscript.pt', /TorchScript/, /state_dict/],
    ['deflated.pt', /compressed/, /torch\.save/],
    ['big_endian.pt', /big-endian/, /little-endian/],
  ])('behaviour 19: %s', async (name, message, remedy) => {
    const error = await refusal(fixture(name));
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.message).toMatch(message);
    expect(error.remedy).toMatch(remedy);
  });

  test.each([
    ['quantized.pt', ['q'], /quantised/],
    ['sparse.pt', ['s', 'c'], /sparse/],
    ['meta.pt', ['m'], /meta device/],
    ['conjugate.pt', ['n'], /conjugated/],
    ['complex.pt', ['freqs'], /torch\.complex64/],
    ['fnuz.pt', ['x'], /torch\.float8_e4m3fnuz/],
  ])('behaviour 31: %s, naming every tensor', async (name, tensors, message) => {
    const error = await refusal(fixture(name));
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.message).toMatch(message);
    expect(error.tensor).toBe(tensors[0]);
    expect(error.details.map((detail) => detail.tensor)).toEqual(tensors);
    expect(error.remedy).toBeTruthy();
  });

  test.each([
    ['no_storage.pt', 'bias'],
    ['short_storage.pt', 'weight'],
  ])('behaviour 19: %s, naming the tensor', async (name, tensor) => {
    const error = await refusal(fixture(name));
    expect(error.code).toBe('FORMAT');
    expect(error.tensor).toBe(tensor);
    expect(error.message).toContain(tensor);
  });

  test.each([
    [
      'lfs',
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
      /Git LFS pointer/,
    ],
    ['html', '<!DOCTYPE html><html></html>', /HTML page/],
    ['empty', '', /empty file/],
    ['safetensors', Buffer.from('\x02\0\0\0\0\0\0\0{}', 'latin1'), /safetensors file/],
    ['gguf', 'GGUF\x03', /GGUF/],
    ['text', 'hello', /no kind that is known/],
  ])('behaviour 20: %s in place of weights', async (_, bytes, message) => {
    const error = await refusal(await write(bytes));
    expect(error.message).toMatch(message);
    expect(error.remedy).toBeTruthy();
  });

  test('behaviour 24: a missing file and a folder', async () => {
    expect((await refusal(join(folder, 'none.pt'))).code).toBe('NOT_FOUND');
    expect((await refusal(folder)).code).toBe('NOT_FOUND');
  });

  test('behaviour 21: a file that shrinks while it is read', async () => {
    const path = await write(Buffer.alloc(100));
    const handle = await open(path);
    try {
      await truncate(path, 50);
      await expect(readExactly(handle, path, 100, 40, 20)).rejects.toMatchObject({
        code: 'CHANGED',
        file: path,
      });
    } finally {
      await handle.close();
    }
  });
});

describe('archives', () => {
  const entry = (name: string, data: Buffer | string, more: Partial<ZipEntry> = {}): ZipEntry => ({
    name,
    data: Buffer.from(data),
    ...more,
  });
  const pickle = entry('a/data.pkl', stateDict({}));
  const storage = entry('a/data/0', Buffer.alloc(64));

  test('behaviour 19: a minimal archive', async () => {
    const { entries } = await readPyTorch(await write(storedZip([pickle, storage])));
    expect(entries.map(({ name, shape }) => [name, shape])).toEqual([['w', [2, 3]]]);
  });

  const cases: [string, ZipEntry[], string][] = [
    ['no data.pkl', [storage], 'UNSUPPORTED'],
    ['no top folder', [{ ...pickle, name: 'data.pkl' }], 'UNSUPPORTED'],
    ['two roots', [pickle, { ...pickle, name: 'b/data.pkl' }], 'FORMAT'],
    ['a name twice', [pickle, storage, storage], 'FORMAT'],
    ['a name with ..', [pickle, storage, entry('a/../x', '')], 'FORMAT'],
    ['an absolute name', [pickle, storage, entry('/x', '')], 'FORMAT'],
    ['code', [pickle, storage, entry('a/code/x.py', '')], 'UNSUPPORTED'],
    ['an unknown byte order', [pickle, storage, entry('a/byteorder', 'middle')], 'FORMAT'],
    ['an encrypted entry', [pickle, { ...storage, flags: 1, method: 8 }], 'UNSUPPORTED'],
    ['strong encryption', [pickle, { ...storage, flags: 0x41 }], 'FORMAT'],
    ['a compressed pickle', [{ ...pickle, method: 8 }, storage], 'UNSUPPORTED'],
    ['a compressed storage', [pickle, { ...storage, method: 8 }], 'UNSUPPORTED'],
    ['a size past the end', [pickle, { ...storage, size: 10_000 }], 'FORMAT'],
    ['a size into the central directory', [pickle, { ...storage, size: 100 }], 'FORMAT'],
    ['a size into the next entry', [{ ...storage, size: 100 }, pickle], 'FORMAT'],
    [
      'two entries at one place',
      [pickle, storage, { ...storage, name: 'a/data/1', localOffset: 0 }],
      'FORMAT',
    ],
    ['a local header that is none', [pickle, { ...storage, localOffset: 3 }], 'FORMAT'],
    ['a local header past the end', [pickle, { ...storage, localOffset: 2 ** 31 }], 'FORMAT'],
  ];
  test.each(cases)('behaviour 19: %s is refused', async (_, entries, code) => {
    expect((await refusal(await write(storedZip(entries)))).code).toBe(code);
  });

  test('behaviour 19: every prefix of the pickle is refused', async () => {
    for (let n = 0; n < pickle.data.length; n++) {
      const data = pickle.data.subarray(0, n);
      const error = await refusal(await write(storedZip([{ ...pickle, data }, storage])));
      expect(error.code).toBe('FORMAT');
    }
  });

  test('behaviour 19: every prefix of the archive is refused', async () => {
    const bytes = await readFile(fixture('plain.pt'));
    for (let n = 0; n < bytes.length; n += 7) {
      const error = await readMemory(bytes.subarray(0, n)).catch((e) => e);
      expect(error).toBeInstanceOf(StockpotError);
      expect(error.code).toBe('FORMAT');
    }
  });
});

interface Claim {
  shape?: (number | bigint)[];
  strides?: (number | bigint)[];
  offset?: number | bigint;
  count?: number | bigint;
  storage?: string;
  name?: string;
}

/** The pickle of a state dict with one tensor, which may lie about itself. */
function stateDict(claim: Claim): Buffer {
  const { shape = [2, 3], strides = [3, 1], offset = 0, count = 16 } = claim;
  const { storage = 'FloatStorage', name = 'w' } = claim;
  const integer = (n: number | bigint) => {
    const bytes = Buffer.alloc(18, n < 0 ? 255 : 0);
    bytes.set([0x8a, 16]);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n)), 2);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n) >> 64n), 10);
    return bytes;
  };
  const text = (value: string) => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return Buffer.concat([Buffer.from('X'), length, bytes]);
  };
  const code = (value: string) => Buffer.from(value, 'latin1');
  return Buffer.concat([
    code('\x80\x02}'),
    text(name),
    code('ctorch._utils\n_rebuild_tensor_v2\n(('),
    text('storage'),
    code(`ctorch\n${storage}\n`),
    text('0'),
    text('cpu'),
    integer(count),
    code('tQ'),
    integer(offset),
    code('('),
    ...shape.map(integer),
    code('t('),
    ...strides.map(integer),
    code('t\x89}tRs.'),
  ]);
}

describe('tensors that lie', () => {
  const file = (claim: Claim, bytes = 64): Promise<string> =>
    write(
      storedZip([
        { name: 'a/data.pkl', data: stateDict(claim) },
        { name: 'a/data/0', data: Buffer.alloc(bytes) },
      ]),
    );

  const lies: [string, Claim][] = [
    ['one element too many', { shape: [17], strides: [1] }],
    ['an offset past the end', { shape: [1], strides: [1], offset: 16 }],
    ['an offset that puts the last element past the end', { offset: 11 }],
    ['a stride past the end', { strides: [15, 1] }],
    ['a negative stride', { strides: [-3, 1] }],
    ['a negative offset', { offset: -1 }],
    ['a negative size', { shape: [-2, 3] }],
    ['too few strides', { strides: [1] }],
    ['too many strides', { strides: [3, 1, 1] }],
    ['65 dimensions', { shape: Array(65).fill(1), strides: Array(65).fill(1) }],
    ['a size that is no safe integer', { shape: [2n ** 53n, 3] }],
    ['a size of 2 ** 100', { shape: [2n ** 100n, 3] }],
    ['a product that overflows', { shape: [2 ** 30, 2 ** 30], strides: [0, 0] }],
    ['an extent that overflows', { strides: [2 ** 52, 2 ** 52] }],
    ['an extent that wraps round at 2 ** 64', { shape: [2 ** 32, 2], strides: [2 ** 32, 1] }],
    ['a storage shorter than claimed', { count: 17 }],
    ['a wider type than the storage holds', { storage: 'DoubleStorage' }],
  ];
  test.each(lies)('behaviour 19: %s', async (_, claim) => {
    const error = await refusal(await file(claim));
    expect(error.code).toBe('FORMAT');
    expect(error.tensor).toBe('w');
    expect(error.message).toContain('tensor "w"');
  });

  test('behaviour 19: what reaches exactly to the end is read', async () => {
    const read = async (claim: Claim) => (await readPyTorch(await file(claim))).entries[0];
    expect((await read({ shape: [16], strides: [1] }))?.strides).toBeUndefined();
    expect((await read({ offset: 10 }))?.shape).toEqual([2, 3]);
    expect((await read({ strides: [13, 1] }))?.strides).toEqual([13, 1]);
    expect((await read({ shape: [1, 3], strides: [2 ** 52, 1] }))?.strides).toBeUndefined();
    expect((await read({ shape: [0, 3], strides: [9, 9], offset: 99 }))?.shape).toEqual([0, 3]);
  });

  test('behaviour 19: a view is read where all of its elements lie in the storage, else refused', async () => {
    const dimension = fc.record({ size: fc.nat(4), stride: fc.nat(9) });
    const view = fc.record({
      offset: fc.nat(16),
      dimensions: fc.array(dimension, { maxLength: 4 }),
    });
    const data = Buffer.from(Float32Array.from({ length: 16 }, (_, i) => i).buffer);
    const property = fc.asyncProperty(view, async ({ offset, dimensions }) => {
      let places = [offset];
      for (const { size, stride } of dimensions) {
        places = places.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * stride));
      }
      const shape = dimensions.map(({ size }) => size);
      const strides = dimensions.map(({ stride }) => stride);
      const bytes = storedZip([
        { name: 'a/data.pkl', data: stateDict({ shape, strides, offset }) },
        { name: 'a/data/0', data },
      ]);
      if (places.some((place) => place >= 16)) {
        await expect(readMemory(bytes)).rejects.toMatchObject({ code: 'FORMAT', tensor: 'w' });
        return;
      }
      const { entries } = await readMemory(bytes);
      const elements = gather(bytes, entries[0] as (typeof entries)[0]);
      expect(places.map((_, i) => elements.readFloatLE(4 * i))).toEqual(places);
    });
    await fc.assert(property, { numRuns: 1000, seed: 19 });
  });

  test('behaviour 19: a name with control characters is shown harmlessly', async () => {
    const error = await refusal(await file({ name: 'a\x1b[2J\n', offset: 99 }));
    expect(error.message).toContain('"a\\u001b[2J\\n"');
    expect(error.tensor).toBe('a\x1b[2J\n');
  });
});

/** Reads a file that is only in memory. */
function readMemory(bytes: Buffer) {
  const handle = {
    stat: async () => ({ size: bytes.length, isFile: () => true }),
    read: async (to: Buffer, offset: number, length: number, position: number) => ({
      bytesRead: bytes.copy(to, offset, position, position + length),
    }),
  };
  return readPyTorch(handle as unknown as FileHandle, 'memory.pt');
}

describe('damaged files', () => {
  const change = fc.record({
    at: fc.nat(2 ** 20 - 1).map((n) => n / 2 ** 20),
    kind: fc.constantFrom('set', 'flip', 'remove', 'insert', 'copy', 'cut'),
    byte: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
    length: fc.integer({ min: 1, max: 16 }),
  });

  const damage = (
    bytes: Buffer,
    { at, kind, byte, length }: typeof change extends fc.Arbitrary<infer T> ? T : never,
  ) => {
    const place = Math.floor(at * bytes.length);
    const before = bytes.subarray(0, place);
    const after = bytes.subarray(place);
    switch (kind) {
      case 'set':
        return Buffer.concat([before, Buffer.from([byte]), after.subarray(1)]);
      case 'flip':
        return Buffer.concat([before, Buffer.from([(after[0] ?? 0) ^ byte]), after.subarray(1)]);
      case 'remove':
        return Buffer.concat([before, after.subarray(length)]);
      case 'insert':
        return Buffer.concat([before, Buffer.alloc(length, byte), after]);
      case 'copy':
        return Buffer.concat([before, bytes.subarray(byte, byte + length), after.subarray(length)]);
      default:
        return before;
    }
  };

  const names = [
    'plain.pt',
    'views.pt',
    'from_type.pt',
    'zip64.pt',
    'beside_p5.pt',
    'wrapped_twice.pt',
  ];

  /** Reads it and the elements of its tensors, unless it is refused. */
  async function tryRead(bytes: Buffer): Promise<'read' | 'refused'> {
    try {
      const { entries } = await readMemory(bytes);
      for (const entry of entries) {
        // Expanded tensors may have any number of elements.
        if (entry.shape.reduce((product, n) => product * n, 1) < 1e5) gather(bytes, entry);
      }
      return 'read';
    } catch (error) {
      if (!(error instanceof StockpotError)) throw error;
      return 'refused';
    }
  }

  test('behaviour 19: a damaged archive is refused, or has tensors that lie within the file', async () => {
    const files = await Promise.all(names.map((name) => readFile(fixture(name))));
    const outcomes = { read: 0, refused: 0 };
    const property = fc.asyncProperty(
      fc.constantFrom(...files),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      async (original, changes) => {
        outcomes[await tryRead(changes.reduce(damage, original))] += 1;
      },
    );
    await fc.assert(property, { numRuns: 5000, seed: 19 });
    expect(outcomes.read).toBeGreaterThan(50);
    expect(outcomes.refused).toBeGreaterThan(50);
  }, 60_000);

  test('behaviour 19: a damaged pickle is refused, or has tensors that lie within the file', async () => {
    const archives = await Promise.all(names.map((name) => unzip(fixture(name))));
    const outcomes = { read: 0, refused: 0 };
    const property = fc.asyncProperty(
      fc.constantFrom(...archives),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      async (entries, changes) => {
        const damaged = entries.map(({ name, data }) => ({
          name,
          data: name.endsWith('/data.pkl') ? changes.reduce(damage, data) : data,
        }));
        outcomes[await tryRead(storedZip(damaged))] += 1;
      },
    );
    await fc.assert(property, { numRuns: 5000, seed: 19 });
    expect(outcomes.read).toBeGreaterThan(100);
    expect(outcomes.refused).toBeGreaterThan(500);
  }, 60_000);
});

/** The entries of a fixture. */
async function unzip(path: string): Promise<ZipEntry[]> {
  const bytes = await readFile(path);
  const handle = await open(path);
  try {
    const members = await readMembers(handle, path, bytes.length);
    return [...members.values()].map(({ name, offset, size }) => ({
      name,
      data: bytes.subarray(offset, offset + size),
    }));
  } finally {
    await handle.close();
  }
}
