import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileHashes, folderHash } from '../checkpoint/hash.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { type AtomicOutput, RECORD_FILE } from '../checkpoint/output.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';
import { configWithDtype, sideFiles } from '../checkpoint/side_files.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { writeAll } from '../checkpoint/writing.js';
import type { ExecuteOptions } from '../merge/execute.js';
import { bytesToWrite, type OutputDType } from '../merge/plan.js';
import { type Shard, shardIndex, splitIntoShards } from '../merge/shards.js';
import type { MergeResult } from '../native.js';
import type { RunOptions } from '../progress.js';
import type { Prepared } from './prepare.js';
import { makeRecord, metadataOf } from './record.js';
import { run } from './run.js';
import type { RecipeOptions } from './soup.js';
import { putStatistics } from './statistics.js';

const DEFAULT_SHARD = 5e9;

/** Computes a soup into an output, with its record and side files; the output is not put in place yet. */
export async function toDisk(
  target: AtomicOutput,
  recipe: string,
  prepared: Prepared,
  options: RecipeOptions,
  details: Record<string, unknown> | undefined,
) {
  const first = prepared.checkpoints[0] as Checkpoint;
  const limit = target.isFile ? Number.POSITIVE_INFINITY : (options.maxShardSize ?? DEFAULT_SHARD);
  const shards = splitIntoShards(prepared.tensors, limit);
  // Hashes of the ingredients come out of the pass, after the header was written: a placeholder keeps their room.
  const blank = options.hash
    ? prepared.checkpoints.map((c) => c.files.map(() => '0'.repeat(64)))
    : undefined;
  const header = (s: Shard, hashes: typeof blank) =>
    safetensorsHeader(
      s.tensors,
      metadataOf(
        first,
        target.isFile ? makeRecord(recipe, prepared, options, hashes, details) : undefined,
      ),
    );
  await target.needRoom(bytesToWrite(prepared.tensors));
  const handles: FileHandle[] = [];
  const outputs: ExecuteOptions['outputs'] = [];
  for (const s of shards) {
    const handle = await target.create(s.name);
    const path = target.isFile ? target.path : join(target.path, s.name);
    handles.push(handle);
    outputs.push({ fd: handle.fd, prefix: header(s, blank), path });
  }
  const { result, warnings } = await run(prepared, shards, outputs, 'file', options);
  if (options.statistics) {
    for (const [i, s] of shards.entries()) {
      const from = outputs[i]?.prefix.length ?? 0;
      const statistics = options.statistics;
      await target.writing(() =>
        putStatistics(handles[i] as FileHandle, from, s.tensors, statistics),
      );
      const path = target.isFile ? target.partial : join(target.partial, s.name);
      const [[sha256]] = (await fileHashes([await openCheckpoint(path)], options)) as [[string]];
      result.sha256[i] = sha256;
    }
  }
  const hashes = options.hash
    ? await restOfHashes(prepared.checkpoints, result, options)
    : undefined;
  if (target.isFile) {
    if (!hashes) return { result, warnings, sha256: result.sha256[0] as string };
    const [handle] = handles as [FileHandle];
    await target.writing(async () => {
      await writeAll(handle, header(shards[0] as Shard, hashes), 0);
      await handle.sync();
    });
    const [[sha256]] = (await fileHashes([await openCheckpoint(target.partial)], options)) as [
      [string],
    ];
    return { result, warnings, sha256 };
  }
  if (shards.length > 1) await target.write('model.safetensors.index.json', shardIndex(shards));
  const record = makeRecord(recipe, prepared, options, hashes, details);
  await target.write(RECORD_FILE, `${JSON.stringify(record, null, 2)}\n`);
  await copySideFiles(target, options.like ?? first.path, options.dtype ?? 'keep');
  const written = new Map(shards.map((s, i) => [s.name, result.sha256[i] as string]));
  return { result, warnings, sha256: folderHash(written) };
}

/** The hashes of all ingredients' files: those that the pass took, and the others read for it. */
async function restOfHashes(
  checkpoints: readonly Checkpoint[],
  result: MergeResult,
  run: RunOptions,
): Promise<string[][]> {
  let at = 0;
  const taken = checkpoints.map((c) => c.files.map(() => result.inputSha256[at++] as string));
  const without = checkpoints.filter((_, i) => taken[i]?.includes(''));
  const read = new Map((await fileHashes(without, run)).map((h, i) => [without[i], h]));
  return taken.map((hashes, i) => read.get(checkpoints[i]) ?? hashes);
}

async function copySideFiles(
  target: AtomicOutput,
  donor: string,
  dtype: OutputDType,
): Promise<void> {
  const { folder, names } = await sideFiles(donor);
  for (const name of names) {
    const changed =
      name === 'config.json' ? await configWithDtype(join(folder, name), dtype) : null;
    if (changed === null) await target.copy(join(folder, name), name);
    else await target.write(name, changed);
  }
}
