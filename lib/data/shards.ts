import { createReadStream } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { statOrRefuse } from '../checkpoint/open.js';
import { fileError } from '../checkpoint/system_error.js';
import { StockpotError } from '../errors.js';
import type { BrokenExample, ExampleSource, RawExample } from './examples.js';

const IMAGE = /^(jpg|jpeg|png|webp)$/i;
/** A key, as WebDataset has it: everything up to the first dot of the last part of the path. */
const MEMBER = /^((?:.*\/)?[^./][^./]*)\.([^/]*)$/;
/** No image of a held-out set is larger; an archive that says so is damaged. */
const MAX_MEMBER = 2 ** 30;
/** A number or a name. */
const MAX_LABEL = 2 ** 16;

/** The files of one example, as they follow one another in an archive. */
export interface Sample {
  key: string;
  image?: { name: string; bytes: Buffer };
  label?: string;
  problem?: string;
}

/**
 * WebDataset shards: tar archives in which the files of an example, NAME.jpg (jpeg, png, webp) and NAME.cls, follow one
 * another. The label is a number, or one of the network's names for its classes. Files of other kinds are passed over.
 * @throws StockpotError NOT_FOUND, IO
 */
export async function shards(
  paths: readonly string[],
  known?: readonly string[],
): Promise<ExampleSource> {
  let bytes = 0;
  for (const path of paths) bytes += (await statOrRefuse(path)).size;
  return {
    path: paths.join(', '),
    classNames: known,
    notes: [],
    bytes,
    async *examples(signal) {
      for (const path of paths)
        for await (const sample of samples(path, signal)) yield toExample(path, sample, known);
    },
  };
}

/** @throws StockpotError FORMAT, IO, ABORTED */
export async function* samples(path: string, signal?: AbortSignal): AsyncGenerator<Sample> {
  const archive = extract();
  const file = createReadStream(path, { highWaterMark: 2 ** 20 });
  file.on('error', (e) => archive.destroy(fileError(path, e)));
  const stop = () => archive.destroy(new StockpotError('ABORTED', 'aborted'));
  signal?.addEventListener('abort', stop, { once: true });
  file.pipe(archive);
  let current: Sample | undefined;
  let end = 0;
  try {
    for await (const entry of archive) {
      const { name, type, size = 0 } = entry.header;
      end = (entry.header as { byteOffset?: number }).byteOffset ?? 0;
      end += Math.ceil(size / 512) * 512;
      const [, key, extension] = (type === 'file' && MEMBER.exec(name)) || [];
      if (key === undefined || extension === undefined) {
        entry.resume();
        continue;
      }
      if (size > MAX_MEMBER) throw damaged(path, `${name} would have ${size} bytes`);
      const isImage = IMAGE.test(extension);
      const isLabel = extension === 'cls';
      if (isLabel && size > MAX_LABEL) throw damaged(path, `the label ${name} has ${size} bytes`);
      if (!isImage && !isLabel) entry.resume();
      const bytes = isImage || isLabel ? await buffer(entry) : Buffer.alloc(0);
      if (current && current.key !== key) {
        yield current;
        current = undefined;
      }
      current ??= { key };
      if (isImage) {
        if (current.image) current.problem = `has two images, ${current.image.name} and ${name}`;
        current.image = { name, bytes };
      } else if (isLabel) current.label = bytes.toString('utf8').trim();
    }
    if ((await statOrRefuse(path)).size < end) throw damaged(path, 'it is cut short');
    if (current) yield current;
  } catch (cause) {
    if (cause instanceof StockpotError) throw cause;
    throw damaged(path, (cause as Error).message);
  } finally {
    signal?.removeEventListener('abort', stop);
    file.destroy();
    archive.destroy();
  }
}

const damaged = (path: string, why: string): StockpotError =>
  new StockpotError('FORMAT', `${path}: expected a tar archive, but ${why}`, {
    file: path,
    remedy: 'Fetch or write the shard again; a compressed one must be decompressed first.',
  });

function toExample(
  path: string,
  { key, image, label, problem }: Sample,
  known?: readonly string[],
): RawExample | BrokenExample {
  const file = `${path}:${image?.name ?? key}`;
  if (problem) return { file, problem };
  if (!image) return { file, problem: 'has no image (jpg, jpeg, png, webp)' };
  if (label === undefined) return { file, problem: `has no label (${key}.cls)` };
  const named = known?.indexOf(label) ?? -1;
  const number = named >= 0 ? named : /^\d{1,9}$/.test(label) ? Number(label) : -1;
  if (number < 0)
    return {
      file,
      problem: `has the label ${JSON.stringify(label.slice(0, 40))}, expected a number`,
    };
  const { bytes } = image;
  return { file, label: number, size: bytes.length, load: async () => bytes };
}
