import { type FileHandle, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Pack, pack } from 'tar-stream';
import { AtomicOutput, type OutputOptions } from '../../checkpoint/output.js';
import { codeOf } from '../../checkpoint/system_error.js';
import { writeError } from '../../checkpoint/writing.js';
import { type Layout, type RawImage, withExtension } from './layout.js';
import type { Kind } from './parameters.js';

export type ShiftedSet = AsyncGenerator<{
  image: RawImage;
  bytes: Buffer;
  strengths: 'imagenet' | 'cifar';
}>;

/** What a shifted folder says about itself. */
const RECORD = 'shift.json';

const rules = (layout: Layout, { overwrite }: { overwrite?: boolean }): OutputOptions => ({
  overwrite,
  inputs: layout.inputs,
  isFile: layout.isFile,
  // An earlier set of this command's, and nothing else that holds images.
  mayReplace: (names) => names.includes(RECORD),
});

/** Refuses what must not be written, without touching anything. @throws StockpotError OUTPUT */
export const checkOutput = (
  layout: Layout,
  output: string,
  options: { overwrite?: boolean },
): Promise<void> => AtomicOutput.check(output, rules(layout, options));

/** Writes a set whole or not at all. @throws StockpotError OUTPUT, IO, NO_SPACE */
export async function writeShifted(
  layout: Layout,
  output: string,
  images: ShiftedSet,
  record: { kind: Kind },
  options: { overwrite?: boolean },
): Promise<void> {
  const target = await AtomicOutput.begin(output, rules(layout, options));
  const extension = record.kind === 'jpeg' ? '.jpg' : '.png';
  try {
    if (layout.kind === 'folder') await writeFolder(target, layout, images, extension);
    else await writeShards(target, layout, images, extension);
    if (!layout.isFile) await target.write(RECORD, `${JSON.stringify(record, null, 2)}\n`);
    await target.commit();
  } finally {
    await images.return(undefined);
    await target.abandon();
  }
}

async function writeFolder(
  target: AtomicOutput,
  layout: Layout,
  images: ShiftedSet,
  extension: string,
): Promise<void> {
  await target.writing(async () => {
    for (const part of layout.parts) await mkdir(join(target.partial, part));
  });
  const taken = new Set<string>();
  for await (const { image, bytes } of images) {
    // a.jpg and a.png of one class stay two.
    let name = withExtension(image.name, extension);
    while (taken.has(name)) name = `${image.name}${extension}`;
    taken.add(name);
    const path = join(target.partial, name);
    await target.writing(() => writeFile(path, bytes, { flag: 'wx' }));
  }
}

/** Archives whose bytes follow from the images alone: no times, no owners. */
async function writeShards(
  target: AtomicOutput,
  layout: Layout,
  images: ShiftedSet,
  extension: string,
): Promise<void> {
  const writers: { archive: Pack; done: Promise<void> }[] = [];
  const writer = async (shard: number) => {
    for (let next = writers.length; next <= shard; next++) {
      await finish(writers.at(-1));
      const handle = await target.create(layout.isFile ? '' : (layout.parts[next] as string));
      const archive = pack();
      const done = writeAll(archive, handle);
      done.catch(() => {}); // told of by whoever awaits it
      writers.push({ archive, done });
    }
    return writers[shard] as (typeof writers)[number];
  };
  try {
    for await (const { image, bytes } of images) {
      const { archive, done } = await writer(image.shard);
      await Promise.race([add(archive, `${image.name}${extension}`, bytes), done]);
      await Promise.race([add(archive, `${image.name}.cls`, Buffer.from(image.label)), done]);
    }
    await finish((await writer(layout.parts.length - 1)) as (typeof writers)[number]);
  } catch (failure) {
    // Where a file could not be written, the archive's own complaint, which comes of that, is not the reason.
    let cause = failure;
    for (const { archive, done } of writers) {
      archive.destroy();
      await done.catch((e) => {
        if (codeOf(e) !== '' && codeOf(failure) === '') cause = e;
      });
    }
    throw codeOf(cause) === '' ? cause : writeError(target.path, cause);
  }
}

async function writeAll(archive: Pack, handle: FileHandle): Promise<void> {
  for await (const chunk of archive) await handle.writeFile(chunk as Buffer);
  await handle.sync();
}

async function finish(writer: { archive: Pack; done: Promise<void> } | undefined): Promise<void> {
  writer?.archive.finalize();
  await writer?.done;
}

const add = (archive: Pack, name: string, bytes: Buffer): Promise<void> =>
  new Promise((resolve, reject) => {
    const header = { name, size: bytes.length, mtime: new Date(0), mode: 0o644, uid: 0, gid: 0 };
    archive.entry(header, bytes, (error) => (error ? reject(error) : resolve()));
  });
