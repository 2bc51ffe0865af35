import { throwIfAborted } from '../../checkpoint/job.js';
import { type Mismatch, StockpotError } from '../../errors.js';
import type { RunOptions } from '../../progress.js';
import { resolveThreads } from '../../threads.js';
import { version } from '../../version.js';
import { decodeImage, sharp } from '../decode.js';
import { refuseEmpty } from '../labels.js';
import type { RgbImage } from '../resample.js';
import { corrupt } from './corrupt.js';
import { type Layout, openLayout, type RawImage } from './layout.js';
import { KINDS, type Kind, STRENGTHS, type Strengths, strengthsFor } from './parameters.js';
import { checkOutput, type ShiftedSet, writeShifted } from './write.js';

export interface ShiftOptions extends RunOptions {
  kind: Kind;
  /** 1 (light) to 5. */
  severity: number;
  /** 0 by default. */
  seed?: number;
  /** Whose strengths: by the image's size (`auto`, the default: CIFAR-10-C's below 64 pixels), or one for all. */
  strengths?: Strengths | 'auto';
  /** Leave out images that cannot be read, instead of failing. */
  skipBad?: boolean;
  overwrite?: boolean;
  /** Only say what would be done: no image is decoded, and nothing written. */
  dryRun?: boolean;
}

/** What a corrupted copy holds. */
export interface Shift {
  /** As given. */
  data: string[];
  output: string;
  kind: Kind;
  severity: number;
  seed: number;
  images: number;
  /** How many images were corrupted with whose strengths. */
  strengths: Record<Strengths, number>;
  skipped: Mismatch[];
  seconds: number;
  notes: string[];
  dryRun?: true;
}

/**
 * Writes a corrupted copy of an image set, of the same layout: a folder of classes, or WebDataset shards. What an image
 * becomes follows from the seed, the kind and the image's name in the set alone. PNG files, so that nothing else is lost;
 * of kind `jpeg`, the JPEG files.
 * @param data a folder with one sub-folder of images a class, `.tar` shards, or a folder of them
 * @param output a folder; for a single shard also a name ending in `.tar`
 * @throws StockpotError; on failure and on abort nothing is left behind
 */
export async function shift(
  data: string | readonly string[],
  output: string,
  options: ShiftOptions,
): Promise<Shift> {
  const began = performance.now();
  check(options);
  const { kind, severity, seed = 0 } = options;
  const paths = typeof data === 'string' ? [data] : [...data];
  const layout = await openLayout(paths, output);
  const used: Record<Strengths, number> = { imagenet: 0, cifar: 0 };
  const skipped: Mismatch[] = [];
  let planned = 0;
  if (options.dryRun) {
    await checkOutput(layout, output, options);
    for await (const _ of layout.images(options.signal)) planned++;
    refuseEmpty(layout.path, planned);
  } else {
    const made = shifted(layout, options, used, skipped);
    const record = { stockpot: version, kind, severity, seed, data: paths };
    await writeShifted(layout, output, made, record, options);
  }
  const images = planned + used.imagenet + used.cifar;
  const notes = [...layout.notes];
  if (skipped.length > 0)
    notes.push(
      `${layout.path}: ${skipped.length} of ${skipped.length + images} images cannot be used and are left out.`,
    );
  return {
    data: paths,
    output,
    kind,
    severity,
    seed,
    images,
    strengths: used,
    skipped,
    seconds: (performance.now() - began) / 1000,
    notes,
    ...(options.dryRun ? { dryRun: true } : {}),
  };
}

function check({ kind, severity, seed = 0, strengths = 'auto' }: ShiftOptions): void {
  const refuse = (expected: string, found: unknown) =>
    new StockpotError('USAGE', `expected ${expected} but received ${found}`);
  if (!KINDS.includes(kind)) throw refuse(`the kind to be one of ${KINDS.join(', ')}`, kind);
  if (!Number.isInteger(severity) || severity < 1 || severity > 5)
    throw refuse('the severity to be 1 to 5', severity);
  if (!Number.isSafeInteger(seed)) throw refuse('the seed to be an integer', seed);
  if (!['auto', ...Object.keys(STRENGTHS)].includes(strengths))
    throw refuse('strengths to be auto, imagenet or cifar', strengths);
}

/** The corrupted images in the order of the set, several at a time in the making. */
async function* shifted(
  layout: Layout,
  options: ShiftOptions,
  used: Record<Strengths, number>,
  skipped: Mismatch[],
): ShiftedSet {
  const atOnce = resolveThreads(options.threads) + 1;
  const waiting: Promise<Made>[] = [];
  const bad: Mismatch[] = [];
  const began = performance.now();
  let bytesRead = 0;
  const take = async function* (): ShiftedSet {
    const result = await (waiting.shift() as Promise<Made>);
    bytesRead += result.image.size;
    options.onProgress?.({
      phase: 'shift',
      bytesRead,
      bytesWritten: 0,
      bytesTotal: layout.bytes,
      seconds: (performance.now() - began) / 1000,
    });
    if ('problem' in result) {
      bad.push({ file: result.image.file, message: result.problem });
    } else {
      used[result.strengths]++;
      yield result;
    }
  };
  try {
    for await (const image of layout.images(options.signal)) {
      throwIfAborted(options.signal);
      const made = one(image, options);
      made.catch(() => {}); // told of when its turn comes
      waiting.push(made);
      if (waiting.length >= atOnce) yield* take();
    }
    while (waiting.length > 0) yield* take();
  } finally {
    await Promise.allSettled(waiting);
  }
  const good = used.imagenet + used.cifar;
  if (bad.length > 0 && !options.skipBad) throw badImages(layout.path, bad, good);
  refuseEmpty(layout.path, good);
  skipped.push(...bad);
}

type Made =
  | { image: RawImage; problem: string }
  | { image: RawImage; strengths: Strengths; bytes: Buffer };

async function one(image: RawImage, options: ShiftOptions): Promise<Made> {
  if (image.problem !== undefined) return { image, problem: image.problem };
  const { kind, severity, seed = 0 } = options;
  try {
    const decoded = await decodeImage(await image.load(), { orient: true, onWhite: false });
    const auto = strengthsFor(decoded.width, decoded.height);
    const { strengths = 'auto' } = options;
    const chosen = strengths === 'auto' ? auto : strengths;
    const how = { kind, severity, strengths: chosen };
    const made = await corrupt(decoded, how, `${seed}\n${kind}\n${image.name}`);
    const quality = kind === 'jpeg' ? STRENGTHS[chosen].jpeg[severity - 1] : undefined;
    return { image, strengths: chosen, bytes: await encoded(made, quality) };
  } catch (cause) {
    if (cause instanceof StockpotError) throw cause;
    const message = (cause as Error).message.replace(`${image.file}: `, '');
    return { image, problem: message.replace(/\s+/g, ' ').trim() };
  }
}

/** A PNG, or a JPEG of this quality as Pillow writes it. */
async function encoded({ data, width, height }: RgbImage, quality?: number): Promise<Buffer> {
  const open = await sharp();
  const image = open(data, { raw: { width, height, channels: 3 } });
  return quality === undefined
    ? image.png().toBuffer()
    : image.jpeg({ quality, chromaSubsampling: '4:2:0' }).toBuffer();
}

function badImages(path: string, bad: Mismatch[], good: number): StockpotError {
  const [first] = bad as [Mismatch];
  const n = bad.length;
  return new StockpotError(
    'FORMAT',
    `${first.file}: ${first.message}${n > 1 ? ` (${n} of ${n + good} images of ${path} cannot be used)` : ''}`,
    {
      file: first.file,
      details: bad,
      remedy: 'Repair or remove them, or pass --skip-bad to go on without them.',
    },
  );
}
