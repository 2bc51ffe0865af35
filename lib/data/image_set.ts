import { createHash } from 'node:crypto';
import { throwIfAborted } from '../checkpoint/job.js';
import { type Mismatch, StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { ByteStore } from './byte_store.js';
import { decodeImage } from './decode.js';
import type { BrokenExample, ExampleSource, RawExample } from './examples.js';
import { refuseEmpty } from './labels.js';
import { type Preparation, place } from './preparation.js';
import { badExamples, leftOut, reporter } from './preparing.js';
import { resample } from './resample.js';
import type { DataSet, Pixels } from './types.js';

export interface ImageOptions {
  /** Leave out images that cannot be read, instead of failing. */
  skipBad?: boolean;
  /** Bytes of prepared images that are held in memory; the rest goes to a cache file. 1 GiB by default. */
  cacheMemory?: number;
  /** For the cache file; the system's folder for temporary files by default. */
  cacheFolder?: string;
}

const DEFAULT_CACHE = 2 ** 30;

/** Decodes an image, and says where it goes. @throws Error that says what is wrong with it */
async function readImage(bytes: Buffer, p: Preparation) {
  const image = await decodeImage(bytes, p);
  return { image, placement: place(p, image.width, image.height) };
}

/** Decodes and scales one image: uint8 [3, height, width]. @throws Error that says what is wrong with it */
export async function prepareImage(bytes: Buffer, p: Preparation): Promise<Uint8Array> {
  const { image, placement } = await readImage(bytes, p);
  return resample(image, placement, p.filter, p);
}

/**
 * Prepares every image of a source once, several at a time, and keeps the bytes (performance idea: a recipe sees the
 * same images for every candidate). Normalisation is left to the making of a batch: a look-up of each byte.
 * @throws StockpotError FORMAT naming every image that is damaged, unless `skipBad`; IO, NOT_FOUND where the system does
 *   not give a file's bytes, which is never skipped
 */
export async function imageSet(
  source: ExampleSource,
  preparation: Preparation,
  options: ImageOptions & RunOptions = {},
): Promise<DataSet> {
  const { width, height } = preparation;
  const memory = options.cacheMemory ?? DEFAULT_CACHE;
  if (!Number.isSafeInteger(memory) || memory < 0) {
    throw new StockpotError(
      'USAGE',
      `cacheMemory must be a number of bytes but received ${memory}`,
    );
  }
  const store = new ByteStore(3 * width * height, memory, options.cacheFolder);
  try {
    const { good, bad } = await prepareAll(source, preparation, store, options);
    if (bad.length > 0 && !options.skipBad) throw badExamples(source.path, bad, good.length);
    refuseEmpty(source.path, good.length);
    return toDataSet(source, preparation, store, good, bad);
  } catch (e) {
    await store.close();
    throw e;
  }
}

/** An example that was prepared: where in the store it is. */
interface Prepared {
  slot: number;
  label: number;
  hash: string;
}

async function prepareAll(
  source: ExampleSource,
  preparation: Preparation,
  store: ByteStore,
  options: RunOptions,
) {
  // One more than threads, so that each has work while an image waits to be stored.
  const atOnce = resolveThreads(options.threads) + 1;
  const good: (Prepared | undefined)[] = [];
  const bad: (Mismatch | undefined)[] = [];
  const running = new Set<Promise<void>>();
  const progress = reporter(source.bytes, options);
  let failure: { error: unknown } | undefined;
  let position = 0;
  const work = async (at: number, e: RawExample | BrokenExample) => {
    if ('problem' in e) {
      bad[at] = { file: e.file, message: e.problem };
      return;
    }
    let read: Awaited<ReturnType<typeof readImage>>;
    let hash: string;
    try {
      const bytes = await e.load();
      hash = createHash('sha256').update(bytes).digest('hex');
      read = await readImage(bytes, preparation);
    } catch (cause) {
      // Not the image's fault: the disk's, the system's, or that of the libraries.
      if (cause instanceof StockpotError) throw cause;
      bad[at] = { file: e.file, message: reason(cause as Error, e.file) };
      return;
    }
    const { image, placement } = read;
    await store.put(at, await resample(image, placement, preparation.filter, preparation, options));
    good[at] = { slot: at, label: e.label, hash };
    progress(e.size);
  };
  try {
    for await (const example of source.examples(options.signal)) {
      if (running.size >= atOnce) await Promise.race(running);
      throwIfAborted(options.signal);
      if (failure) break;
      const p: Promise<void> = work(position++, example)
        .catch((error) => {
          failure ??= { error };
        })
        .finally(() => running.delete(p));
      running.add(p);
    }
  } finally {
    await Promise.all(running);
  }
  if (failure) throw failure.error;
  throwIfAborted(options.signal);
  return {
    good: good.filter((g) => g !== undefined),
    bad: bad.filter((b) => b !== undefined),
  };
}

/** In one line, without the file's name, which stands before it. */
const reason = (e: Error, file: string): string =>
  e.message.replace(`${file}: `, '').replace(/\s+/g, ' ').trim();

function toDataSet(
  source: ExampleSource,
  preparation: Preparation,
  store: ByteStore,
  good: readonly Prepared[],
  skipped: readonly Mismatch[],
): DataSet {
  const { width, height, table } = preparation;
  const { size } = store;
  const plane = width * height;
  const read: Pixels['read'] = async (indices) => {
    const out = new Uint8Array(indices.length * size);
    for (let i = 0; i < indices.length; i++) {
      const example = good[indices[i] as number];
      if (!example) throw new RangeError(`there is no example ${indices[i]}`);
      await store.get(example.slot, out, i * size);
    }
    return out;
  };
  const notes = [...source.notes, ...leftOut(source.path, skipped.length, good.length)];
  return {
    path: source.path,
    count: good.length,
    labels: Int32Array.from(good, (g) => g.label),
    classNames: source.classNames,
    inputs: [{ name: 'pixel_values', dtype: 'f32', shape: [3, height, width] }],
    shared: {},
    pixels: { shape: [3, height, width], table, read },
    heldBytes: store.held,
    batch: async (indices) => ({ pixel_values: normalise(await read(indices), table, plane) }),
    contentHash: hashOf(preparation, good),
    skipped,
    notes,
    close: () => store.close(),
  };
}

function normalise(bytes: Uint8Array, table: Float32Array, plane: number): Float32Array {
  const out = new Float32Array(bytes.length);
  for (let from = 0, channel = 0; from < bytes.length; from += plane, channel = (channel + 1) % 3) {
    const base = channel * 256;
    for (let i = from; i < from + plane; i++) out[i] = table[base + (bytes[i] as number)] as number;
  }
  return out;
}

function hashOf({ file: _, table, ...how }: Preparation, good: readonly Prepared[]): string {
  const hash = createHash('sha256');
  hash.update(`${JSON.stringify(how)}\n`).update(new Uint8Array(table.buffer));
  for (const g of good) hash.update(`${g.label} ${g.hash}\n`);
  return hash.digest('hex');
}
