// The held-out set on the device, on the emulated one: the same bits as where every batch is copied there, fewer bytes
// copied, and the batches as before where it does not fit.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import type { Pixels } from '../../lib/data/types.js';
import { DeviceFeed } from '../../lib/evaluate/feed.js';
import { Session } from '../../lib/evaluate/session.js';
import { evaluate, gradient, predict } from '../../lib/index.js';
import { native } from '../../lib/native.js';
import { glue, tokenizerJson } from '../fixtures/text/read.js';
import { root } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { numbers, putTensors, readBack, tensor } from '../helpers/safetensors.js';
import { useEmulatedDevice } from './emulated.js';
import { someImages } from './some_images.js';

const at = useFolder();
useEmulatedDevice();

const DIGITS = join(root, 'examples/digits');
const digits = [0, 1].map((i) => join(DIGITS, `ingredients/ft0${i}`));
/** Bytes of a prepared digit, and of what its bytes stand for. */
const IMAGE = 3 * 8 * 8;
const TABLE = 3 * 256 * 4;

let data = '';
beforeAll(() => {
  data = someImages(join(DIGITS, 'heldout'), 3, at('data'));
});

afterEach(() => {
  vi.restoreAllMocks();
  delete process.env.EMULATOR_COPIES;
  delete process.env.EMULATOR_MEMORY;
});

let files = 0;

/** What `run` copies to the device, in bytes, and what it gives. */
async function copied<T>(run: () => Promise<T>): Promise<{ bytes: number; result: T }> {
  const file = at(`copies-${files++}`);
  writeFileSync(file, '');
  process.env.EMULATOR_COPIES = file;
  const result = await run();
  delete process.env.EMULATOR_COPIES;
  const bytes = readFileSync(file, 'utf8')
    .split('\n')
    .reduce((sum, line) => sum + Number(line), 0);
  return { bytes, result };
}

/** The same with the set on the device, and with every batch copied there. */
async function both<T>(run: () => Promise<T>) {
  const resident = await copied(run);
  vi.spyOn(DeviceFeed.prototype, 'place').mockImplementation(() => {});
  const uploaded = await copied(run);
  return { resident, uploaded };
}

async function logitsOf(model: string, from: string, batchSize: number): Promise<number[]> {
  const out = at(`logits-${files++}.safetensors`);
  await predict(model, out, { data: from, device: 'cuda', batchSize });
  return numbers(await readBack(out), 'logits');
}

describe('images', () => {
  it('are copied once, as bytes, for all models', async () => {
    const run = () => evaluate(digits, { data, device: 'cuda', batchSize: 7 });
    const { resident, uploaded } = await both(run);
    expect(resident.result).toEqual(uploaded.result);
    const n = 30;
    // Float32 for each model, against bytes and what they stand for.
    expect(uploaded.bytes - resident.bytes).toBe(digits.length * n * IMAGE * 4 - n * IMAGE - TABLE);
  });

  it('give the same logits, to the bit', async () => {
    const { resident, uploaded } = await both(() => logitsOf(digits[0] as string, data, 11));
    expect(resident.result).toEqual(uploaded.result);
  });

  it('give the same derivatives, copied once for all steps', async () => {
    const { resident, uploaded } = await both(() =>
      gradient(digits, { data, device: 'cuda', batchSize: 8 }),
    );
    expect(resident.result).toEqual(uploaded.result);
    expect(uploaded.bytes - resident.bytes).toBe(30 * IMAGE * 3 - TABLE);
  });
});

describe('tensor files', () => {
  it('are copied once as float32', async () => {
    const n = 5;
    const file = await putTensors(at('inputs.safetensors'), [
      tensor(
        'pixel_values',
        'F32',
        [n, 3, 8, 8],
        Array.from({ length: n * IMAGE }, (_, i) => Math.sin(i)),
      ),
      tensor('labels', 'I64', [n], [0, 1, 2, 3, 4]),
    ]);
    const run = () => evaluate(digits, { data: file, device: 'cuda' });
    const { resident, uploaded } = await both(run);
    expect(resident.result).toEqual(uploaded.result);
    expect(uploaded.bytes - resident.bytes).toBe(n * IMAGE * 4);
  });
});

describe('texts', () => {
  const open = async () => {
    writeFileSync(at('bert.json'), tokenizerJson('wordpiece'));
    return Session.open([glue('bert0'), glue('bert1')], {
      data: glue('rte.tsv'),
      tokenizer: at('bert.json'),
      device: 'cuda',
      batchSize: 4,
    });
  };

  it('of several lengths are rows of one table, and give the same logits', async () => {
    const run = async () => {
      const session = await open();
      const logits: Float32Array[] = [];
      for (const i of [0, 1]) {
        await session.load([i]);
        logits.push(await session.logits());
      }
      const { tokens } = session.data;
      await session.close();
      return { logits, lengths: new Set(tokens).size };
    };
    const { resident, uploaded } = await both(run);
    expect(resident.result.lengths).toBeGreaterThan(2);
    expect(resident.result).toEqual(uploaded.result);
    expect(resident.bytes).toBeLessThan(uploaded.bytes);
  });

  it('an id beyond the vocabulary is refused as without', async () => {
    const model = await openCheckpoint(glue('bert0'));
    const words = model.tensors.get('bert.embeddings.word_embeddings.weight')?.shape[0] as number;
    const file = await putTensors(at('ids.safetensors'), [
      tensor('input_ids', 'I64', [2, 4], [1, 2, 3, 4, 1, words, 3, 4]),
      tensor('attention_mask', 'I64', [2, 4], 1),
      tensor('labels', 'I64', [2], [0, 1]),
    ]);
    const refused = () =>
      failure(evaluate([glue('bert0')], { data: file, device: 'cuda' }), 'FORMAT');
    const { resident, uploaded } = await both(refused);
    expect(resident.result.message).toBe(uploaded.result.message);
    expect(resident.result.message).toContain(`holds the id ${words}`);
  });
});

describe('what does not go well', () => {
  it('a device too small for it takes every batch as before', async () => {
    const n = 400;
    const values = Array.from({ length: n * IMAGE }, (_, i) => Math.sin(i));
    const file = await putTensors(at('many.safetensors'), [
      tensor('pixel_values', 'F32', [n, 3, 8, 8], values),
      tensor('labels', 'I64', [n], 0),
    ]);
    const run = async () => {
      const session = await Session.open(digits, { data: file, device: 'cuda', batchSize: 2 });
      const before = session.engine.available();
      await session.load([0, 1]);
      const used = before - session.engine.available();
      const logits = await session.logits([3, 399, 0]);
      await session.close();
      return { used, logits };
    };
    const create = vi.spyOn(native(), 'createSet');
    const large = await copied(run);
    expect(create).toHaveBeenCalledOnce();
    // Of a device, `available` leaves a part alone.
    process.env.EMULATOR_MEMORY = String(
      Math.floor((large.result.used - n * IMAGE * 2) / 0.95 ** 2),
    );
    const small = await copied(run);
    expect(create).toHaveBeenCalledOnce();
    expect(small.result.logits).toEqual(large.result.logits);
    expect(large.bytes - small.bytes).toBe((n - 3) * IMAGE * 4);
  });

  it('an image that goes away is named, and the device is let go', async () => {
    const session = await Session.open(digits, { data, device: 'cuda' });
    await session.load([0]);
    const gone = new Error('gone');
    vi.spyOn(session.data.pixels as Pixels, 'read').mockRejectedValueOnce(gone);
    await expect(session.logits()).rejects.toBe(gone);
    // It is read when it is asked for again.
    expect((await session.logits()).length).toBe(300);
    await session.close();
  });

  it('an abort while it is copied leaves it to the next call', async () => {
    const session = await Session.open(digits, { data, device: 'cuda' });
    await session.load([0]);
    const stop = new AbortController();
    const pixels = session.data.pixels as Pixels;
    const { read } = pixels;
    vi.spyOn(pixels, 'read').mockImplementationOnce((indices) => {
      stop.abort();
      return read(indices);
    });
    await failure(session.logits([0, 1], { signal: stop.signal }), 'ABORTED');
    const again = await session.logits([0, 1]);
    expect(again).toEqual((await session.logits()).slice(0, 20));
    await session.close();
  });
});
