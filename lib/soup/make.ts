import type { Writable } from 'node:stream';
import { fileHashes } from '../checkpoint/hash.js';
import { AtomicOutput, isFileOutput } from '../checkpoint/output.js';
import { sideFiles } from '../checkpoint/side_files.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { bytesToRead, bytesToWrite } from '../merge/plan.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import { prepareSoup } from './prepare.js';
import { makeRecord } from './record.js';
import type { RecipeOptions, Soup } from './soup.js';
import { toDisk } from './to_disk.js';
import { toStream } from './to_stream.js';

/**
 * Makes a soup of given weights and writes it: what every recipe ends with.
 * @param details what the recipe says in the soup's record of how it came to these weights
 */
export async function makeSoup(
  recipe: string,
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: RecipeOptions,
  details?: Record<string, unknown>,
): Promise<Soup> {
  const began = performance.now();
  const threads = resolveThreads(options.threads);
  const memory = resolveMemory(options.memory);
  if (typeof output === 'string') checkShardSize(output, options.maxShardSize);
  else if (typeof output?.write !== 'function')
    throw new StockpotError('USAGE', 'expected the output to be a path or a writable stream');
  else if (output.destroyed || output.writableEnded)
    throw new StockpotError('USAGE', 'the output stream has ended already');
  const prepared = await prepareSoup(ingredients, options);
  const { checkpoints, weighting, tensors } = prepared;
  const done = (
    r: Pick<Soup, 'sha256' | 'bytesRead' | 'bytesWritten'>,
    warnings: string[] = [],
  ): Soup => ({
    recipe,
    ingredients: checkpoints.map((c) => c.path),
    members: weighting.members,
    weights: weighting.weights,
    output: typeof output === 'string' ? output : null,
    ...r,
    seconds: (performance.now() - began) / 1000,
    tensors: tensors.length,
    parameters: tensors.reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1), 0),
    warnings: [...prepared.warnings, ...warnings],
    notes: prepared.notes,
    memory,
    threads,
  });
  // A donor whose files cannot be had is refused before the work.
  if (options.like !== undefined || (typeof output === 'string' && !isFileOutput(output)))
    await sideFiles(options.like ?? (checkpoints[0] as Checkpoint).path);
  const inputs = checkpoints.flatMap((c) => [c.path, ...c.files.map((f) => f.path)]);
  if (options.dryRun) {
    if (typeof output === 'string')
      await AtomicOutput.check(output, { overwrite: options.overwrite, inputs });
    return {
      ...done({
        sha256: null,
        bytesRead: bytesToRead(tensors),
        bytesWritten: bytesToWrite(tensors),
      }),
      dryRun: true,
    };
  }
  if (typeof output !== 'string') {
    const hashes = options.hash ? await fileHashes(checkpoints, options) : undefined;
    const record = makeRecord(recipe, prepared, options, hashes, details);
    const { result, warnings } = await toStream(output, prepared, record, options);
    return done(
      {
        sha256: result.sha256[0] as string,
        bytesRead: result.bytesRead,
        bytesWritten: result.bytesWritten,
      },
      warnings,
    );
  }
  const target = await AtomicOutput.begin(output, { overwrite: options.overwrite, inputs });
  try {
    const { result, sha256, warnings } = await toDisk(target, recipe, prepared, options, details);
    await target.commit();
    return done(
      { sha256, bytesRead: result.bytesRead, bytesWritten: result.bytesWritten },
      warnings,
    );
  } finally {
    await target.abandon();
  }
}

function checkShardSize(output: string, size: number | undefined): void {
  if (size === undefined) return;
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new StockpotError(
      'USAGE',
      `maxShardSize must be a positive number of bytes but received ${size}`,
    );
  }
  if (isFileOutput(output)) {
    throw new StockpotError(
      'USAGE',
      `${output}: --max-shard-size is for an output folder, and a name ending in .safetensors is a file`,
      {
        remedy: 'Name a folder, or leave out --max-shard-size.',
      },
    );
  }
}
