// What a run may hold: its network and data, shared by all that run in the process (behaviour 30).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { evaluate } from '../../lib/evaluate/evaluate.js';
import { bytesOf } from '../../lib/evaluate/network_memory.js';
import { type EvaluationOptions, Session } from '../../lib/evaluate/session.js';
import { contentHash, memoryHeld, openCheckpoint, uniform } from '../../lib/index.js';
import { native, packageRoot } from '../../lib/native.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const digits = join(packageRoot, 'examples/digits');
const model = join(digits, 'ingredients', readdirSync(join(digits, 'ingredients'))[0] as string);
// As many as a batch may have: no more are planned for than there are.
const N = 200;
let data = '';
beforeAll(async () => {
  const { image_size: edge, num_channels: channels } = JSON.parse(
    readFileSync(join(model, 'config.json'), 'utf8'),
  );
  data = await putTensors(at('data.safetensors'), [
    tensor(
      'pixel_values',
      'F32',
      [N, channels, edge, edge],
      Array.from({ length: N * channels * edge * edge }, (_, i) => Math.sin(i * i)),
    ),
    tensor(
      'labels',
      'I64',
      [N],
      Array.from({ length: N }, (_, i) => i % 10),
    ),
  ]);
});
const MIB = 2 ** 20;

/** A session whose network has its memory. */
async function open(options: Partial<EvaluationOptions> = {}): Promise<Session> {
  const session = await Session.open([model], { data, ...options });
  try {
    session.network;
    return session;
  } catch (e) {
    await session.close();
    throw e;
  }
}

/** Opens, looks, and closes. */
async function batchOf(options: Partial<EvaluationOptions>): Promise<number> {
  const session = await open(options);
  const { batch } = session.network;
  await session.close();
  return batch;
}

afterEach(() => {
  vi.restoreAllMocks();
  expect(native().memoryHeld()).toEqual({ buffers: 0, networks: 0 });
});

/** Memory in which a batch of `batch` fits, with a little to spare, and one of one more does not. */
async function memoryFor(batch: number): Promise<number> {
  const session = await open();
  const { fixed, perExample } = bytesOf(session.definition.graph as never, session.network.threads);
  const held = session.data.heldBytes as number;
  await session.close();
  // An eighth of it is for buffers, at least 1 MiB.
  const needed = fixed + (batch + 0.5) * perExample + held;
  return Math.ceil(Math.max((needed * 8) / 7, needed + MIB));
}

it('memoryHeld says what is held, and no more when it is given back', async () => {
  const before = memoryHeld();
  const session = await open();
  expect(memoryHeld().networks).toBeGreaterThan(before.networks);
  let buffers = 0;
  const onProgress = () => {
    buffers = Math.max(buffers, memoryHeld().buffers);
  };
  await uniform([model, model], at('held'), { memory: 2 * MIB, onProgress });
  await session.close();
  expect(buffers).toBeLessThanOrEqual(2 * MIB);
  expect(memoryHeld()).toEqual(before);
});

describe('behaviour 30: memory for networks', () => {
  it('chooses as many examples at a time as fit, up to 128', async () => {
    expect(await batchOf({})).toBe(128);
    expect(await batchOf({ memory: await memoryFor(77) })).toBe(77);
    expect(await batchOf({ memory: await memoryFor(1) })).toBe(1);
    expect(await batchOf({ batchSize: 200 })).toBe(200);
  });

  it('auto halves, and only then; the results are the same', async () => {
    const memory = await memoryFor(77);
    expect(await batchOf({ memory, batchSize: 'auto' })).toBe(64);
    expect(await batchOf({ batchSize: 'auto' })).toBe(128);
    const all = await evaluate([model], { data });
    expect(await evaluate([model], { data, memory, batchSize: 'auto' })).toEqual(all);
    expect(await evaluate([model], { data, memory: await memoryFor(1) })).toEqual(all);
  });

  it('refuses a batch that does not fit: what is needed, what there is, what to lower', async () => {
    const memory = await memoryFor(77);
    const error = await failure(open({ memory, batchSize: 100 }), 'MEMORY');
    expect(error.message).toMatch(
      /^out of memory: the network needs [\d.]+ [kM]B for its weights and [\d.]+ MB for a batch of 100, but there is [\d.]+ MB of [\d.]+ MB, as data and buffers take [\d.]+ [kM]B$/,
    );
    expect(error.remedy).toMatch(
      /^Lower --batch-size or pass --batch-size auto, or raise --memory/,
    );
    expect(await batchOf({ memory, batchSize: 77 })).toBe(77);
  });

  it('refuses a network whose weights alone do not fit, whatever the batch', async () => {
    for (const batchSize of [undefined, 'auto', 3] as const) {
      const error = await failure(open({ memory: MIB, batchSize }), 'MEMORY');
      expect(error.message).toContain('for its weights');
      expect(error.remedy).toMatch(/^Raise --memory/);
    }
    await failure(open({ memory: 1000 }), 'USAGE');
  });

  it('halves where the system refuses, only under auto', async () => {
    const createNetwork = native().createNetwork;
    const refuse = (above: number) =>
      vi.spyOn(native(), 'createNetwork').mockImplementation((graph, batch, ...rest) => {
        if (batch > above) throw new RangeError('out of memory');
        return createNetwork(graph, batch, ...rest);
      });
    refuse(40);
    expect(await batchOf({ batchSize: 'auto' })).toBe(32);
    const error = await failure(open(), 'MEMORY');
    expect(error.message).toMatch(/for a batch of 128, but the system refuses$/);
    expect(error.remedy).toMatch(/^Lower --batch-size/);
    await failure(open({ batchSize: 41 }), 'MEMORY');
    refuse(0);
    await failure(open({ batchSize: 'auto' }), 'MEMORY');
  });

  it('is shared by all networks of the process, and free again when one is closed', async () => {
    const memory = await memoryFor(100);
    const first = await open({ memory, batchSize: 40 });
    const error = await failure(open({ memory, batchSize: 100 }), 'MEMORY');
    expect(error.message).toMatch(/and other networks hold [\d.]+ [kM]B$/);
    const second = await open({ memory });
    expect(second.network.batch).toBeLessThan(60);
    expect(second.network.batch).toBeGreaterThan(1);
    await first.close();
    await second.close();
    await second.close();
    expect(await batchOf({ memory })).toBe(100);
  });

  it('never takes more than was counted', async () => {
    for (const [threads, batchSize] of [
      [1, 1],
      [3, 7],
      [2, 128],
    ] as const) {
      const session = await open({ threads, batchSize });
      const { fixed, perExample } = bytesOf(session.definition.graph as never, threads);
      expect(session.network.bytes).toBeLessThanOrEqual(fixed + batchSize * perExample);
      expect(session.network.bytes).toBeGreaterThan(0.6 * (fixed + batchSize * perExample));
      await session.close();
    }
  });
});

describe('memory for buffers', () => {
  it('is shared by jobs that run at the same time: together they hold what the largest may', async () => {
    const many = Array.from({ length: 6 }, (_, i) =>
      putTensors(at(`${i}.safetensors`), [tensor('w', 'F32', [400_000], i / 7)]),
    );
    const paths = await Promise.all(many);
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, native().memoryHeld().buffers);
    }, 1);
    const jobs = Array.from({ length: 8 }, (_, i) =>
      uniform(paths, at(`soup-${i}.safetensors`), { memory: i === 3 ? 3 * MIB : MIB, threads: 2 }),
    );
    await Promise.all(jobs);
    clearInterval(watch);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(3 * MIB);
    const hashes = jobs.map((_, i) =>
      openCheckpoint(at(`soup-${i}.safetensors`)).then((c) => contentHash(c)),
    );
    expect(new Set(await Promise.all(hashes)).size).toBe(1);
  });
});
